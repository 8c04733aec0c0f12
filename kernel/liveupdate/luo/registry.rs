// SPDX-License-Identifier: GPL-2.0

//! The two sets of sessions.

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
    damage::Damage,
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
    gate::Pass,
    session::{
        incoming,
        outgoing::{
            self,
            Order,
            Origin, //
        }, //
    },
    show::Show, //
};

/// Sessions for the next kernel.
pub(crate) struct Outgoing {
    names: RBTree<SessionName, ()>,
    /// In the order in which they are frozen and handed over.
    pub(crate) sessions: RBTree<Order, Listed>,
    count: usize,
    next: Order,
    pub(crate) handover: Handover,
}

/// A session, and whether it still has a descriptor.
pub(crate) struct Listed {
    pub(crate) session: Arc<outgoing::Session>,
    holder: Holder,
}

/// Whether a session has a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Descriptor,
    /// The last descriptor was closed while the gate was closed: the session goes if `reboot(2)`
    /// fails, and is handed over otherwise.
    None,
}

/// The memory of the handover, except that of files.
pub(crate) struct Handover {
    pub(crate) root: kho::Kept,
    pub(crate) sessions: BlockChain<SessionSer>,
    pub(crate) flbs: kho::Kept,
}

impl Handover {
    /// Wipes everything but the root, which says that there are no sessions. The next kernel can
    /// read the rest: a kexec may happen even if live updates are off.
    pub(crate) fn wipe(&mut self) {
        self.sessions.wipe();
        clear(self.flbs.bytes_mut());
    }
}

/// Makes a page with no FLB entries.
fn clear(flbs: &mut [u8]) {
    flbs.fill(0);
    // A page has room for the header.
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

    /// Number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Creates a session. It takes a pass: see [`Removed`].
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is one of this name, `ENOSPC` if there are too many, `ENOMEM`.
    pub(crate) fn create(
        &mut self,
        name: SessionName,
        origin: Origin,
        _pass: &Pass<'_>,
    ) -> Result<Arc<outgoing::Session>> {
        let Entry::Vacant(place) = self.names.entry(name) else {
            return Err(EEXIST);
        };
        let order = self.next;
        let session = outgoing::Session::new(name, order, origin)?;
        let count = self.count.saturating_add(1);
        let name_node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let session_node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        self.handover.sessions.grow(count)?;

        place.insert((), name_node);
        let listed = Listed {
            session: session.clone(),
            holder: Holder::Descriptor,
        };
        self.sessions.insert(session_node.into_node(order, listed));
        self.count = count;
        self.next = Order(order.0.saturating_add(1));
        Ok(session)
    }

    /// Removes a session, if it is there. It takes a pass: nothing is removed from a handover.
    pub(crate) fn remove(&mut self, order: Order, _pass: &Pass<'_>) -> Option<Removed> {
        let session = self.sessions.remove_node(&order)?.to_key_value().1.session;
        self.names.remove(session.name());
        self.count = self.count.saturating_sub(1);
        // One block stays, so that sessions which come and go one by one do not allocate and free a
        // page each.
        self.handover.sessions.shrink(self.count.max(1));
        Some(Removed(session))
    }

    /// Marks a session whose last descriptor was closed while the gate was closed.
    pub(crate) fn abandon(&mut self, order: Order) {
        if let Some(listed) = self.sessions.get_mut(&order) {
            listed.holder = Holder::None;
        }
    }

    /// The first session from `from` on that [`Self::abandon`] has marked.
    pub(crate) fn abandoned_from(&mut self, from: Order) -> Option<Order> {
        let mut cursor = self.sessions.cursor_lower_bound_mut(&from);
        while let Some(at) = cursor {
            let (order, listed) = at.current();
            if listed.holder == Holder::None {
                return Some(*order);
            }
            cursor = at.move_next();
        }
        None
    }
}

/// A session that is not handed over. Its files are unpreserved by [`Self::unpreserve`], which runs
/// callbacks and so needs a pass, and must be called without locks.
#[must_use = "unpreserve its files when the lock of the sessions is released"]
pub(crate) struct Removed(Arc<outgoing::Session>);

impl Removed {
    /// Unpreserves its files.
    pub(crate) fn unpreserve(self, pass: &Pass<'_>) {
        self.0.unpreserve(pass);
    }
}

