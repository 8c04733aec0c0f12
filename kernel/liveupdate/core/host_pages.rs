// SPDX-License-Identifier: GPL-2.0

//! The handover of a previous kernel, in memory of a host, for tests.

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
        Memory,
        NotPreserved, //
    },
    wire::BlockHeader, //
};

/// Pages of `SIZE` bytes by address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages<const SIZE: usize>(pub(crate) BTreeMap<u64, Vec<u64>>);

impl<const SIZE: usize> Memory for Pages<SIZE> {
    fn read(&self, address: u64, block: &mut [u64]) -> Result<(), NotPreserved> {
        let page = self.0.get(&address).ok_or(NotPreserved)?;
        block.copy_from_slice(page);
        Ok(())
    }
}

/// Room for a block of `SIZE` bytes.
pub(crate) fn buffer<const SIZE: usize>() -> Vec<u64> {
    vec![0; SIZE / 8]
}

impl<const SIZE: usize> Pages<SIZE> {
    /// The page at an address, made of zeros if there is none.
    pub(crate) fn page(&mut self, address: u64) -> &mut [u8] {
        let page = self.0.entry(address).or_insert_with(|| vec![0; SIZE / 8]);
        page.as_mut_bytes()
    }

    /// Writes a chain of these entries into pages that follow each other from `head`.
    pub(crate) fn chain<T: Entry + Copy>(&mut self, head: u64, entries: &[T]) {
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
                chain::write(page, index, *entry).unwrap();
            }
        }
    }
}
