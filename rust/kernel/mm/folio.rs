// SPDX-License-Identifier: GPL-2.0

//! Folios: memory of one or more pages.
//!
//! - [`Pins`] are folios of a file that stay where they are.
//! - [`Folios`] belong to no file so far.
//!
//! C header: [`include/linux/mm_types.h`](srctree/include/linux/mm_types.h)

use crate::{
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    types::Opaque, //
};
use core::{
    ptr::NonNull,
    slice, //
};

/// Memory of two to the power of [`Folio::order`] pages, aligned to its size.
#[repr(transparent)]
pub struct Folio(Opaque<bindings::folio>);

impl Folio {
    /// # Safety
    ///
    /// There must be a reference to the folio for as long as `'a`.
    #[inline]
    unsafe fn from_raw<'a>(folio: NonNull<bindings::folio>) -> &'a Self {
        // SAFETY: The caller promises that the folio is there; `Folio` is transparent.
        unsafe { folio.cast().as_ref() }
    }

    /// It has two to the power of this many pages.
    #[inline]
    pub fn order(&self) -> u32 {
        // SAFETY: `self` is a valid folio.
        unsafe { bindings::folio_order(self.0.get()) }
    }
}

/// Folios that follow each other in a file and in memory, all of one order: numbers, which own
/// nothing.
///
/// # Invariants
///
/// There are fewer than 2^32 pages.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct FolioRun(bindings::folio_run);

impl FolioRun {
    /// Memory from one page frame to before another one, of a run: blocks of an order, as many as
    /// are whole. They need not be folios, and are of no file.
    pub(crate) fn of_memory(frame: u64, end: u64, order: u32) -> Self {
        // INVARIANT: It is a part of a run.
        Self(bindings::folio_run {
            pfn: frame as usize,
            index: 0,
            nr: (end.saturating_sub(frame) >> order) as u32,
            order,
        })
    }

    /// The page frame that it begins with.
    #[inline]
    pub fn frame(&self) -> u64 {
        self.0.pfn as u64
    }

    /// The page of the file that it begins with.
    #[inline]
    pub fn index(&self) -> u64 {
        self.0.index as u64
    }

    /// Folios in it.
    #[inline]
    pub fn count(&self) -> u32 {
        self.0.nr
    }

    /// Each has two to the power of this many pages.
    #[inline]
    pub fn order(&self) -> u32 {
        self.0.order
    }

    /// Pages of all of it.
    #[inline]
    pub fn pages(&self) -> u64 {
        u64::from(self.count()) << self.order()
    }

    /// The page of the file behind it.
    #[inline]
    pub fn end(&self) -> u64 {
        self.index() + self.pages()
    }

    /// Takes a run in that begins where this one ends. Returns whether it does.
    pub(crate) fn merge(&mut self, next: &Self) -> bool {
        let follows = self.order() == next.order()
            && self.frame() + self.pages() == next.frame()
            && self.end() == next.index();
        let is_short = u32::try_from(self.pages() + next.pages()).is_ok();
        if follows && is_short {
            // INVARIANT: All pages of both are fewer.
            self.0.nr += next.count();
        }
        follows && is_short
    }

    /// The first folios of it, so many, and the others.
    fn split_at(&self, count: u32) -> (Self, Self) {
        let (mut first, mut others) = (*self, *self);
        first.0.nr = count.min(self.count());
        others.0.nr -= first.0.nr;
        others.0.pfn += first.pages() as usize;
        others.0.index += first.pages() as usize;
        (first, others)
    }

    /// Gives the pins of all folios up.
    ///
    /// # Safety
    ///
    /// Each folio must be pinned, and the pins must be given away.
    pub(crate) unsafe fn unpin(&self) {
        // SAFETY: The caller promises it.
        unsafe { bindings::memfd_unpin_folio_run(&self.0) };
    }
}

