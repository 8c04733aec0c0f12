// SPDX-License-Identifier: GPL-2.0

//! The memory that the last kernel has left.

use kernel::{
    error::{
        code::*,
        Result, //
    },
    kho,
    page::PAGE_SIZE,
    str::CStr,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use luo_core::chain::Memory;

/// The blocks that the last kernel has left for this crate.
///
/// # Invariants
///
/// There is one of this type at most, and nobody else writes to the blocks or frees them.
pub(crate) struct HandedOver(());

/// Whether it has been taken.
static TAKEN: Atomic<bool> = Atomic::new(false);

impl HandedOver {
    /// Takes over what was handed over, with its root of at least `size` bytes.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is nothing, `EBUSY` if it was taken before, or what KHO says.
    pub(crate) fn take(name: &CStr, size: usize) -> Result<(Self, kho::Incoming)> {
        TAKEN.cmpxchg(false, true, Relaxed).map_err(|_| EBUSY)?;
        // SAFETY: The subtree is LUO's, and this is the first and only time that it is asked for.
        let root = unsafe { kho::Incoming::subtree(name, size) }?;
        // INVARIANT: Only this crate learns of the blocks: their addresses stand in the root.
        Ok((Self(()), root))
    }

    /// Gives a block back to the page allocator.
    pub(crate) fn free(&mut self, address: u64) {
        // SAFETY: By the type invariants the block is ours alone, and no slice of it is borrowed.
        if let Some(block) = unsafe { kho::Incoming::at(address, PAGE_SIZE) } {
            block.free();
        }
    }
}

impl Memory for HandedOver {
    fn block(&self, address: u64) -> Option<&[u8]> {
        // SAFETY: By the type invariants the block is ours alone, and none is freed while `self` is
        // borrowed.
        let block = unsafe { kho::Incoming::at(address, PAGE_SIZE) }?;
        let bytes = block.bytes();
        // SAFETY: The same bytes, for as long as `self` is borrowed: until then the block stays.
        Some(unsafe { core::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) })
    }

    fn block_size(&self) -> usize {
        PAGE_SIZE
    }
}
