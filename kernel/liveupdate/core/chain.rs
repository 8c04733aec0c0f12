// SPDX-License-Identifier: GPL-2.0

//! Chains of blocks: each is a page with a [`BlockHeader`] and entries of one type.
//!
//! A chain is written into pages that are there already ([`Layout`], [`write()`]), and read by
//! [`Blocks`], which believes nothing of what it reads.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::{BlockHeader, Damage};

/// Blocks of a chain that readers accept; `KHO_MAX_BLOCKS` of Linux 7.3.
pub const MAX_BLOCKS: usize = 10_000;

/// What an entry must be: plain data, aligned like the header.
pub trait Entry: FromBytes + IntoBytes + Immutable + KnownLayout {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Entry for T {}

/// Memory that was handed over.
pub trait Memory {
    /// The block at a physical address, or `None` if there is none that was handed over.
    fn block(&self, address: u64) -> Option<&[u8]>;

    /// Size of a block in bytes, and its alignment.
    fn block_size(&self) -> usize;

    /// All of the block at a physical address that is not trusted.
    ///
    /// # Errors
    ///
    /// [`Damage::Address`] if no block begins there.
    fn whole_block(&self, address: u64) -> Result<&[u8], Damage> {
        let size = self.block_size();
        let is_aligned = u64::try_from(size).is_ok_and(|size| address.checked_rem(size) == Some(0));
        let bytes = is_aligned.then(|| self.block(address)).flatten();
        bytes
            .and_then(|bytes| bytes.get(..size))
            .ok_or(Damage::Address(address))
    }
}

/// How entries of a type are laid out over blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    per_block: usize,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the block in the chain, from 0.
    pub block: usize,
    /// Number of the entry in the block, from 0.
    pub index: usize,
}

impl Layout {
    /// The layout of `T` over blocks of `block_size` bytes.
    pub const fn of<T>(block_size: usize) -> Self {
        let room = block_size.saturating_sub(size_of::<BlockHeader>());
        Self {
            per_block: match room.checked_div(size_of::<T>()) {
                Some(entries) => entries,
                None => 0,
            },
        }
    }

    /// Entries in one block.
    #[inline]
    pub const fn per_block(&self) -> usize {
        self.per_block
    }

    /// Blocks that `count` entries take.
    #[inline]
    pub const fn blocks_for(&self, count: usize) -> usize {
        match count.checked_div(self.per_block) {
            Some(full) if full.saturating_mul(self.per_block) == count => full,
            Some(full) => full.saturating_add(1),
            None => 0,
        }
    }

    /// Where entry number `nth` stands; `None` if blocks hold no entries.
    #[inline]
    pub const fn place(&self, nth: usize) -> Option<Place> {
        match (
            nth.checked_div(self.per_block),
            nth.checked_rem(self.per_block),
        ) {
            (Some(block), Some(index)) => Some(Place { block, index }),
            _ => None,
        }
    }
}

/// The block is too small for what is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Writes the header of a block.
#[inline]
pub fn write_header(block: &mut [u8], header: BlockHeader) -> Result<(), Full> {
    header.write_to_prefix(block).map_err(|_| Full)
}

/// Writes entry number `index` of a block.
pub fn write<T: Entry>(block: &mut [u8], index: usize, entry: &T) -> Result<(), Full> {
    let at = index
        .checked_mul(size_of::<T>())
        .and_then(|at| at.checked_add(size_of::<BlockHeader>()));
    let room = at.and_then(|at| block.get_mut(at..)).ok_or(Full)?;
    entry.write_to_prefix(room).map_err(|_| Full)
}

/// A block that was read.
#[derive(Clone, Copy, Debug)]
pub struct Block<'m, T> {
    /// Its physical address.
    pub address: u64,
    /// Its entries, one at least.
    pub entries: &'m [T],
}

/// Reads a chain block by block.
///
/// After the first error there is nothing more.
pub struct Blocks<'m, M, T> {
    memory: &'m M,
    next: u64,
    seen: usize,
    /// Brent's algorithm: the walk is compared with a block that it was at earlier, which is moved
    /// up whenever the walk has come twice as far.
    tortoise: u64,
    move_up_at: usize,
    entries: PhantomData<&'m T>,
}

impl<'m, M: Memory, T: Entry> Blocks<'m, M, T> {
    /// The chain that begins at the physical address `head`; 0 is an empty one.
    pub fn new(memory: &'m M, head: u64) -> Self {
        Self {
            memory,
            next: head,
            seen: 0,
            tortoise: 0,
            move_up_at: 1,
            entries: PhantomData,
        }
    }

    fn read(&mut self) -> Result<Block<'m, T>, Damage> {
        let address = self.next;
        if address == self.tortoise {
            return Err(Damage::Cycle(address));
        }
        if self.seen == MAX_BLOCKS {
            return Err(Damage::Length);
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen == self.move_up_at {
            self.tortoise = address;
            self.move_up_at = self.move_up_at.saturating_mul(2);
        }

        let size = self.memory.block_size();
        let bytes = self.memory.whole_block(address)?;
        let (header, room) =
            BlockHeader::ref_from_prefix(bytes).map_err(|_| Damage::Address(address))?;
        let count = usize::try_from(header.count).map_err(|_| Damage::Count(header.count))?;
        if count == 0 || count > Layout::of::<T>(size).per_block() {
            return Err(Damage::Count(header.count));
        }
        let (entries, _) = <[T]>::ref_from_prefix_with_elems(room, count)
            .map_err(|_| Damage::Count(header.count))?;
        self.next = header.next;
        Ok(Block { address, entries })
    }
}

impl<'m, M: Memory, T: Entry> Iterator for Blocks<'m, M, T> {
    type Item = Result<Block<'m, T>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == 0 {
            return None;
        }
        let block = self.read();
        if block.is_err() {
            self.next = 0;
        }
        Some(block)
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_chain))]
mod tests {
    use super::*;
    use crate::wire::{FileSer, SessionSer};

    #[test]
    fn the_layout_is_that_of_linux_7_3() {
        let sessions = Layout::of::<SessionSer>(4096);
        assert_eq!(sessions.per_block(), 51);
        assert_eq!(Layout::of::<FileSer>(4096).per_block(), 63);
        assert_eq!(sessions.blocks_for(0), 0);
        assert_eq!(sessions.blocks_for(1), 1);
        assert_eq!(sessions.blocks_for(51), 1);
        assert_eq!(sessions.blocks_for(52), 2);
        assert_eq!(sessions.place(51), Some(Place { block: 1, index: 0 }));
    }

    #[test]
    fn blocks_too_small_for_anything_hold_nothing() {
        let layout = Layout::of::<FileSer>(16);
        assert_eq!((layout.per_block(), layout.blocks_for(5)), (0, 0));
        assert_eq!(layout.place(5), None);
        assert_eq!(
            write_header(&mut [0; 8], BlockHeader { next: 0, count: 0 }),
            Err(Full)
        );
        assert_eq!(write(&mut [0; 24], 1, &0_u64), Err(Full));
        assert_eq!(write(&mut [0; 24], usize::MAX, &0_u64), Err(Full));
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers, and a test may panic"
)]
mod host_tests;