/// Folios of a file that are pinned: they stay in the file, and where they are. Their content is
/// valid.
///
/// # Invariants
///
/// Each folio of each run has a pin that is owned.
pub struct Pins(KVec<FolioRun>);

impl Pins {
    /// Room for so many runs.
    pub fn with_capacity(runs: usize) -> Result<Self> {
        // INVARIANT: There are none.
        Ok(Self(KVec::with_capacity(runs, GFP_KERNEL)?))
    }

    /// All of them.
    #[inline]
    pub fn runs(&self) -> &[FolioRun] {
        &self.0
    }

    /// Unpins folios: those that begin with the pages which `next` names, each the first one from a
    /// page on.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. Then some of them are left.
    pub fn exclude(&mut self, mut next: impl FnMut(u64) -> Option<u64>) -> Result {
        let mut at = 0;
        while let Some(run) = self.0.get(at).copied() {
            let Some(index) = next(run.index()).filter(|index| *index < run.end()) else {
                at += 1;
                continue;
            };
            // So that what comes cannot fail halfway.
            self.0.reserve(1, GFP_KERNEL)?;
            let (before, others) = run.split_at((index - run.index() >> run.order()) as u32);
            let (one, behind) = others.split_at(1);
            let _ = self.0.remove(at);
            // SAFETY: By the type invariants the pin is owned.
            // INVARIANT: The folio is in no run any more.
            unsafe { one.unpin() };
            if behind.count() > 0 {
                let _ = self.0.insert_within_capacity(at, behind);
            }
            if before.count() > 0 {
                let _ = self.0.insert_within_capacity(at, before);
                at += 1;
            }
        }
        Ok(())
    }

    /// Leaves the pins to somebody else.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Has C fill the room that is left: it is given a place for runs and their number, and returns
    /// how many it has filled.
    ///
    /// # Safety
    ///
    /// `fill` must write as many runs as it returns, and no more than there is room for. Each of
    /// their folios must be valid, with a pin that is given away.
    pub(super) unsafe fn fill(
        &mut self,
        fill: impl FnOnce(*mut bindings::folio_run, u32) -> Result<usize>,
    ) -> Result {
        let room = self.0.spare_capacity_mut();
        let count = fill(
            room.as_mut_ptr().cast(),
            room.len().try_into().unwrap_or(u32::MAX),
        )?;
        // SAFETY: The caller promises that so many are initialised, which is no more than was
        // asked for.
        unsafe { self.0.inc_len(count) };
        Ok(())
    }

    /// Pins a folio that was just added to a file, and makes its content valid, by zeroes: a folio
    /// that goes to the next kernel must have no old content at any time.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if it is in memory that must not be pinned for long, `ENOMEM`.
    ///
    /// # Safety
    ///
    /// The folio must be valid, locked, and in the page cache.
    pub unsafe fn of_new(folio: NonNull<bindings::folio>) -> Result<Self> {
        let mut pins = Self::with_capacity(1)?;
        // SAFETY: The caller promises that the folio is valid.
        let run = unsafe {
            bindings::folio_run {
                pfn: bindings::folio_pfn(folio.as_ptr()),
                index: bindings::folio_index_of(folio.as_ptr()),
                nr: 1,
                order: bindings::folio_order(folio.as_ptr()),
            }
        };
        // SAFETY: The caller promises it.
        crate::error::to_result(unsafe { bindings::memfd_pin_new_folio(folio.as_ptr()) })?;
        // INVARIANT: It was just pinned, and there is room for it. It is one folio.
        pins.0.push(FolioRun(run), GFP_KERNEL)?;
        // SAFETY: The caller promises that the folio is valid, and locked.
        unsafe { bindings::folio_zero_new(folio.as_ptr()) };
        Ok(pins)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        for run in &self.0 {
            // SAFETY: By the type invariants the pins are owned, and they are given up here.
            unsafe { run.unpin() };
        }
    }
}

