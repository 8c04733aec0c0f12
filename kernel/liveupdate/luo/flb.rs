// SPDX-License-Identifier: GPL-2.0

//! File-lifecycle-bound state (FLB): global state that lives as long as files depend on it.
//!
//! The first file that depends on an FLB causes it to be preserved, the last one that is
//! unpreserved causes it to be unpreserved. In the next kernel it is retrieved on demand, and
//! finished after the last of those files.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
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
    wire::FlbSer, //
};

use crate::{
    ffi::flb::{
        Object,
        PreservedFlb,
        RawFlb, //
    },
    gate::{
        Gate,
        Pass, //
    },
    show::Show, //
};

mod incoming;
mod list;

pub(crate) use incoming::{
    IncomingFlb,
    IncomingFlbs, //
};
pub(crate) use list::FlbList;

/// An FLB that a handler has registered, and its state for the next kernel.
#[pin_data]
pub(crate) struct Flb {
    raw: RawFlb,
    compatible: Compatible,
    /// Its place among the FLBs of the previous kernel, if it is one of them.
    incoming: Option<usize>,
    /// Whether it has users; changed under the lock of `outgoing`.
    is_used: Atomic<bool>,
    #[pin]
    outgoing: Mutex<OutgoingFlb>,
}

/// The state for the next kernel, and its users.
#[derive(Default)]
struct OutgoingFlb {
    /// Preserved files that depend on it.
    files: u64,
    /// These files, and holders of the live object.
    refs: Refs,
    /// Present while there are users; after the last one until the gate is open.
    preserved: Option<PreservedFlb>,
}

impl Flb {
    /// An FLB without users.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the name has no end, `ENOMEM`.
    pub(crate) fn new(raw: RawFlb, incoming: &IncomingFlbs) -> Result<Arc<Self>> {
        let compatible = raw.compatible()?;
        let incoming = incoming.position(&compatible);
        Arc::pin_init(
            pin_init!(Self {
                raw,
                compatible,
                incoming,
                is_used: Atomic::new(false),
                outgoing <- new_mutex!(OutgoingFlb::default(), "luo::Flb::outgoing"),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether it has users.
    fn is_used(&self) -> bool {
        self.is_used.load(Relaxed)
    }

    /// Its definition.
    pub(crate) fn raw(&self) -> &RawFlb {
        &self.raw
    }

    /// One more file depends on it. The first user causes it to be preserved.
    pub(crate) fn enter_file(&self) -> Result {
        let mut outgoing = self.outgoing.lock();
        let OutgoingFlb {
            refs,
            preserved,
            files,
        } = &mut *outgoing;
        refs.enter(|| {
            if preserved.is_none() {
                *preserved = Some(self.raw.preserve()?);
            }
            self.is_used.store(true, Relaxed);
            Ok::<_, Error>(())
        })?;
        *files = files.saturating_add(1);
        Ok(())
    }

    /// One file less depends on it. After the last user it is unpreserved.
    pub(crate) fn leave_file(&self) {
        let mut outgoing = self.outgoing.lock();
        outgoing.files = outgoing.files.saturating_sub(1);
        if outgoing.refs.leave() == Left::Last {
            self.unpreserve(&mut outgoing);
        }
    }

    /// The live object, to be given back by [`Self::put`].
    ///
    /// # Errors
    ///
    /// `ENOENT` if no file depends on it, or it has no live object.
    pub(crate) fn get(&self) -> Result<Object> {
        let mut outgoing = self.outgoing.lock();
        if outgoing.refs.is_unused() {
            return Err(ENOENT);
        }
        let object = outgoing.preserved.as_ref().map(PreservedFlb::object);
        let object = object
            .filter(|object| object.get().is_some())
            .ok_or(ENOENT)?;
        outgoing.refs.enter(|| Ok::<(), Error>(()))?;
        Ok(object)
    }

    /// Gives back the object that [`Self::get`] returned. While the gate is closed, the FLB stays
    /// preserved until [`Self::tidy`].
    pub(crate) fn put(&self, gate: &Gate) {
        let mut outgoing = self.outgoing.lock();
        match outgoing.refs.leave() {
            Left::Others => {}
            Left::Last => {
                if let Ok(pass) = gate.enter_flb() {
                    self.unpreserve(&mut outgoing);
                    drop(pass);
                }
            }
            Left::TooOften => pr_warn!("'{}' was put more often than got\n", Show(self.compatible)),
        }
    }

    /// Whether its last user left while the gate was closed.
    fn is_left(&self) -> bool {
        let outgoing = self.outgoing.lock();
        outgoing.refs.is_unused() && outgoing.preserved.is_some()
    }

    /// Unpreserves the FLB if its last user left while the gate was closed.
    pub(crate) fn tidy(&self, _pass: &Pass<'_>) {
        let mut outgoing = self.outgoing.lock();
        if outgoing.refs.is_unused() {
            self.unpreserve(&mut outgoing);
        }
    }

    fn unpreserve(&self, outgoing: &mut OutgoingFlb) {
        outgoing.preserved = None;
        self.is_used.store(false, Relaxed);
    }

    /// The entry for the next kernel, if files depend on the FLB.
    pub(crate) fn to_ser(&self) -> Option<FlbSer> {
        let outgoing = self.outgoing.lock();
        let preserved = outgoing.preserved.as_ref()?;
        (outgoing.files > 0).then(|| FlbSer {
            name: *self.compatible.as_array(),
            data: preserved.data(),
            count: outgoing.files,
        })
    }
}

/// The FLBs that a preserved file is counted in, until this is dropped.
pub(crate) struct Dependence(KVec<Arc<Flb>>);

impl Dependence {
    /// Counts a file in each FLB, in order.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or the error of an FLB that could not be preserved; the file is counted in none.
    pub(crate) fn new(flbs: &[Arc<Flb>], _pass: &Pass<'_>) -> Result<Self> {
        let mut entered = Self(KVec::with_capacity(flbs.len(), GFP_KERNEL)?);
        for flb in flbs {
            flb.enter_file()?;
            entered.0.push(flb.clone(), GFP_KERNEL)?;
        }
        Ok(entered)
    }
}

/// The file leaves the last FLB first.
impl Drop for Dependence {
    fn drop(&mut self) {
        self.0.iter().rev().for_each(|flb| flb.leave_file());
    }
}
