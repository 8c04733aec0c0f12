// SPDX-License-Identifier: GPL-2.0

//! Memory of the previous kernel goes into a new file.

use kernel::{
    kho::Block,
    mm::{
        folio::Folios,
        shmem::{
            Content,
            NewMemfd, //
        },
    },
    prelude::*,
    task::might_sleep, //
};
use luo_core::memfd::{
    extent::Extent,
    run::{
        large_orders,
        Parts,
        Run, //
    },
    wire::Flags,
};

/// Folios that are added to a file at once.
pub(crate) const BATCH: usize = 512;

/// What becomes of the folios of a table.
pub(crate) trait Sink {
    /// Takes folios over. After an error some of them may be left.
    fn add(&mut self, run: Run) -> Result;

    /// There are no more.
    fn end(&mut self) -> Result {
        Ok(())
    }
}

/// Folios go into a file.
pub(crate) struct Filling<'a> {
    file: &'a NewMemfd,
    /// The orders of large folios that this kernel makes of pages, as bits.
    orders: u64,
    batch: Folios,
    /// The page of the file that `batch` begins with.
    first: u64,
    /// The page behind it.
    next: u64,
    content: Content,
}

impl<'a> Filling<'a> {
    /// Begins with a file without memory, which may have folios of these orders, as bits. `batch`
    /// is room for folios.
    pub(crate) fn new(file: &'a NewMemfd, orders: u64, batch: Folios) -> Self {
        Self {
            file,
            orders: large_orders(orders),
            batch,
            first: 0,
            next: 0,
            content: Content::None,
        }
    }

    /// Adds what there is to the file.
    fn flush(&mut self) -> Result {
        if self.batch.is_empty() {
            return Ok(());
        }
        might_sleep();
        self.file.add(&mut self.batch, self.first, self.content)
    }

    /// Sees to it that there is room for folios that begin with this page.
    #[inline]
    fn begin(&mut self, index: u64, flags: Flags) -> Result {
        let content = if flags.has(Flags::UPTODATE) {
            Content::Valid
        } else {
            Content::None
        };
        if self.batch.room() == 0 || self.next != index || self.content != content {
            self.flush()?;
        }
        if self.batch.is_empty() {
            self.first = index;
            self.content = content;
        }
        Ok(())
    }

    /// Adds a folio that may have any order. Returns its pages.
    fn add_any(&mut self, frame: u64, index: u64, flags: Flags) -> Result<u64> {
        self.begin(index, flags)?;
        let pages = 1 << self.batch.restore(frame)?;
        self.next = index + pages;
        Ok(pages)
    }

    /// Adds folios of one order, one after the other.
    fn add_folios(&mut self, run: &Run, order: u32) -> Result {
        let mut done = 0;
        while done < run.count {
            let offset = done * run.stride;
            let (frame, index) = (run.frame + offset, run.index + offset);
            self.begin(index, run.flags)?;
            let count = self.batch.restore_run(frame, order, run.count - done)?;
            if count > 0 {
                self.next = index + (count << order);
                done += count;
                continue;
            }
            // It has another order, which the last one may have.
            self.add_any(frame, index, run.flags)?;
            done += 1;
        }
        Ok(())
    }

    /// Adds single pages, as large folios where they can be.
    fn add_pages(&mut self, run: &Run) -> Result {
        let mut done = 0;
        while done < run.count {
            let (frame, index) = (run.frame + done, run.index + done);
            let Ok(block) = Block::restore_pages(frame, run.count - done) else {
                self.add_any(frame, index, run.flags)?;
                done += 1;
                continue;
            };
            done += block.pages();
            self.add_block(block, index, self.orders, run.flags)?;
        }
        Ok(())
    }

    /// Adds adjacent memory, as the largest folios that it can be.
    // If memory is scattered, this is called for each page.
    #[inline(always)]
    fn add_block(&mut self, mut block: Block, index: u64, orders: u64, flags: Flags) -> Result {
        let orders = orders & Block::ORDERS;
        if orders <= 1 {
            let pages = block.pages();
            return self.add_part(&mut block, index, pages, 0, flags);
        }
        for part in Parts::new(block.frame(), index, block.pages(), orders) {
            self.add_part(&mut block, part.index, part.pages, part.order, flags)?;
        }
        Ok(())
    }

    /// Adds so many pages of a block, as folios of one order.
    #[inline(always)]
    fn add_part(
        &mut self,
        block: &mut Block,
        mut index: u64,
        pages: u64,
        order: u32,
        flags: Flags,
    ) -> Result {
        let end = index + pages;
        while index < end {
            self.begin(index, flags)?;
            index += self.batch.make(block, order, (end - index) >> order)? << order;
            self.next = index;
        }
        Ok(())
    }

    /// Adds the folios of an extent, which afterwards is what of it was not taken.
    pub(crate) fn add_extent(&mut self, extent: &mut Extent) -> Result {
        let orders = extent.orders(self.orders);
        while extent.pages > 0 {
            let block = Block::restore(extent.frame, extent.pages)?;
            let index = extent.index;
            // What happens to the block does not depend on the extent any more.
            extent.advance(block.pages());
            self.add_block(block, index, orders, Flags::DATA)?;
        }
        Ok(())
    }
}

impl Sink for Filling<'_> {
    fn add(&mut self, run: Run) -> Result {
        if self.orders != 0 && run.stride == 1 {
            self.add_pages(&run)
        } else {
            self.add_folios(&run, run.stride.trailing_zeros())
        }
    }

    fn end(&mut self) -> Result {
        self.flush()
    }
}