/// Folios that belong to no file, and that only this value knows.
///
/// They are freed when this is dropped.
///
/// # Invariants
///
/// Each pointer is a folio with one reference, which is owned.
pub struct Folios(KVec<NonNull<bindings::folio>>);

// SAFETY: A reference to a folio is not bound to a thread.
unsafe impl Send for Folios {}

impl Folios {
    /// Room for so many.
    pub fn with_capacity(count: usize) -> Result<Self> {
        // INVARIANT: There are none.
        Ok(Self(KVec::with_capacity(count, GFP_KERNEL)?))
    }

    /// How many more there is room for.
    #[inline]
    pub fn room(&self) -> usize {
        self.0.capacity() - self.0.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one, if there is room; otherwise it is freed.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no room.
    ///
    /// # Safety
    ///
    /// The folio must be valid, with one reference, which is given away.
    #[inline]
    pub(crate) unsafe fn push(&mut self, folio: NonNull<bindings::folio>) -> Result {
        if self.0.push_within_capacity(folio).is_err() {
            // SAFETY: The caller gives the reference away.
            unsafe { bindings::folio_put(folio.as_ptr()) };
            return Err(ENOMEM);
        }
        Ok(())
    }

    /// Adds folios that are adjacent in memory, for which there is room.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no room.
    ///
    /// # Safety
    ///
    /// From page frame `frame` on there must be so many folios of this order, each with one
    /// reference, which is given away.
    #[inline]
    pub(crate) unsafe fn push_run(&mut self, frame: u64, order: u32, count: usize) -> Result {
        let room = self.0.spare_capacity_mut();
        if room.len() < count {
            return Err(ENOMEM);
        }
        // SAFETY:
        // - There is room for so many pointers.
        // - The function computes only addresses.
        unsafe {
            bindings::pfn_folios(frame as usize, order, count, room.as_mut_ptr().cast());
        }
        // SAFETY: So many were just written, and the caller promises that they are folios.
        unsafe { self.0.inc_len(count) };
        Ok(())
    }

    /// Frees all of them.
    pub fn clear(&mut self) {
        for folio in self.0.drain_all() {
            // SAFETY: By the type invariants the reference is owned, and it is given up here.
            unsafe { bindings::folio_put(folio.as_ptr()) };
        }
    }

    /// Gives all of them to C, which owns the references from there on.
    #[inline]
    pub(super) fn give<T>(&mut self, to: impl FnOnce(*mut *mut bindings::folio, u32) -> T) -> T {
        let count = self.0.len().try_into().unwrap_or(u32::MAX);
        let result = to(self.0.as_mut_ptr().cast(), count);
        self.0.clear();
        result
    }
}

impl Drop for Folios {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Memory of a folio that belongs to no file, and that only this value knows.
///
/// It is freed when this is dropped.
///
/// # Invariants
///
/// The folio is in the direct map, with one reference, which is owned.
pub struct FolioMemory(NonNull<bindings::folio>);

impl FolioMemory {
    /// # Safety
    ///
    /// The folio must be in the direct map, initialised, with one reference, which is given away.
    #[inline]
    pub(crate) unsafe fn from_raw(folio: NonNull<bindings::folio>) -> Self {
        // INVARIANT: The caller promises it.
        Self(folio)
    }

    /// The folio.
    #[inline]
    pub fn folio(&self) -> &Folio {
        // SAFETY: By the type invariants there is a reference.
        unsafe { Folio::from_raw(self.0) }
    }

    /// The memory.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        let size = PAGE_SIZE << self.folio().order();
        // SAFETY: By the type invariants the memory is in the direct map, and this is its size;
        // nothing else has it, so it does not change.
        unsafe { slice::from_raw_parts(bindings::folio_address(self.0.as_ptr()).cast(), size) }
    }
}

impl Drop for FolioMemory {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the reference is owned, and it is given up here.
        unsafe { bindings::folio_put(self.0.as_ptr()) };
    }
}
