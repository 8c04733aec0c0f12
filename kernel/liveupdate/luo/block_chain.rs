// SPDX-License-Identifier: GPL-2.0

//! The memory of a chain of blocks for the next kernel.

use core::marker::PhantomData;

use kernel::{
    kho,
    page::PAGE_SIZE,
    prelude::*, //
};
use luo_core::{
    chain::{
        self,
        Entry,
        Layout, //
    },
    wire::BlockHeader, //
};

/// Blocks that are preserved before they are needed, and filled by `reboot(2)`.
///
/// Room is made by commands; writing allocates nothing and cannot fail for lack of memory.
pub(crate) struct BlockChain<T> {
    blocks: KVVec<kho::Preserved>,
    entry: PhantomData<T>,
}

impl<T: Entry> BlockChain<T> {
    const LAYOUT: Layout = Layout::of::<T>(PAGE_SIZE);

    /// No blocks.
    pub(crate) const fn new() -> Self {
        Self {
            blocks: KVVec::new(),
            entry: PhantomData,
        }
    }

    /// Makes room for `count` entries.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if no reader would accept so many, `ENOMEM`. The chain has at least the room that
    /// it had before.
    pub(crate) fn grow(&mut self, count: usize) -> Result {
        let blocks = Self::LAYOUT.room_for(count).map_err(|_| ENOSPC)?;
        while self.blocks.len() < blocks {
            self.blocks
                .push(kho::Preserved::new(PAGE_SIZE)?, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Frees the blocks that `count` entries do not need.
    pub(crate) fn shrink(&mut self, count: usize) {
        self.blocks.truncate(Self::LAYOUT.blocks_for(count));
    }

    /// All entries that there is room for, to be written to.
    ///
    /// A block that cannot hold entries would be the end of them, so that a writer misses room: the
    /// entries behind it must not move to other blocks than [`Self::seal`] counts them in.
    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let blocks = self.blocks.iter_mut();
        blocks
            .map_while(|block| chain::entries_mut(block.bytes_mut()).ok())
            .flatten()
    }

    /// Links the blocks of the first `count` entries, and returns the address of the first, or 0.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there is no room for so many.
    pub(crate) fn seal(&mut self, count: usize) -> Result<u64> {
        let blocks = Self::LAYOUT.blocks_for(count);
        let mut rest = count.saturating_sub(self.capacity_of(blocks.saturating_sub(1)));
        let mut next = 0;
        for block in self
            .blocks
            .get_mut(..blocks)
            .ok_or(ENOSPC)?
            .iter_mut()
            .rev()
        {
            let header = BlockHeader {
                next,
                count: rest as u64,
            };
            chain::write_header(block.bytes_mut(), header).map_err(|_| ENOSPC)?;
            next = block.phys();
            rest = Self::LAYOUT.per_block();
        }
        Ok(next)
    }

    /// Wipes all entries.
    pub(crate) fn wipe(&mut self) {
        for block in self.blocks.iter_mut() {
            block.bytes_mut().fill(0);
        }
    }

    fn capacity_of(&self, blocks: usize) -> usize {
        blocks.saturating_mul(Self::LAYOUT.per_block())
    }
}
