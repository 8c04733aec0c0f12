// SPDX-License-Identifier: GPL-2.0

//! All objects that handlers have registered.

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};
use luo_core::wire::{
    FlbHeaderSer,
    FlbSer, //
};

use super::{
    Dependencies,
    Flb, //
};
use crate::{
    ffi::{
        flb::RawFlb,
        handler::RawHandler, //
    },
    state::State,
};

/// Objects that the page of the handover has room for.
const MAX: usize = match PAGE_SIZE
    .saturating_sub(size_of::<FlbHeaderSer>())
    .checked_div(size_of::<FlbSer>())
{
    Some(entries) => entries,
    None => 0,
};

/// An object, and how many handlers have registered it. One that none has registered any more stays
/// for as long as it is used: its users have to find it.
struct Entry {
    flb: Arc<Flb>,
    handlers: usize,
}

/// Every object once, however many handlers have registered it.
pub(crate) struct FlbList(KVec<Entry>);

impl FlbList {
    /// None.
    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    /// The object with this definition.
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

    /// Counts one more handler of an object, which is added if this is the first.
    fn enter(&mut self, raw: RawFlb, is_it: impl Fn(&RawFlb) -> bool) -> Result<Arc<Flb>> {
        self.sweep();
        if let Some(entry) = self.0.iter_mut().find(|entry| is_it(&entry.flb.raw)) {
            entry.handlers = entry.handlers.saturating_add(1);
            return Ok(entry.flb.clone());
        }
        if self.0.len() >= MAX {
            return Err(ENOSPC);
        }
        let flb = Flb::new(raw)?;
        if self
            .0
            .iter()
            .any(|entry| entry.flb.compatible == flb.compatible)
        {
            return Err(EEXIST);
        }
        self.0.push(
            Entry {
                flb: flb.clone(),
                handlers: 1,
            },
            GFP_KERNEL,
        )?;
        Ok(flb)
    }

    /// Counts one handler less of an object, which is removed if that was the last.
    fn leave(&mut self, flb: &Arc<Flb>) {
        if let Some(entry) = self.0.iter_mut().find(|entry| Arc::ptr_eq(&entry.flb, flb)) {
            entry.handlers = entry.handlers.saturating_sub(1);
        }
        self.sweep();
    }

    /// Removes objects that nobody has registered and nobody uses. Nobody can begin to use them: what
    /// files come to depend on is registered while they do.
    pub(crate) fn sweep(&mut self) {
        self.0
            .retain(|entry| entry.handlers > 0 || entry.flb.is_used());
    }
}

/// Makes files of a handler depend on an object.
///
/// # Errors
///
/// `EINVAL` if the handler is not registered, `EEXIST` if its files depend on the object already or
/// there is another object of that name, `ENOSPC` if there are too many objects.
pub(crate) fn register(
    state: &State,
    is_handler: impl Fn(&RawHandler) -> bool,
    raw: RawFlb,
    is_flb: impl Fn(&RawFlb) -> bool,
) -> Result {
    let mut handlers = state.handlers.write();
    let dependencies = handlers.dependencies_mut(is_handler).ok_or(EINVAL)?;
    if dependencies.flbs().iter().any(|flb| is_flb(&flb.raw)) {
        return Err(EEXIST);
    }
    let flb = state.flbs.lock().enter(raw, is_flb)?;
    dependencies
        .add(flb.clone())
        .inspect_err(|_| state.flbs.lock().leave(&flb))
}

/// Makes files of a handler depend on an object no longer. Those that are preserved stay counted.
///
/// # Errors
///
/// `ENOENT` if they did not depend on it.
pub(crate) fn unregister(
    state: &State,
    is_handler: impl Fn(&RawHandler) -> bool,
    is_flb: impl Fn(&RawFlb) -> bool,
) -> Result {
    let mut handlers = state.handlers.write();
    let dependencies = handlers.dependencies_mut(is_handler).ok_or(ENOENT)?;
    let removed = dependencies.remove(|flb| is_flb(&flb.raw));
    state.flbs.lock().leave(&removed.ok_or(ENOENT)?);
    Ok(())
}

/// A handler was unregistered whose files depended on these.
pub(crate) fn unregister_all(state: &State, dependencies: &Dependencies) {
    let mut flbs = state.flbs.lock();
    dependencies.flbs().iter().for_each(|flb| flbs.leave(flb));
}
