// SPDX-License-Identifier: GPL-2.0

//! The two sets of sessions.
//!
//! # Locks
//!
//! Whoever holds one of these takes only locks that stand below it:
//!
//! 1. [`Handle::role`]: what the file descriptor of a session is. Commands hold it for reading, also
//!    while a handler works; FINISH and close hold it for writing.
//! 2. [`State::incoming`]: the sessions of the last kernel, by name.
//! 3. [`State::outgoing`]: the sessions for the next kernel. Held for as long as it takes to find a
//!    name or to make room for one more, and by `reboot(2)` while it freezes files.
//! 4. `outgoing::Session::files`: the files of one of them. Held for as long as it takes to find a
//!    token or to make room for one more; never while a file is preserved or unpreserved, so that
//!    `reboot(2)` never waits for that.
//! 5. `IncomingFile::retrieval`: one file of the last kernel, held while it is retrieved.
//! 6. [`State::handlers`]: held for reading while handlers are asked whether they take a file, and
//!    while an object is preserved or finished.
//! 7. `Flb::outgoing`, `IncomingFlb::life`: one object, held while it is preserved, unpreserved,
//!    retrieved or finished.
//! 8. [`State::flbs`], [`State::identities`]: held for a lookup.
//!
//! `docs/locking.md` says under which of them callbacks run.
//!
//! [`State::incoming`]: crate::state::State::incoming
//! [`State::outgoing`]: crate::state::State::outgoing
//! [`State::handlers`]: crate::state::State::handlers
//! [`State::flbs`]: crate::state::State::flbs
//! [`State::identities`]: crate::state::State::identities

use core::cmp::Ordering;

use kernel::{
    kho,
    page::PAGE_SIZE,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::Arc, //
};
use luo_core::{
    name::SessionName,
    wire::{
        FlbHeaderSer,
        LuoSer,
        SessionSer,
        SUBTREE, //
    }, //
};
use zerocopy::IntoBytes;

use crate::{
    block_chain::BlockChain,
    ffi::memory::HandedOver,
    session::{
        incoming,
        outgoing,
        Handle, //
    }, //
};

/// Sessions for the next kernel.
pub(crate) struct Outgoing {
    pub(crate) phase: Phase,
    names: RBTree<ByName, ()>,
    /// By when they were created, which is the order in which they are frozen and handed over.
    pub(crate) sessions: RBTree<Order, Arc<outgoing::Session>>,
    count: usize,
    next: Order,
    pub(crate) handover: Handover,
}

/// A session, compared by its name.
struct ByName(Arc<outgoing::Session>);

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

/// When a session was created, relative to others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order(u64);

/// How far leaving the kernel has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Sessions come and go.
    Running,
    /// The handover is written: nothing changes any more.
    Frozen,
}

/// The memory of the handover, but for files.
pub(crate) struct Handover {
    pub(crate) root: kho::Kept,
    pub(crate) sessions: BlockChain<SessionSer>,
    pub(crate) flbs: kho::Kept,
}

impl Handover {
    /// Forgets what was written, but for the root, which says that there is nothing. What is left
    /// can be read: the kernel may be left even if live updates are not to be had.
    pub(crate) fn wipe(&mut self) {
        self.sessions.wipe();
        clear(self.flbs.bytes_mut());
    }
}

/// Makes a page of objects that has none.
fn clear(flbs: &mut [u8]) {
    flbs.fill(0);
    // A page has room for it.
    let _ = FlbHeaderSer::new(0).write_to_prefix(flbs);
}

impl Outgoing {
    /// No sessions; a root that says so, for live update `number`.
    pub(crate) fn new(number: u64) -> Result<Self> {
        let mut flbs = kho::Preserved::new(PAGE_SIZE)?;
        clear(flbs.bytes_mut());
        let mut root = kho::Preserved::new(size_of::<LuoSer>())?;
        let ser = LuoSer {
            flbs: flbs.phys(),
            ..LuoSer::new(number)
        };
        ser.write_to(root.bytes_mut()).map_err(|_| EINVAL)?;
        let root = root.into_subtree(SUBTREE)?;
        Ok(Self {
            phase: Phase::Running,
            names: RBTree::new(),
            sessions: RBTree::new(),
            count: 0,
            next: Order(0),
            handover: Handover {
                root,
                sessions: BlockChain::new(),
                flbs: flbs.keep(),
            },
        })
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Creates a session.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the kernel is being left, `EEXIST` if there is one of this name, `ENOSPC` if there
    /// are too many, `ENOMEM`.
    pub(crate) fn create(&mut self, name: SessionName) -> Result<Arc<outgoing::Session>> {
        if self.phase == Phase::Frozen {
            return Err(EBUSY);
        }
        let order = self.next;
        let session = outgoing::Session::new(name, order)?;
        let Entry::Vacant(place) = self.names.entry(ByName(session.clone())) else {
            return Err(EEXIST);
        };
        let count = self.count.saturating_add(1);
        let name_node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let session_node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        self.handover.sessions.grow(count)?;

        place.insert((), name_node);
        self.sessions
            .insert(session_node.into_node(order, session.clone()));
        self.count = count;
        self.next = Order(order.0.saturating_add(1));
        Ok(session)
    }

    /// Removes a session, unless the kernel is being left: then it stays as it was handed over.
    pub(crate) fn remove(&mut self, session: &outgoing::Session) -> Option<Removed> {
        if self.phase == Phase::Frozen {
            return None;
        }
        let order = session.order();
        let removed = self.sessions.remove_node(&order)?.to_key_value().1;
        self.names.remove(&ByName(removed.clone()));
        self.count = self.count.saturating_sub(1);
        // One block stays: sessions that come and go one by one would take and give a page each.
        self.handover.sessions.shrink(self.count.max(1));
        Some(Removed(removed))
    }
}

/// A session that is not going to be handed over; its files are unpreserved when this is dropped,
/// which must happen without locks.
#[must_use = "drop it after the lock of the sessions is released"]
pub(crate) struct Removed(
    #[expect(dead_code, reason = "kept to be dropped")] Arc<outgoing::Session>,
);

/// Sessions of the last kernel.
pub(crate) enum Incoming {
    /// Nobody has opened the device.
    Unread {
        /// What was handed over.
        memory: HandedOver,
        /// The root, which says where everything is.
        root: kho::Incoming,
    },
    /// By name.
    Read(RBTree<SessionName, Slot>),
    /// They cannot be used.
    Damaged,
}

/// A session of the last kernel that is not finished.
pub(crate) enum Slot {
    /// Nobody has it.
    Waiting(Arc<incoming::Session>),
    /// A file descriptor has it.
    Held(Arc<Handle>),
}

impl Incoming {
    /// There was no last kernel, or it had no LUO.
    pub(crate) fn nothing() -> Self {
        Self::Read(RBTree::new())
    }

    /// The sessions, if they could be read.
    pub(crate) fn sessions(&mut self) -> Result<&mut RBTree<SessionName, Slot>> {
        match self {
            Self::Read(sessions) => Ok(sessions),
            Self::Unread { .. } | Self::Damaged => Err(EIO),
        }
    }
}
