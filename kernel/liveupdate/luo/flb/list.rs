// SPDX-License-Identifier: GPL-2.0

//! The FLBs that handlers have registered.

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};
use luo_core::wire::{
    FlbHeaderSer,
    FlbSer, //
};

use super::Flb;
use crate::ffi::flb::RawFlb;

/// Entries that the page of the handover has room for.
const MAX: usize = match PAGE_SIZE
    .saturating_sub(size_of::<FlbHeaderSer>())
    .checked_div(size_of::<FlbSer>())
{
    Some(entries) => entries,
    None => 0,
};

/// An FLB, and how many handlers have registered it. One that none has registered any more stays
/// while it is used: its users have to find it.
struct Entry {
    flb: Arc<Flb>,
    handlers: usize,
}

/// Each FLB once, even if several handlers have registered it, in the order of registration.
pub(crate) struct FlbList(KVec<Entry>);

impl FlbList {
    /// None, with room for as many as there can be.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(KVec::with_capacity(MAX, GFP_KERNEL)?))
    }

    /// The FLB with this definition.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no handler has registered it.
    pub(crate) fn find(&self, is_it: impl Fn(&RawFlb) -> bool) -> Result<Arc<Flb>> {
        let entry = self
            .0
            .iter()
            .find(|entry| is_it(&entry.flb.raw))
            .ok_or(ENOENT)?;
        Ok(entry.flb.clone())
    }

    /// All FLBs, in the order of registration.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Flb> {
        self.0.iter().map(|entry| &*entry.flb)
    }

    /// Counts one more handler of an FLB. If this is the first, `flb` is added for it. Nothing is
    /// allocated: `reboot(2)` takes the lock of this list.
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is another FLB of that name, `ENOSPC` if the handover has no room for more
    /// FLBs.
    pub(crate) fn enter(
        &mut self,
        flb: Arc<Flb>,
        is_it: impl Fn(&RawFlb) -> bool,
    ) -> Result<Arc<Flb>> {
        self.sweep();
        if let Some(entry) = self.0.iter_mut().find(|entry| is_it(&entry.flb.raw)) {
            entry.handlers = entry.handlers.saturating_add(1);
            return Ok(entry.flb.clone());
        }
        if self
            .0
            .iter()
            .any(|entry| entry.flb.compatible == flb.compatible)
        {
            return Err(EEXIST);
        }
        let entry = Entry {
            flb: flb.clone(),
            handlers: 1,
        };
        self.0.push_within_capacity(entry).map_err(|_| ENOSPC)?;
        Ok(flb)
    }

    /// Counts one handler less of an FLB, which is removed if that was the last.
    pub(crate) fn leave(&mut self, flb: &Arc<Flb>) {
        if let Some(entry) = self.0.iter_mut().find(|entry| Arc::ptr_eq(&entry.flb, flb)) {
            entry.handlers = entry.handlers.saturating_sub(1);
        }
        self.sweep();
    }

    /// Removes FLBs that are neither registered nor used. They cannot get users: the FLBs of a file
    /// are registered when it is preserved.
    pub(crate) fn sweep(&mut self) {
        self.0
            .retain(|entry| entry.handlers > 0 || entry.flb.is_used());
    }

    /// An FLB whose last user left while the gate was closed.
    pub(crate) fn left(&self) -> Option<Arc<Flb>> {
        let entry = self.0.iter().find(|entry| entry.flb.is_left())?;
        Some(entry.flb.clone())
    }
}
