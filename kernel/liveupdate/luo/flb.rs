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
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        UniqueArc, //
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
    /// Whether something depends on it; changed under the lock of `outgoing`.
    is_used: Atomic<bool>,
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
                is_used: Atomic::new(false),
                outgoing <- new_mutex!(outgoing, "luo::Flb::outgoing"),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether something depends on it, or somebody has got it.
    fn is_used(&self) -> bool {
        self.is_used.load(Relaxed)
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
            self.is_used.store(true, Relaxed);
            Ok(())
        })
    }

    /// One less depends on it. After the last one it is unpreserved.
    fn leave(&self) {
        let mut outgoing = self.outgoing.lock();
        match outgoing.refs.leave() {
            Left::Others => {}
            Left::Nobody => {
                outgoing.preserved = None;
                self.is_used.store(false, Relaxed);
            }
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
    /// A set to be, with room for `count`.
    fn with_capacity(count: usize) -> Result<UniqueArc<Self>> {
        let flbs = KVec::with_capacity(count, GFP_KERNEL)?;
        Ok(UniqueArc::new(Self(flbs), GFP_KERNEL)?)
    }

    /// Makes a set of these, for which there must be room.
    fn fill(mut set: UniqueArc<Self>, flbs: &[Arc<Flb>]) -> Arc<Self> {
        for flb in flbs {
            // There is room.
            let _ = set.0.push_within_capacity(flb.clone());
        }
        set.into()
    }
}

impl Deref for FlbSet {
    type Target = [Arc<Flb>];

    fn deref(&self) -> &[Arc<Flb>] {
        &self.0
    }
}

/// What files of a handler depend on now, and the set that files which come now keep.
pub(crate) struct Dependencies {
    flbs: KVec<Arc<Flb>>,
    /// Made when the objects change.
    set: Arc<FlbSet>,
    /// Sets to be, one for each object, with room for as many as there were with it: an object is
    /// removed without memory.
    spares: KVec<UniqueArc<FlbSet>>,
}

impl Dependencies {
    /// Nothing.
    pub(crate) fn none() -> Result<Self> {
        Ok(Self {
            flbs: KVec::new(),
            set: FlbSet::with_capacity(0)?.into(),
            spares: KVec::new(),
        })
    }

    /// The objects, in the order of registration.
    pub(crate) fn flbs(&self) -> &[Arc<Flb>] {
        &self.flbs
    }

    /// What a file keeps that is preserved now.
    pub(crate) fn set(&self) -> &Arc<FlbSet> {
        &self.set
    }

    /// One more object.
    fn add(&mut self, flb: Arc<Flb>) -> Result {
        let room = self.flbs.len().saturating_add(1);
        let set = FlbSet::with_capacity(room)?;
        let spare = FlbSet::with_capacity(room)?;
        self.flbs.reserve(1, GFP_KERNEL)?;
        self.spares.push(spare, GFP_KERNEL)?;
        self.flbs.push(flb, GFP_KERNEL)?;
        self.set = FlbSet::fill(set, &self.flbs);
        Ok(())
    }

    /// One object less.
    fn remove(&mut self, is_flb: impl Fn(&Flb) -> bool) -> Option<Arc<Flb>> {
        let at = self.flbs.iter().position(|flb| is_flb(flb))?;
        let flb = self.flbs.remove(at).ok();
        if let Some(spare) = self.spares.pop() {
            self.set = FlbSet::fill(spare, &self.flbs);
        }
        flb
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
