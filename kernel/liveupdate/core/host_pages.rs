// SPDX-License-Identifier: GPL-2.0

//! What a last kernel has left, in memory of a host, for tests.

use std::{
    collections::BTreeMap,
    vec,
    vec::Vec, //
};

use zerocopy::IntoBytes;

use crate::{
    chain::{
        self,
        Entry,
        Layout,
        Memory, //
    },
    wire::BlockHeader, //
};

/// Pages of `SIZE` bytes by address, each aligned like a page would be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages<const SIZE: usize>(pub(crate) BTreeMap<u64, Vec<u64>>);

impl<const SIZE: usize> Memory for Pages<SIZE> {
    fn block(&self, address: u64) -> Option<&[u8]> {
        self.0.get(&address).map(|words| words.as_bytes())
    }

    fn block_size(&self) -> usize {
        SIZE
    }
}

impl<const SIZE: usize> Pages<SIZE> {
    /// The page at an address, made of zeros if there is none.
    pub(crate) fn page(&mut self, address: u64) -> &mut [u8] {
        let page = self.0.entry(address).or_insert_with(|| vec![0; SIZE / 8]);
        page.as_mut_bytes()
    }

    /// Writes a chain of these entries into pages that follow each other from `head`.
    pub(crate) fn chain<T: Entry>(&mut self, head: u64, entries: &[T]) {
        let per_block = Layout::of::<T>(SIZE).per_block();
        let blocks: Vec<_> = entries.chunks(per_block).collect();
        for (at, block) in blocks.iter().enumerate() {
            let address = head + u64::try_from(at * SIZE).unwrap();
            let next = if at + 1 < blocks.len() {
                address + SIZE as u64
            } else {
                0
            };
            let page = self.page(address);
            let count = block.len() as u64;
            chain::write_header(page, BlockHeader { next, count }).unwrap();
            for (index, entry) in block.iter().enumerate() {
                chain::write(page, index, entry).unwrap();
            }
        }
    }
}
