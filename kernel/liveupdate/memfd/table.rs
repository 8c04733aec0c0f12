// SPDX-License-Identifier: GPL-2.0

//! The table of folios, in pages for the next kernel.

use kernel::{
    kho,
    page::PAGE_SIZE,
    prelude::*, //
};
use luo_core::memfd::wire::{
    FolioSer,
    TableSer, //
};
use zerocopy::FromBytes;

/// Entries of a page.
const PER_PAGE: usize = PAGE_SIZE / size_of::<FolioSer>();

/// Addresses of pages in a chunk: all words but the first, which is the next chunk's address.
const PER_CHUNK: usize = PAGE_SIZE / size_of::<u64>() - 1;

/// A table that grows. The next kernel may see it at any time: an entry is complete before it
/// counts.
pub(crate) struct Table {
    chunks: KVec<kho::Preserved>,
    pages: KVVec<kho::Preserved>,
    entries: usize,
}

impl Table {
    /// Without entries.
    pub(crate) const fn new() -> Self {
        Self {
            chunks: KVec::new(),
            pages: KVVec::new(),
            entries: 0,
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> u64 {
        self.entries as u64
    }

    /// Makes room for so many more entries.
    pub(crate) fn reserve(&mut self, more: usize) -> Result {
        while self.pages.len() * PER_PAGE < self.entries + more {
            self.add_page()?;
        }
        Ok(())
    }

    /// Adds a page. If that fails, the table may have a chunk more, which has no pages.
    fn add_page(&mut self) -> Result {
        let at = self.pages.len() % PER_CHUNK;
        if self.chunks.len() * PER_CHUNK == self.pages.len() {
            self.add_chunk()?;
        }
        self.pages.reserve(1, GFP_KERNEL)?;
        let page = kho::Preserved::new(PAGE_SIZE)?;
        if let Some(chunk) = self.chunks.last_mut() {
            set_word(chunk, 1 + at, page.phys());
        }
        Ok(self.pages.push(page, GFP_KERNEL)?)
    }

    /// Adds a chunk without pages, which may be the last one of a table.
    fn add_chunk(&mut self) -> Result {
        self.chunks.reserve(1, GFP_KERNEL)?;
        let chunk = kho::Preserved::new(PAGE_SIZE)?;
        if let Some(last) = self.chunks.last_mut() {
            set_word(last, 0, chunk.phys());
        }
        Ok(self.chunks.push(chunk, GFP_KERNEL)?)
    }

    /// Adds entries, for which there is room.
    #[inline]
    pub(crate) fn push(&mut self, mut entries: impl ExactSizeIterator<Item = FolioSer>) {
        while entries.len() > 0 {
            let (page, at) = (self.entries / PER_PAGE, self.entries % PER_PAGE);
            let Some(page) = self.pages.get_mut(page) else {
                return;
            };
            let Ok(places) = <[FolioSer]>::mut_from_bytes(page.bytes_mut()) else {
                return;
            };
            for (place, entry) in places.iter_mut().skip(at).zip(&mut entries) {
                *place = entry;
                self.entries += 1;
            }
        }
    }

    /// Forgets entries behind the first so many.
    pub(crate) fn truncate(&mut self, len: u64) {
        self.entries = self.entries.min(len as usize);
    }

    /// How the next kernel finds it.
    pub(crate) fn describe(&self) -> TableSer {
        TableSer {
            first: self.chunks.first().map_or(0, kho::Preserved::phys),
            pages: self.pages.len().try_into().unwrap_or(u32::MAX),
            flags: TableSer::ALLOC,
            order: 0,
        }
    }
}

fn set_word(chunk: &mut kho::Preserved, at: usize, word: u64) {
    if let Ok(words) = <[u64]>::mut_from_bytes(chunk.bytes_mut()) {
        if let Some(place) = words.get_mut(at) {
            *place = word;
        }
    }
}
