// SPDX-License-Identifier: GPL-2.0

//! Folios that cross a kexec.

use crate::{
    bindings,
    error::to_result,
    mm::folio::{
        Folio,
        FolioMemory,
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
pub struct PreservedFolios(KVVec<Run>);

/// Folios that are adjacent in memory, all of the same order.
#[derive(Clone, Copy)]
struct Run {
    frame: u64,
    count: u32,
    order: u32,
}

impl Run {
    fn of(folio: &Folio) -> Self {
        Self {
            frame: folio.frame(),
            count: 1,
            order: folio.order(),
        }
    }

    /// The page frame behind it.
    fn end(&self) -> u64 {
        self.frame + (u64::from(self.count) << self.order)
    }

    /// Takes a run in that begins where this one ends.
    fn merge(&mut self, next: &Self) -> bool {
        let count = self.count.checked_add(next.count);
        match count {
            Some(count) if self.order == next.order && self.end() == next.frame => {
                self.count = count;
                true
            }
            _ => false,
        }
    }

    fn first(&self) -> *mut bindings::folio {
        // SAFETY: The function only computes an address.
        unsafe { bindings::pfn_folio(self.frame as usize) }
    }
}

impl PreservedFolios {
    /// Whether a pinned folio is one of them.
    ///
    /// No folio belongs to two files, so this asks whether anything has preserved it.
    pub fn contains(&self, folio: &Folio) -> bool {
        // SAFETY: The folio is valid.
        unsafe { bindings::kho_folio_is_preserved(folio.as_ptr()) }
    }

    /// Preserves folios, in runs of adjacent ones. There are no pins afterwards.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. Then none of them is preserved, and the pins are left.
    pub fn preserve(&mut self, pins: &mut Pins) -> Result {
        // So that what comes cannot fail halfway.
        self.0.reserve(pins.iter().len(), GFP_KERNEL)?;
        let mut folios = pins.iter();
        let Some(mut run) = folios.next().map(Run::of) else {
            return Ok(());
        };
        let first_new = self.0.len();
        let mut result = Ok(());
        for next in folios.map(Run::of) {
            if !run.merge(&next) {
                result = result.and_then(|()| self.push(run));
                run = next;
            }
        }
        result = result.and_then(|()| self.push(run));
        if result.is_err() {
            // INVARIANT: The runs of these folios are not there any more, and the pins stay with
            // the caller.
            self.give_back(first_new);
            return result;
        }
        self.merge_at(first_new);
        // The runs own the pins.
        pins.forget();
        Ok(())
    }

    /// Makes one run of the last one, if its number is `at`, and the one before.
    fn merge_at(&mut self, at: usize) {
        if at + 1 != self.0.len() {
            return;
        }
        if let Some([one, next]) = at.checked_sub(1).and_then(|one| self.0.get_mut(one..)) {
            if one.merge(next) {
                self.0.truncate(at);
            }
        }
    }

    fn push(&mut self, run: Run) -> Result {
        // SAFETY: The folios are valid: they are pinned.
        to_result(unsafe { bindings::kho_preserve_folio_run(run.first(), run.count as usize) })?;
        self.0.push(run, GFP_KERNEL)?;
        Ok(())
    }

    /// Gives up the preservations from a run on; the pins are somebody else's.
    fn give_back(&mut self, first: usize) {
        for run in self.0.iter().skip(first) {
            // SAFETY: By the type invariants the folios are preserved.
            unsafe { bindings::kho_unpreserve_folio_run(run.first(), run.count as usize) };
        }
        self.0.truncate(first);
    }
}

impl Drop for PreservedFolios {
    fn drop(&mut self) {
        for run in &self.0 {
            // SAFETY: By the type invariants the folios are preserved.
            unsafe { bindings::kho_unpreserve_folio_run(run.first(), run.count as usize) };
            for number in 0..u64::from(run.count) {
                let frame = run.frame + (number << run.order);
                // SAFETY: By the type invariants the folio is pinned, so it is valid, and the pin
                // is owned.
                unsafe { bindings::unpin_folio(bindings::pfn_folio(frame as usize)) };
            }
        }
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
/// `ENOENT` if no memory was preserved there, or it was restored before.
pub fn restore(phys: u64) -> Result<FolioMemory> {
    // SAFETY: The function takes any address.
    if unsafe { bindings::kho_preserved_order(phys) } < 0 {
        return Err(ENOENT);
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
        let count = count.min(self.room() as u64);
        let phys = phys(frame)?;
        // SAFETY: The function takes any address.
        let count = unsafe { bindings::kho_restore_folio_run(phys, order, count as usize) };
        // SAFETY: KHO has just given these folios, once.
        unsafe { self.push_run(frame, order, count) }?;
        Ok(count as u64)
    }

    /// Adds a folio that is made of pages which the previous kernel has preserved one by one.
    /// Returns whether all of them were there; otherwise nothing has happened.
    #[inline]
    pub fn restore_merged(&mut self, frame: u64, order: u32) -> Result<bool> {
        if self.room() == 0 {
            return Err(ENOMEM);
        }
        // SAFETY: The function takes any address.
        let folio = unsafe { bindings::kho_restore_folio_merged(phys(frame)?, order) };
        match NonNull::new(folio) {
            // SAFETY: KHO has just given the folio, once.
            Some(folio) => unsafe { self.push(folio) }.map(|()| true),
            None => Ok(false),
        }
    }
}
