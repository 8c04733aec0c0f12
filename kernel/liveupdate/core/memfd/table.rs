// SPDX-License-Identifier: GPL-2.0

//! The pages of a table of folios: a list of chunks, each a page with the addresses of blocks.

use crate::memfd::wire::{
    Damage,
    TableSer, //
};

/// The way from chunk to chunk.
///
/// The caller gets each chunk from memory that the previous kernel has preserved, and has each
/// once.
#[derive(Debug)]
pub struct Chunks {
    /// The address of the next one; 0 at the end.
    next: u64,
    /// Blocks that are still to come.
    left: usize,
}

impl Chunks {
    /// The chunks of a table that was checked.
    pub fn new(table: &TableSer) -> Self {
        let left = table.pages.checked_shr(table.order.into()).unwrap_or(0);
        Self {
            next: table.first,
            left: usize::try_from(left).unwrap_or(usize::MAX),
        }
    }

    /// The address of the next chunk, of which nothing is known; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Damage::Length`] if the list ends too early.
    pub const fn address(&self) -> Result<Option<u64>, Damage> {
        match self.next {
            0 if self.left == 0 => Ok(None),
            0 => Err(Damage::Length),
            next => Ok(Some(next)),
        }
    }

    /// The addresses of the blocks of the chunk at [`Chunks::address`], whose words these are.
    ///
    /// A chunk that is not full is the last one. Linux 7.3 adds an empty chunk behind one that is
    /// full.
    ///
    /// # Errors
    ///
    /// [`Damage::Length`] if there are too many or too few.
    pub fn blocks<'c>(&mut self, chunk: &'c [u64]) -> Result<&'c [u64], Damage> {
        let (next, addresses) = chunk.split_first().ok_or(Damage::Length)?;
        let count = addresses.iter().position(|address| *address == 0);
        let is_full = count.is_none();
        let blocks = match count {
            Some(count) => addresses.get(..count).unwrap_or(&[]),
            None => addresses,
        };
        self.left = self.left.checked_sub(blocks.len()).ok_or(Damage::Length)?;
        if !is_full && (self.left > 0 || *next != 0) {
            return Err(Damage::Length);
        }
        self.next = *next;
        Ok(blocks)
    }
}
