// SPDX-License-Identifier: GPL-2.0

//! File-lifecycle-bound objects (FLBs): global state that lives as long as files that depend on it.
//!
//! The first file that depends on an object makes it be preserved, the last one that is unpreserved
//! makes it be unpreserved. In the next kernel it is retrieved when somebody asks, and finished
//! after the last of those files.

use core::ops::Deref;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use luo_core::{
    name::Compatible,
    refs::{
        Left,
        Refs, //
    },
    rollback::{
        all_or_none,
        undo_back,
        Index, //
    },
    wire::FlbSer, //
};

use crate::{
    ffi::flb::{
        Object,
        PreservedFlb,
        RawFlb, //
    },
    show::Show,
    state, //
};

mod incoming;
mod list;

pub(crate) use incoming::IncomingFlbs;
pub(crate) use list::{
    register,
    unregister,
    unregister_all,
    FlbList, //
};

/// An object that handlers have registered, and its state on the way out.
#[pin_data]
pub(crate) struct Flb {
    raw: RawFlb,
    compatible: Compatible,
    /// Which of the objects of the last kernel it is, if any.
    incoming: Option<usize>,
    #[pin]
    outgoing: Mutex<OutgoingFlb>,
}

/// What is preserved, and for how many.
struct OutgoingFlb {
    refs: Refs,
    preserved: Option<PreservedFlb>,
    /// What was written down when the kernel was last about to be left.
    written: Option<Written>,
}

/// An entry of the handover.
#[derive(Clone, Copy)]
struct Written {
    attempt: Attempt,
    at: usize,
    files: u64,
}

/// An attempt to leave the kernel; no two have the same number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt(pub(crate) u64);

impl Flb {
    fn new(raw: RawFlb) -> Result<Arc<Self>> {
        let compatible = raw.compatible()?;
        let incoming = state::get()?.incoming_flbs.position(&compatible);
        let outgoing = OutgoingFlb {
            refs: Refs::default(),
            preserved: None,
            written: None,
        };
        Arc::pin_init(
            pin_init!(Self {
                raw,
                compatible,
                incoming,
                outgoing <- new_mutex!(outgoing, "luo::Flb::outgoing"),
            }),
            GFP_KERNEL,
        )
    }

    /// Its definition.
    pub(crate) fn raw(&self) -> &RawFlb {
        &self.raw
    }

    /// Which of the objects of the last kernel it is.
    pub(crate) fn incoming(&self) -> Option<usize> {
        self.incoming
    }

    /// One more depends on it. The first one makes it be preserved.
    fn enter(&self) -> Result {
        let mut outgoing = self.outgoing.lock();
        let OutgoingFlb {
            refs, preserved, ..
        } = &mut *outgoing;
        refs.enter(|| {
            *preserved = Some(self.raw.preserve()?);
            Ok(())
        })
    }

    /// One less depends on it. After the last one it is unpreserved.
    fn leave(&self) {
        let mut outgoing = self.outgoing.lock();
        match outgoing.refs.leave() {
            Left::Others => {}
            Left::Nobody => outgoing.preserved = None,
            Left::TooOften => pr_warn!("'{}' was put more often than got\n", Show(self.compatible)),
        }
    }

    /// The live object, to be given back by [`Self::put`].
    ///
    /// # Errors
    ///
    /// `ENOENT` if nothing depends on it, or there is no object.
    pub(crate) fn get(&self) -> Result<Object> {
        let mut outgoing = self.outgoing.lock();
        let object = outgoing.preserved.as_ref().map(PreservedFlb::object);
        let object = object
            .filter(|object| object.get().is_some())
            .ok_or(ENOENT)?;
        outgoing.refs.enter(|| Ok::<(), Error>(()))?;
        Ok(object)
    }

    /// Gives back what [`Self::get`] gave.
    pub(crate) fn put(&self) {
        self.leave();
    }

    /// Counts `files` more files that are handed over and depend on it.
    ///
    /// Returns the entry that says so and its number: that of an earlier call in the same attempt,
    /// or `next`.
    pub(crate) fn write_down(&self, attempt: Attempt, next: usize, files: u64) -> (usize, FlbSer) {
        let mut outgoing = self.outgoing.lock();
        let before = outgoing
            .written
            .filter(|written| written.attempt == attempt);
        let (at, before) = before.map_or((next, 0), |written| (written.at, written.files));
        let files = files.saturating_add(before);
        outgoing.written = Some(Written { attempt, at, files });
        let entry = FlbSer {
            name: *self.compatible.as_array(),
            data: outgoing.preserved.as_ref().map_or(0, PreservedFlb::data),
            count: files,
        };
        (at, entry)
    }
}

/// What files of a handler depend on, in the order of registration.
pub(crate) struct FlbSet(KVec<Arc<Flb>>);

impl FlbSet {
    /// Nothing.
    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    /// This and one more.
    fn with(&self, flb: &Arc<Flb>) -> Result<Self> {
        let mut set = KVec::with_capacity(self.0.len().saturating_add(1), GFP_KERNEL)?;
        for there in self.0.iter() {
            set.push(there.clone(), GFP_KERNEL)?;
        }
        set.push(flb.clone(), GFP_KERNEL)?;
        Ok(Self(set))
    }

    /// This without one.
    fn without(&self, flb: &Arc<Flb>) -> Result<Self> {
        let mut set = KVec::with_capacity(self.0.len(), GFP_KERNEL)?;
        for there in self.0.iter().filter(|there| !Arc::ptr_eq(there, flb)) {
            set.push(there.clone(), GFP_KERNEL)?;
        }
        Ok(Self(set))
    }
}

impl Deref for FlbSet {
    type Target = [Arc<Flb>];

    fn deref(&self) -> &[Arc<Flb>] {
        &self.0
    }
}

/// A file that is counted in each object of a set; not any more when this is dropped.
pub(crate) struct Dependence(Arc<FlbSet>);

impl Dependence {
    /// Counts a file in each object, in order. If one cannot be preserved, it is counted in none.
    pub(crate) fn new(set: &Arc<FlbSet>) -> Result<Self> {
        all_or_none(
            &mut &**set,
            Index::first(set.len()),
            |set, at| set.get(at.get()).map_or(Ok(()), |flb| flb.enter()),
            |set, at| set.get(at.get()).into_iter().for_each(|flb| flb.leave()),
        )?;
        Ok(Self(set.clone()))
    }

    /// The objects.
    pub(crate) fn set(&self) -> &Arc<FlbSet> {
        &self.0
    }
}

impl Drop for Dependence {
    fn drop(&mut self) {
        undo_back(&mut &*self.0, Index::last(self.0.len()), |set, at| {
            set.get(at.get()).into_iter().for_each(|flb| flb.leave());
        });
    }
}
