// SPDX-License-Identifier: GPL-2.0

//! Chains of blocks: each is a page with a [`BlockHeader`] and entries of one type.
//!
//! A chain is written into pages that are there already ([`Layout`], [`entries_mut()`],
//! [`write_header()`]), and read by [`Blocks`], which trusts nothing that it reads.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    damage::Damage,
    wire::BlockHeader, //
};

/// Blocks of a chain that readers accept; `KHO_MAX_BLOCKS` of Linux 7.3.
pub const MAX_BLOCKS: usize = 10_000;

/// The type of an entry: plain data, aligned like the header.
pub trait Entry: FromBytes + IntoBytes + Immutable + KnownLayout {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Entry for T {}

/// Memory that the previous kernel has preserved.
///
/// Its content is copied before it is looked at: an address from a handover may be that of memory
/// which another subsystem owns and changes.
pub trait Memory {
    /// Copies the block at a physical address, which is as long as `block`.
    ///
    /// # Errors
    ///
    /// [`NotPreserved`] if no such block was preserved there.
    fn read(&self, address: u64, block: &mut [u64]) -> Result<(), NotPreserved>;

    /// Copies the block at an address that is not trusted.
    ///
    /// # Errors
    ///
    /// [`Damage::Address`] if no block begins there.
    fn read_block(&self, address: u64, block: &mut [u64]) -> Result<(), Damage> {
        let size = u64::try_from(size_of_val(block)).unwrap_or(0);
        if address.checked_rem(size) != Some(0) {
            return Err(Damage::Address(address));
        }
        self.read(address, block)
            .map_err(|NotPreserved| Damage::Address(address))
    }
}

/// The previous kernel has not preserved memory at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPreserved;

/// How entries of a type are laid out over blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    per_block: usize,
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

    /// Blocks that `count` entries take, if readers accept so many.
    ///
    /// # Errors
    ///
    /// [`Full`] if they do not.
    #[inline]
    pub const fn room_for(&self, count: usize) -> Result<usize, Full> {
        match self.blocks_for(count) {
            blocks @ ..=MAX_BLOCKS => Ok(blocks),
            _ => Err(Full),
        }
    }
}

/// There is no room for an entry, in a block or in a whole chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Writes the header of a block.
#[inline]
pub fn write_header(block: &mut [u8], header: BlockHeader) -> Result<(), Full> {
    header.write_to_prefix(block).map_err(|_| Full)
}

/// Writes entry number `index` of a block.
pub fn write<T: Entry>(block: &mut [u8], index: usize, entry: T) -> Result<(), Full> {
    *entries_mut(block)?.get_mut(index).ok_or(Full)? = entry;
    Ok(())
}

/// All entries of a block, to be written to.
///
/// # Errors
///
/// [`Full`] if the block has no header, or is not aligned.
#[inline]
pub fn entries_mut<T: Entry>(block: &mut [u8]) -> Result<&mut [T], Full> {
    let room = block.get_mut(size_of::<BlockHeader>()..).ok_or(Full)?;
    let count = room.len().checked_div(size_of::<T>()).ok_or(Full)?;
    <[T]>::mut_from_prefix_with_elems(room, count)
        .map(|(entries, _)| entries)
        .map_err(|_| Full)
}

/// A block that was read.
#[derive(Clone, Copy, Debug)]
pub struct Block<'b, T> {
    /// Its physical address.
    pub address: u64,
    /// Its entries; none only in the last block of a chain.
    pub entries: &'b [T],
}

/// Reads a chain block by block.
///
/// After the first error there is nothing more.
pub struct Blocks<'m, M, T> {
    memory: &'m M,
    next: u64,
    seen: usize,
    /// Brent's algorithm: each address is compared with an earlier one, which is replaced whenever
    /// the walk has become twice as long.
    tortoise: u64,
    move_up_at: usize,
    entries: PhantomData<T>,
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

    /// Copies the next block into `buffer`, which is as long as a block; `None` at the end.
    pub fn next<'b>(&mut self, buffer: &'b mut [u64]) -> Option<Result<Block<'b, T>, Damage>> {
        if self.next == 0 {
            return None;
        }
        let block = self.read(buffer);
        if block.is_err() {
            self.next = 0;
        }
        Some(block)
    }

    fn read<'b>(&mut self, buffer: &'b mut [u64]) -> Result<Block<'b, T>, Damage> {
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

        self.memory.read_block(address, buffer)?;
        let bytes = buffer.as_bytes();
        let capacity = Layout::of::<T>(bytes.len()).per_block();
        let (header, room) =
            BlockHeader::ref_from_prefix(bytes).map_err(|_| Damage::Address(address))?;
        let damage = Damage::Count(header.count);
        let count = usize::try_from(header.count).map_err(|_| damage)?;
        // Linux 7.3 makes room before it finds out that there is nothing to add, and so may leave a
        // last block without entries.
        let is_empty = count == 0 && header.next != 0;
        if is_empty || count > capacity {
            return Err(damage);
        }
        let (entries, _) = <[T]>::ref_from_prefix_with_elems(room, count).map_err(|_| damage)?;
        self.next = header.next;
        Ok(Block { address, entries })
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
    }

    #[test]
    fn there_is_room_for_what_readers_accept() {
        let sessions = Layout::of::<SessionSer>(4096);
        assert_eq!(sessions.room_for(510_000), Ok(MAX_BLOCKS));
        assert_eq!(sessions.room_for(510_001), Err(Full));
        let files = Layout::of::<FileSer>(4096);
        assert_eq!(files.room_for(630_000), Ok(MAX_BLOCKS));
        assert_eq!(files.room_for(630_001), Err(Full));
        assert_eq!(files.room_for(usize::MAX), Err(Full));
        assert_eq!(files.room_for(0), Ok(0));
    }

    #[test]
    fn blocks_too_small_for_anything_hold_nothing() {
        let layout = Layout::of::<FileSer>(16);
        assert_eq!((layout.per_block(), layout.blocks_for(5)), (0, 0));
        assert_eq!(
            write_header(&mut [0; 8], BlockHeader { next: 0, count: 0 }),
            Err(Full)
        );
        assert_eq!(write(&mut [0; 24], 1, [0_u8; 8]), Err(Full));
        assert_eq!(write(&mut [0; 24], usize::MAX, [0_u8; 8]), Err(Full));
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers, and a test may panic"
)]
mod host_tests;
