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

    /// A pointer for C.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::folio {
        self.0.get()
    }

    /// The page frame that it begins with.
    #[inline]
    pub fn frame(&self) -> u64 {
        // SAFETY: `self` is a valid folio.
        unsafe { bindings::folio_pfn(self.0.get()) as u64 }
    }

    /// It has two to the power of this many pages.
    #[inline]
    pub fn order(&self) -> u32 {
        // SAFETY: `self` is a valid folio.
        unsafe { bindings::folio_order(self.0.get()) }
    }

    /// The page of its file that it begins with; any number if it belongs to none.
    #[inline]
    pub fn index(&self) -> u64 {
        // SAFETY: `self` is a valid folio. A folio whose file is known does not move in it.
        unsafe { bindings::folio_index_of(self.0.get()) as u64 }
    }

    /// Whether its content is valid.
    #[inline]
    pub fn is_uptodate(&self) -> bool {
        // SAFETY: `self` is a valid folio.
        unsafe { bindings::folio_test_uptodate(self.0.get()) }
    }

    /// Whether a page of it has hardware errors.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        // SAFETY: `self` is a valid folio.
        unsafe { bindings::folio_contain_hwpoisoned_page(self.0.get()) }
    }
}

/// Folios of a file that are pinned: they stay in the file, and where they are.
///
/// # Invariants
///
/// Each pointer is a folio with a pin that is owned.
pub struct Pins(KVec<NonNull<bindings::folio>>);

// SAFETY: A pin is not bound to a thread.
unsafe impl Send for Pins {}

impl Pins {
    /// Room for so many.
    pub fn with_capacity(count: usize) -> Result<Self> {
        // INVARIANT: There are none.
        Ok(Self(KVec::with_capacity(count, GFP_KERNEL)?))
    }

    /// All of them.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Folio> + Clone {
        let folio = |folio: &NonNull<_>| {
            // SAFETY: By the type invariants the folio is pinned, and stays so for as long as this
            // is borrowed.
            unsafe { Folio::from_raw(*folio) }
        };
        self.0.iter().map(folio)
    }

    /// Keeps those for which `keep` is true, and unpins the others.
    pub fn retain(&mut self, mut keep: impl FnMut(&Folio) -> bool) {
        self.0.retain(|folio| {
            // SAFETY: By the type invariants the folio is pinned.
            let stays = keep(unsafe { Folio::from_raw(*folio) });
            if !stays {
                // SAFETY: By the type invariants the pin is owned, and it is given up here.
                unsafe { bindings::unpin_folio(folio.as_ptr()) };
            }
            stays
        });
    }

    /// Leaves the pins to somebody else.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Has C fill the room that is left: it is given a place for folios and their number, and
    /// returns how many it has pinned.
    ///
    /// # Safety
    ///
    /// `fill` must write as many valid folios as it returns, each with a pin that is given away.
    pub(super) unsafe fn fill(
        &mut self,
        fill: impl FnOnce(*mut *mut bindings::folio, u32) -> Result<usize>,
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
        // SAFETY: The caller promises it.
        crate::error::to_result(unsafe { bindings::memfd_pin_new_folio(folio.as_ptr()) })?;
        // INVARIANT: It was just pinned, and there is room for it.
        pins.0.push(folio, GFP_KERNEL)?;
        // SAFETY: The caller promises that the folio is valid, and locked.
        unsafe { bindings::folio_zero_new(folio.as_ptr()) };
        Ok(pins)
    }

    /// Makes the content of each folio valid, by zeroes, and waits for those that do so already.
    /// Unpins folios that are no part of their file any more.
    pub fn make_uptodate(&mut self) {
        if self.iter().all(Folio::is_uptodate) {
            return;
        }
        self.retain(|folio| {
            // SAFETY: By the type invariants the folio is pinned, so it is valid.
            folio.is_uptodate() || unsafe { bindings::folio_make_uptodate(folio.0.get()) }
        });
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.retain(|_| false);
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
