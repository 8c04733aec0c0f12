// SPDX-License-Identifier: GPL-2.0

//! The table of folios, in pages for the next kernel.

use core::marker::PhantomData;
use kernel::{
    kho,
    page::PAGE_SIZE,
    prelude::*, //
};
use luo_core::memfd::wire::TableSer;
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// The entries at the beginning of a block.
pub(crate) fn entries<T: FromBytes + Immutable + KnownLayout>(block: &[u8]) -> &[T] {
    let count = block.len() / size_of::<T>();
    <[T]>::ref_from_prefix_with_elems(block, count).map_or(&[], |(entries, _)| entries)
}

/// As [`entries`], to be written.
fn entries_mut<T: FromBytes + IntoBytes + KnownLayout>(block: &mut [u8]) -> &mut [T] {
    let count = block.len() / size_of::<T>();
    <[T]>::mut_from_prefix_with_elems(block, count).map_or(&mut [], |(entries, _)| entries)
}

/// Addresses of pages in a chunk: all words but the first, which is the next chunk's address.
const PER_CHUNK: usize = PAGE_SIZE / size_of::<u64>() - 1;

/// A table of entries that grows.
pub(crate) struct Table<T> {
    chunks: KVec<kho::Preserved>,
    pages: KVVec<kho::Preserved>,
    entries: usize,
    _entries: PhantomData<fn() -> T>,
}

impl<T: FromBytes + IntoBytes + KnownLayout> Table<T> {
    /// Entries of a page.
    pub(crate) const PER_PAGE: usize = PAGE_SIZE / size_of::<T>();

    /// Without entries.
    pub(crate) const fn new() -> Self {
        Self {
            chunks: KVec::new(),
            pages: KVVec::new(),
            entries: 0,
            _entries: PhantomData,
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> u64 {
        self.entries as u64
    }

    /// How many more entries there is room for.
    pub(crate) fn room(&self) -> usize {
        self.pages.len() * Self::PER_PAGE - self.entries
    }

    /// Makes room for so many more entries. The next kernel must not see the table before it is
    /// told of all its pages.
    pub(crate) fn reserve(&mut self, more: usize) -> Result {
        while self.pages.len() * Self::PER_PAGE < self.entries + more {
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

    /// Adds entries, as many as there is room for.
    #[inline]
    pub(crate) fn push(&mut self, mut entries: impl Iterator<Item = T>) {
        let (mut at, page) = (self.entries % Self::PER_PAGE, self.entries / Self::PER_PAGE);
        for page in self.pages.iter_mut().skip(page) {
            for place in entries_mut(page.bytes_mut()).iter_mut().skip(at) {
                let Some(entry) = entries.next() else {
                    return;
                };
                *place = entry;
                self.entries += 1;
            }
            at = 0;
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