/// Sessions of the previous kernel.
pub(crate) enum Incoming {
    /// The device has not been opened yet.
    Unread(HandedOver),
    /// By name.
    Read(Table),
    /// They cannot be used.
    Damaged,
}

/// The sessions that were handed over. No session is ever added, so each keeps its place.
pub(crate) struct Table {
    entries: KVVec<Listing>,
    unfinished: usize,
}

/// A session of the previous kernel in its place.
pub(crate) struct Listing {
    pub(crate) name: SessionName,
    pub(crate) slot: Slot,
}

/// A session of the previous kernel, and whether it has a descriptor.
pub(crate) enum Slot {
    /// It can be retrieved.
    Waiting(Arc<incoming::Session>),
    /// A descriptor has it.
    Held(Arc<incoming::Session>),
    /// It is finished.
    Finished,
}

impl Slot {
    /// The same session in another state; a finished session stays finished.
    fn change(&mut self, to: fn(Arc<incoming::Session>) -> Self) {
        *self = match core::mem::replace(self, Self::Finished) {
            Self::Waiting(session) | Self::Held(session) => to(session),
            Self::Finished => return,
        };
    }
}

/// The place of a session in the [`Table`].
#[derive(Clone, Copy)]
pub(crate) struct Place(usize);

impl Table {
    /// A table of these sessions.
    ///
    /// # Errors
    ///
    /// The damage if two sessions have the same name.
    pub(crate) fn new(mut entries: KVVec<Listing>) -> Result<Self, Damage> {
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let same = |two: &[Listing]| matches!(two, [one, other] if one.name == other.name);
        if let Some([one, ..]) = entries.windows(2).find(|two| same(two)) {
            pr_err!("two sessions are called '{}'\n", Show(one.name));
            return Err(Damage::Duplicate);
        }
        let unfinished = entries.len();
        Ok(Self {
            entries,
            unfinished,
        })
    }

    /// Number of sessions that are not finished.
    pub(crate) fn len(&self) -> usize {
        self.unfinished
    }

    /// All sessions by name, and finished ones too.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listing> {
        self.entries.iter()
    }
}

impl Incoming {
    /// There was no handover.
    pub(crate) fn nothing() -> Self {
        Self::Read(Table {
            entries: KVVec::new(),
            unfinished: 0,
        })
    }

    /// Gives a session to a new descriptor.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none of this name, `EINVAL` if a descriptor has it, `EIO` if sessions
    /// cannot be used.
    pub(crate) fn hold(&mut self, name: &SessionName) -> Result<(Arc<incoming::Session>, Place)> {
        let entries = &mut self.table().ok_or(EIO)?.entries;
        let at = entries.binary_search_by(|entry| entry.name.cmp(name));
        let at = at.map_err(|_| ENOENT)?;
        let slot = &mut entries.get_mut(at).ok_or(ENOENT)?.slot;
        let session = match slot {
            Slot::Waiting(session) => session.clone(),
            Slot::Held(_) => return Err(EINVAL),
            Slot::Finished => return Err(ENOENT),
        };
        slot.change(Slot::Held);
        Ok((session, Place(at)))
    }

    /// Takes a session back from its last descriptor.
    pub(crate) fn put_back(&mut self, place: Place) {
        if let Some(entry) = self.entry(place) {
            entry.slot.change(Slot::Waiting);
        }
    }

    /// The session at this place is finished. Returns it, to be dropped without locks.
    pub(crate) fn finish(&mut self, place: Place) -> Option<Slot> {
        let table = self.table()?;
        let entry = table.entries.get_mut(place.0)?;
        let slot = core::mem::replace(&mut entry.slot, Slot::Finished);
        table.unfinished = table.unfinished.saturating_sub(1);
        if table.unfinished == 0 {
            table.entries = KVVec::new();
        }
        Some(slot)
    }

    fn table(&mut self) -> Option<&mut Table> {
        match self {
            Self::Read(table) => Some(table),
            Self::Unread(_) | Self::Damaged => None,
        }
    }

    fn entry(&mut self, place: Place) -> Option<&mut Listing> {
        self.table()?.entries.get_mut(place.0)
    }
}
