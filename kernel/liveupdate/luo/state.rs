// SPDX-License-Identifier: GPL-2.0

//! The state of LUO as a whole, and the order of its locks.
//!
//! # Locks
//!
//! A thread that holds one of these takes only locks that stand below it:
//!
//! 1. [`Gate`]: commands hold it for reading while they work, `reboot(2)` for writing. Readers only
//!    try, so they never wait for it.
//! 2. `Handle::role`: the session of a descriptor; held for as long as it takes to look or to
//!    change it.
//! 3. `incoming::Session::life`: held for reading while a file is retrieved, for writing while the
//!    session is finished.
//! 4. [`State::incoming`]: the sessions of the previous kernel, by name.
//! 5. [`State::outgoing`]: the sessions for the next kernel. Held for as long as it takes to find a
//!    name or to make room for one more, and by `reboot(2)` while it freezes files.
//! 6. `outgoing::Session::files`: the files of one of them. Held for as long as it takes to find a
//!    token or to make room for one more, and while its files are frozen.
//! 7. `incoming::Session::retrievals`: the states of the files of the previous kernel; held for as
//!    long as it takes to look or to change one, and while handlers are asked whether files can be
//!    finished.
//! 8. [`Tables::handlers`]: held for reading while handlers are asked whether they take a file, and
//!    while an FLB is preserved or finished for a file.
//! 9. [`Tables::flbs`]: the list of FLBs, held for a lookup, or to write all of them down.
//! 10. `Flb::outgoing`, `IncomingFlb::life`: one FLB, held while it is preserved, unpreserved,
//!     retrieved or finished.
//! 11. [`Tables::identities`]: held for a lookup.
//!
//! Readers of debugfs hold 4 and try 3. `docs/locking.md` says under which of them callbacks
//! run.

use kernel::{
    new_mutex,
    new_rwsem,
    prelude::*,
    sync::{
        atomic::Atomic,
        Mutex,
        RwSem,
        SetOnce, //
    }, //
};

use crate::{
    flb::{
        FlbList,
        IncomingFlbs, //
    },
    gate::Gate,
    registry::{
        Incoming,
        Outgoing, //
    },
    tables::Tables, //
};

/// Everything that LUO knows; made while the kernel boots, and there for ever.
#[pin_data]
pub(crate) struct State {
    /// Keeps commands and `reboot(2)` apart.
    #[pin]
    pub(crate) gate: Gate,
    /// Handlers, FLBs, and held files.
    #[pin]
    pub(crate) tables: Tables,
    /// Sessions of the previous kernel.
    #[pin]
    pub(crate) incoming: RwSem<Incoming>,
    /// Live updates so far.
    pub(crate) liveupdate_num: u64,
    /// Whether a process has the device open.
    pub(crate) device_is_open: Atomic<bool>,
    /// Sessions for the next kernel, as soon as memory can be preserved for it.
    outgoing: SetOnce<Pin<KBox<Mutex<Outgoing>>>>,
}

impl State {
    /// Makes the state.
    pub(crate) fn new(
        liveupdate_num: u64,
        incoming: Incoming,
        incoming_flbs: IncomingFlbs,
    ) -> Result<Pin<KBox<Self>>> {
        let flbs = FlbList::new()?;
        KBox::pin_init(
            pin_init!(Self {
                gate <- Gate::new(),
                tables <- Tables::new(incoming_flbs, flbs),
                incoming <- new_rwsem!(incoming, "luo::State::incoming"),
                liveupdate_num,
                device_is_open: Atomic::new(false),
                outgoing: SetOnce::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Sessions for the next kernel.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` before they were set up, or if that failed.
    pub(crate) fn outgoing(&self) -> Result<&Mutex<Outgoing>> {
        self.outgoing
            .as_ref()
            .map(|outgoing| &**outgoing)
            .ok_or(EOPNOTSUPP)
    }

    /// Sets up sessions for the next kernel.
    pub(crate) fn set_outgoing(&self, outgoing: Outgoing) -> Result {
        let outgoing = KBox::pin_init(new_mutex!(outgoing, "luo::State::outgoing"), GFP_KERNEL)?;
        self.outgoing.populate(outgoing);
        Ok(())
    }
}
