// SPDX-License-Identifier: GPL-2.0

//! Folios that cross a kexec.

use crate::{
    bindings,
    error::to_result,
    mm::folio::{
        FolioMemory,
        FolioRun,
        Folios,
        Pins, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// Folios of files that the next kernel finds where they are.
///
/// When this is dropped they are not preserved any more, and not pinned.
///
/// # Invariants
///
/// Each folio of each run is preserved, and pinned; both are owned.
#[derive(Default)]
pub struct PreservedFolios(KVVec<FolioRun>);

impl PreservedFolios {
    /// Preserves folios. There are no pins afterwards.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. Then none of them is preserved, and the pins are left.
    pub fn preserve(&mut self, pins: &mut Pins) -> Result {
        let (runs, count) = for_c(pins.runs());
        // So that what comes cannot fail halfway.
        self.0.reserve(pins.runs().len(), GFP_KERNEL)?;
        // SAFETY: So many runs are there, and the folios are valid: they are pinned.
        to_result(unsafe { bindings::kho_preserve_folio_runs(runs, count) })?;
        let mut new = pins.runs();
        if let (Some(last), Some((first, others))) = (self.0.last_mut(), new.split_first()) {
            if last.merge(first) {
                new = others;
            }
        }
        self.0.extend_from_slice(new, GFP_KERNEL)?;
        // INVARIANT: The folios were just preserved, and the runs own the pins.
        pins.forget();
        Ok(())
    }
}

impl Drop for PreservedFolios {
    fn drop(&mut self) {
        let (runs, count) = for_c(&self.0);
        // SAFETY: So many runs are there. By the type invariants the folios are preserved.
        unsafe { bindings::kho_unpreserve_folio_runs(runs, count) };
        for run in &self.0 {
            // SAFETY: By the type invariants the pins are owned.
            unsafe { run.unpin() };
        }
    }
}

/// Runs as an array and a number.
fn for_c(runs: &[FolioRun]) -> (*const bindings::folio_run, u32) {
    // `FolioRun` is transparent. There are fewer than page frames, which have fewer than 2^52
    // numbers, and less memory for them than for 2^32.
    (runs.as_ptr().cast(), runs.len() as u32)
}

/// The order of the blocks that the inner part of a run of small folios is preserved as.
///
/// KHO's tree has a path for each order that occurs. Each path ends in pages with a bit for 32,768
/// places of blocks. So there are few orders: single pages, and this one. It is small: few pages
/// are left at the ends of a run. It is large: there are few pages of bits. Nodes and zones begin
/// at a multiple of it, so no block is in two of them.
const BLOCK_ORDER: u32 = 6;

/// What a run is preserved as: single pages, blocks, and single pages again. Some of these runs may
/// be empty. Large folios are blocks of their own order. A page that stands alone is a single page.
fn blocks_of(run: &FolioRun) -> [FolioRun; 3] {
    let order = run.order().max(BLOCK_ORDER);
    let (first, end) = (run.frame(), run.frame() + run.pages());
    let inner = first.next_multiple_of(1 << order).min(end);
    let behind = (end >> order << order).max(inner);
    [
        FolioRun::of_memory(first, inner, 0),
        FolioRun::of_memory(inner, behind, order),
        FolioRun::of_memory(behind, end, 0),
    ]
}

/// Folios of files that the next kernel finds as memory: adjacent ones have no borders there, so
/// that blocks may be larger than they are.
///
/// When this is dropped they are not preserved any more, and not pinned.
///
/// # Invariants
///
/// Each folio of each run is pinned. Each of the first `preserved` runs is preserved as the blocks
/// that [`blocks_of`] gives, and does not change any more. Pins and preservations are owned.
#[derive(Default)]
pub struct PreservedBlocks {
    runs: KVVec<FolioRun>,
    preserved: usize,
}

impl PreservedBlocks {
    /// Takes pins of folios that [`Self::preserve`] will preserve. There are none afterwards.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. Then the pins are left.
    pub fn hold(&mut self, pins: &mut Pins) -> Result {
        self.runs.reserve(pins.runs().len(), GFP_KERNEL)?;
        for run in pins.runs() {
            let is_new = self.runs.len() == self.preserved;
            let last = self.runs.last_mut().filter(|_| !is_new);
            if !last.is_some_and(|last| last.merge(run)) {
                self.runs.push(*run, GFP_KERNEL)?;
            }
        }
        // INVARIANT: The runs own the pins.
        pins.forget();
        Ok(())
    }

    /// Runs that are not preserved so far.
    pub fn held(&self) -> &[FolioRun] {
        self.runs.get(self.preserved..).unwrap_or(&[])
    }

    /// Gives up all of [`Self::held`].
    pub fn release_held(&mut self) {
        self.release(self.preserved);
    }

    /// Preserves so many of [`Self::held`], or as many as there are.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. Then none of them is preserved, and none is held.
    pub fn preserve(&mut self, most: usize) -> Result {
        let first_new = self.preserved;
        let end = self.runs.len().min(first_new.saturating_add(most));
        while let Some(new @ [first, ..]) = self.runs.get(self.preserved..end) {
            // KHO preserves many pages that stand alone in one call.
            let alone = new.iter().take_while(|run| run.pages() == 1).count();
            let blocks = blocks_of(first);
            let (runs, count) = for_c(match new.get(..alone) {
                Some(pages @ [_, ..]) => pages,
                _ => &blocks,
            });
            // SAFETY: So many runs are there, of pages that are valid: by the type invariants they
            // are pinned.
            let result = unsafe { bindings::kho_preserve_folio_runs(runs, count) };
            if let Err(error) = to_result(result) {
                self.release(first_new);
                return Err(error);
            }
            // INVARIANT: These were just preserved; a page that stands alone is one block.
            self.preserved += alone.max(1);
        }
        Ok(())
    }

    /// Gives up the runs from one on.
    fn release(&mut self, first: usize) {
        for (number, run) in self.runs.iter().enumerate().skip(first) {
            if number < self.preserved {
                let blocks = blocks_of(run);
                let (runs, count) = for_c(&blocks);
                // SAFETY: So many runs are there. By the type invariants the blocks are preserved.
                unsafe { bindings::kho_unpreserve_folio_runs(runs, count) };
            }
            // SAFETY: By the type invariants the pins are owned.
            unsafe { run.unpin() };
        }
        // INVARIANT: The runs are not there any more.
        self.preserved = self.preserved.min(first);
        self.runs.truncate(first);
    }
}

impl Drop for PreservedBlocks {
    fn drop(&mut self) {
        self.release(0);
    }
}

/// The physical address of a frame, if there can be one.
fn phys(frame: u64) -> Result<u64> {
    frame.checked_mul(PAGE_SIZE as u64).ok_or(EINVAL)
}

/// Takes memory over that the previous kernel preserved as one piece.
///
/// `phys` may be anything. KHO gives each preservation once, so the memory is exclusive.
///
/// # Errors
///
/// `ENOENT` if no memory was preserved there, or it was restored before; `EINVAL` if it is longer
/// than any folio.
pub fn restore(phys: u64) -> Result<FolioMemory> {
    // SAFETY: The function takes any address.
    let order = unsafe { bindings::kho_preserved_order(phys) };
    if u32::try_from(order).map_err(|_| ENOENT)? > bindings::MAX_PAGE_ORDER {
        return Err(EINVAL);
    }
    // SAFETY: The function takes any address.
    let folio = unsafe { bindings::kho_restore_folio(phys) };
    let folio = NonNull::new(folio).ok_or(ENOENT)?;
    // SAFETY: KHO has just given it, once; preserved memory is in the direct map.
    Ok(unsafe { FolioMemory::from_raw(folio) })
}

/// As [`restore`], of the memory that begins with a page frame.
///
/// # Errors
///
/// As of [`restore`], and `EINVAL` if there is no such frame.
pub fn restore_folio(frame: u64) -> Result<FolioMemory> {
    restore(phys(frame)?)
}

/// Memory of the previous kernel that is adjacent, whatever its folios were.
///
/// What no folios were made of is freed when this is dropped.
///
/// # Invariants
///
/// The page frames from `frame` to before `end` belong to this value, and to no folio.
pub struct Block {
    frame: u64,
    end: u64,
}

impl Block {
    /// The orders that folios of it may have, as bits.
    pub const ORDERS: u64 = (2 << bindings::MAX_PAGE_ORDER) - 1;

    /// Takes memory over that was preserved as blocks of one order, and begins with a page frame,
    /// which may be anything: `most` pages at most, and as many blocks as KHO gives at once.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no memory was preserved there, or it was restored before; `EINVAL` if the first
    /// block is longer than `most` pages, or there is no such frame.
    pub fn restore(frame: u64, most: u64) -> Result<Self> {
        // SAFETY: The function takes any address.
        let order = unsafe { bindings::kho_preserved_order(phys(frame)?) };
        let order = u32::try_from(order).map_err(|_| ENOENT)?;
        let fitting = most.checked_shr(order).filter(|count| *count > 0);
        Self::take(frame, order, fitting.ok_or(EINVAL)?)
    }

    /// Takes pages over that were preserved one by one, and follow each other from a page frame on,
    /// which may be anything: `most` at most, and as many as KHO gives at once.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no single page was preserved there, or it was restored before; `EINVAL` if there
    /// is no such frame.
    #[inline]
    pub fn restore_pages(frame: u64, most: u64) -> Result<Self> {
        Self::take(frame, 0, most)
    }

    /// Takes blocks of an order over: `most` at most.
    #[inline]
    fn take(frame: u64, order: u32, most: u64) -> Result<Self> {
        // SAFETY: The function takes any address.
        let count = unsafe { bindings::kho_restore_blocks(phys(frame)?, order, most as usize) };
        if count == 0 {
            return Err(ENOENT);
        }
        // INVARIANT: KHO has just given these blocks, once.
        Ok(Self {
            frame,
            end: frame + ((count as u64) << order),
        })
    }

    /// The next page frame.
    #[inline]
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// Pages of which no folios were made so far.
    #[inline]
    pub fn pages(&self) -> u64 {
        self.end - self.frame
    }

    /// The largest order of folios that the next page frame can begin.
    pub fn order(&self) -> u32 {
        let aligned = self.frame.trailing_zeros();
        let longest = self.pages().checked_ilog2().unwrap_or(0);
        aligned.min(longest).min(bindings::MAX_PAGE_ORDER)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        while self.pages() > 0 {
            let (frame, order) = (self.frame as usize, self.order());
            // SAFETY: By the type invariants these pages belong to nothing else, and the frame is
            // aligned. The folio has one reference, which is given up.
            unsafe {
                bindings::kho_init_folio_run(frame, order, 1);
                bindings::folio_put(bindings::pfn_folio(frame));
            }
            // INVARIANT: The pages of the folio are not the block's any more.
            self.frame += 1 << order;
        }
    }
}

impl Folios {
    /// Adds a folio of the previous kernel, of any order, which is returned.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no memory was preserved there, or it was restored before; `ENOMEM` if there is
    /// no room.
    pub fn restore(&mut self, frame: u64) -> Result<u32> {
        if self.room() == 0 {
            return Err(ENOMEM);
        }
        let folio = ManuallyDrop::new(restore_folio(frame)?);
        // SAFETY: The reference of `folio` is given away.
        unsafe { self.push(NonNull::from(folio.folio()).cast()) }?;
        Ok(folio.folio().order())
    }

    /// Adds adjacent folios of the previous kernel that have this order: as many as there are, as
    /// there is room for, and as KHO gives at once. Returns how many.
    #[inline]
    pub fn restore_run(&mut self, frame: u64, order: u32, count: u64) -> Result<u64> {
        if order > bindings::MAX_PAGE_ORDER {
            return Ok(0);
        }
        let count = count.min(self.room() as u64);
        let phys = phys(frame)?;
        // SAFETY: The function takes any address.
        let count = unsafe { bindings::kho_restore_folio_run(phys, order, count as usize) };
        // SAFETY: KHO has just given these folios, once.
        unsafe { self.push_run(frame, order, count) }?;
        Ok(count as u64)
    }

    /// Makes folios of the beginning of a block, all of this order, which is no larger than
    /// [`Block::order`]: `most` at most, and as many as there is room for. Returns how many.
    #[inline]
    pub fn make(&mut self, block: &mut Block, order: u32, most: u64) -> Result<u64> {
        if order > block.order() {
            return Err(EINVAL);
        }
        let count = (block.pages() >> order).min(most).min(self.room() as u64);
        // SAFETY: By the type invariants of the block these pages belong to nothing else, and the
        // frame is aligned.
        unsafe { bindings::kho_init_folio_run(block.frame as usize, order, count as usize) };
        let frame = block.frame;
        // INVARIANT: The pages of the folios are not the block's any more.
        block.frame += count << order;
        // SAFETY: These folios were just made, each with one reference.
        unsafe { self.push_run(frame, order, count as usize) }?;
        Ok(count)
    }
}

#[cfg(CONFIG_LIVEUPDATE_KUNIT_TEST)]
#[kunit_tests(rust_kernel_kho_folio)]
mod tests {
    use super::*;

    /// Frames, and the order and number of blocks, of what is not empty.
    fn blocks(frame: u64, end: u64, order: u32) -> [Option<(u64, u32, u32)>; 3] {
        let run = FolioRun::of_memory(frame, end, order);
        blocks_of(&run).map(|it| (it.count() > 0).then(|| (it.frame(), it.order(), it.count())))
    }

    #[test]
    fn a_run_is_single_pages_and_large_blocks() {
        assert_eq!(
            blocks(63, 321, 0),
            [Some((63, 0, 1)), Some((64, 6, 4)), Some((320, 0, 1))]
        );
        assert_eq!(blocks(64, 128, 0), [None, Some((64, 6, 1)), None]);
        // No block is whole.
        assert_eq!(
            blocks(1, 127, 0),
            [Some((1, 0, 63)), None, Some((64, 0, 63))]
        );
        assert_eq!(blocks(65, 66, 0), [Some((65, 0, 1)), None, None]);
        assert_eq!(blocks(64, 65, 0), [None, None, Some((64, 0, 1))]);
        assert_eq!(blocks(63, 64, 0), [Some((63, 0, 1)), None, None]);
        // Folios of four pages.
        assert_eq!(
            blocks(60, 132, 2),
            [Some((60, 0, 4)), Some((64, 6, 1)), Some((128, 0, 4))]
        );
        // Huge folios.
        assert_eq!(blocks(512, 2048, 9), [None, Some((512, 9, 3)), None]);
    }
}
