// SPDX-License-Identifier: GPL-2.0

//! The state of LUO as a whole.

use kernel::{
    new_mutex,
    new_rwsem,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
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
    handler::Handlers,
    identity::Identities,
    registry::{
        Incoming,
        Outgoing, //
    },
};

/// Everything that LUO knows; made while the kernel boots, and there for ever.
#[pin_data]
pub(crate) struct State {
    /// Who preserves which files.
    #[pin]
    pub(crate) handlers: RwSem<Handlers>,
    /// Objects that files depend on.
    #[pin]
    pub(crate) flbs: Mutex<FlbList>,
    /// Which files are preserved.
    #[pin]
    pub(crate) identities: Mutex<Identities>,
    /// Sessions of the last kernel.
    #[pin]
    pub(crate) incoming: RwSem<Incoming>,
    /// Objects of the last kernel.
    pub(crate) incoming_flbs: IncomingFlbs,
    /// Live updates so far.
    pub(crate) liveupdate_num: u64,
    /// Sessions for the next kernel, from the time on when memory can be preserved for it.
    outgoing: SetOnce<Pin<KBox<Mutex<Outgoing>>>>,
    /// The handover is written.
    is_frozen: Atomic<bool>,
}

static STATE: SetOnce<Pin<KBox<State>>> = SetOnce::new();

impl State {
    /// Makes the state.
    pub(crate) fn new(
        liveupdate_num: u64,
        incoming: Incoming,
        incoming_flbs: IncomingFlbs,
    ) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                handlers <- new_rwsem!(Handlers::new(), "luo::handlers"),
                flbs <- new_mutex!(FlbList::new(), "luo::flbs"),
                identities <- new_mutex!(Identities::new(), "luo::identities"),
                incoming <- new_rwsem!(incoming, "luo::incoming"),
                incoming_flbs,
                liveupdate_num,
                outgoing: SetOnce::new(),
                is_frozen: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes this the state that [`get`] returns.
    pub(crate) fn publish(this: Pin<KBox<Self>>) {
        STATE.populate(this);
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
        let outgoing = KBox::pin_init(new_mutex!(outgoing, "luo::outgoing"), GFP_KERNEL)?;
        self.outgoing.populate(outgoing);
        Ok(())
    }
}

impl State {
    /// From now on nothing changes any more.
    pub(crate) fn set_frozen(&self) {
        self.is_frozen.store(true, Relaxed);
    }

    /// Refuses to go on when the handover is written.
    ///
    /// # Errors
    ///
    /// `EBUSY`.
    pub(crate) fn check_running(&self) -> Result {
        if self.is_frozen.load(Relaxed) {
            Err(EBUSY)
        } else {
            Ok(())
        }
    }
}

/// The state of LUO.
///
/// # Errors
///
/// `EOPNOTSUPP` if LUO is off.
pub(crate) fn get() -> Result<&'static State> {
    STATE.as_ref().map(|state| &**state).ok_or(EOPNOTSUPP)
}
