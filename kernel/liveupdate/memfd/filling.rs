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
        Part,
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
    /// The orders of folios that are made of single pages, as bits.
    orders: u64,
    batch: Folios,
    /// The page of the file that `batch` begins with.
    first: u64,
    /// The page behind it.
    next: u64,
    content: Content,
}

impl<'a> Filling<'a> {
    /// Begins with a file without memory. `batch` is room for folios.
    pub(crate) fn new(file: &'a NewMemfd, orders: u64, batch: Folios) -> Self {
        Self {
            file,
            orders,
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

    /// Adds single pages, as folios of up to this order where they are aligned.
    fn add_pages(&mut self, run: &Run, max_order: u32) -> Result {
        let mut done = 0;
        while done < run.count {
            let (frame, index) = (run.frame + done, run.index + done);
            let Ok(mut block) = Block::restore_pages(frame, run.count - done) else {
                self.add_any(frame, index, run.flags)?;
                done += 1;
                continue;
            };
            done += block.pages();
            for part in Parts::new(frame, index, block.pages(), max_order) {
                self.add_part(&part, &mut block, run.flags)?;
            }
        }
        Ok(())
    }

    /// Makes the folios of a part, with which the block begins.
    fn add_part(&mut self, part: &Part, block: &mut Block, flags: Flags) -> Result {
        let order = if self.orders >> part.order & 1 == 0 {
            0
        } else {
            part.order
        };
        let (mut index, end) = (part.index, part.index + part.pages);
        while index < end {
            self.begin(index, flags)?;
            index += self.batch.make(block, order, (end - index) >> order)? << order;
            self.next = index;
        }
        Ok(())
    }

    /// Adds the folios of an extent, which afterwards is what of it was not taken.
    pub(crate) fn add_extent(&mut self, extent: &mut Extent) -> Result {
        while extent.pages > 0 {
            let mut block = Block::restore(extent.frame, extent.pages)?;
            let mut index = extent.index;
            // What happens to the block does not depend on the extent any more.
            extent.advance(block.pages());
            while block.pages() > 0 {
                let order = extent.folio_order(self.orders, index, block.order());
                self.begin(index, Flags::DATA)?;
                index += self.batch.make(&mut block, order, u64::MAX)? << order;
                self.next = index;
            }
        }
        Ok(())
    }
}

impl Sink for Filling<'_> {
    fn add(&mut self, run: Run) -> Result {
        match self.orders.checked_ilog2() {
            Some(max_order) if run.stride == 1 => self.add_pages(&run, max_order),
            _ => self.add_folios(&run, run.stride.trailing_zeros()),
        }
    }

    fn end(&mut self) -> Result {
        self.flush()
    }
}
