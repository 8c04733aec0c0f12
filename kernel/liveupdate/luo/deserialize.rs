// SPDX-License-Identifier: GPL-2.0

//! The way in: what the last kernel has left becomes sessions and objects.
//!
//! Everything is checked before it is used ([`luo_core::handover`]), and nothing is freed before all
//! of it has been read: if anything is wrong, the memory stays as it is. The root, the chain of
//! sessions and the page of objects are looked at while the kernel boots, the rest when the device is
//! opened first. Registering a handler waits for that.

use kernel::{
    alloc::AllocError,
    kho,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
};
use luo_core::{
    chain::Blocks,
    handover::{
        self,
        Met,
        Sink, //
    },
    name::SessionName,
    wire::{
        Damage,
        FileSer,
        LuoSer,
        SessionSer, //
    }, //
};
use zerocopy::FromBytes;

use crate::{
    ffi::{
        memory::HandedOver,
        trace, //
    },
    flb::IncomingFlbs,
    handler::Handlers,
    registry::{
        Incoming,
        Slot, //
    },
    session::incoming::{
        IncomingFile,
        Session, //
    },
    show::Show,
    state::State,
};

/// Why it did not work.
#[derive(Debug)]
pub(crate) enum Failure {
    Damaged(Damage),
    Other(Error),
}

impl Failure {
    /// Says in the log why sessions cannot be restored.
    fn report(self) -> Error {
        match self {
            Self::Damaged(damage) => {
                pr_err!("sessions cannot be used: {}\n", Show(damage));
                EINVAL
            }
            Self::Other(error) => {
                pr_err!("sessions cannot be restored: {error:?}\n");
                error
            }
        }
    }
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<AllocError> for Failure {
    fn from(error: AllocError) -> Self {
        Self::Other(error.into())
    }
}

/// Checks the chain of sessions, whose first block is at `head`, without making anything of it.
pub(crate) fn check_sessions(memory: &HandedOver, head: u64) -> Result<(), Damage> {
    Blocks::<_, SessionSer>::new(memory, head).try_for_each(|block| block.map(|_| ()))
}

/// Reads the page of objects at `address`, which is 0 if there is none.
pub(crate) fn flbs(memory: &HandedOver, address: u64) -> Result<IncomingFlbs, Failure> {
    if address == 0 {
        return Ok(IncomingFlbs::none());
    }
    let mut flbs = IncomingFlbs::empty();
    handover::flbs(memory, address, |name, data, files| {
        if flbs.has(&name) {
            return Ok(Met::Again);
        }
        flbs.add(name, data, files)?;
        Ok::<_, Failure>(Met::First)
    })?;
    Ok(flbs)
}

/// Makes sessions of what was handed over, if that has not been done.
///
/// # Errors
///
/// `EIO`, now and for ever, if it did not work.
pub(crate) fn sessions(state: &State) -> Result {
    let mut incoming = state.incoming.write();
    let read = match &mut *incoming {
        Incoming::Read(_) => return Ok(()),
        Incoming::Damaged => return Err(EIO),
        Incoming::Unread { memory, root } => {
            let handlers = state.handlers.read();
            let read = || Kept::read(&handlers, memory, root);
            let read = trace::deserialize(read, |kept| kept.sessions.keys().count());
            read.map(|kept| (kept.sessions, kept.pages, memory))
        }
    };
    match read {
        Ok((sessions, pages, memory)) => {
            pages.keys().for_each(|address| memory.free(*address));
            *incoming = Incoming::Read(sessions);
            Ok(())
        }
        Err(_) => {
            *incoming = Incoming::Damaged;
            Err(EIO)
        }
    }
}

/// What was read.
struct Kept<'a> {
    handlers: &'a Handlers,
    sessions: RBTree<SessionName, Slot>,
    /// Pages so far. No page can belong to two.
    pages: RBTree<u64, ()>,
    /// The session whose files are being read.
    current: Option<SessionName>,
}

impl<'a> Kept<'a> {
    /// Reads everything that the root leads to, or says in the log why not. The root and the page of
    /// objects were read while the kernel booted.
    fn read(handlers: &'a Handlers, memory: &HandedOver, root: &kho::Incoming) -> Result<Self> {
        let mut kept = Self {
            handlers,
            sessions: RBTree::new(),
            pages: RBTree::new(),
            current: None,
        };
        let ser = LuoSer::read_from_prefix(root.bytes());
        let read = ser
            .map_err(|_| EINVAL.into())
            .and_then(|(ser, _)| handover::sessions(memory, root.phys(), &ser, &mut kept));
        if let Err(failure) = read {
            let error = Failure::report(failure);
            if let Some(name) = kept.current {
                pr_err!("session '{}' cannot be restored\n", Show(name));
            }
            return Err(error);
        }
        Ok(kept)
    }
}

impl Sink for Kept<'_> {
    type Error = Failure;
    type Session = (SessionName, KVVec<Pin<KBox<IncomingFile>>>);

    fn page(&mut self, address: u64) -> Result<Met, Failure> {
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        Ok(enter(self.pages.entry(address), (), node))
    }

    fn begin(&mut self, name: SessionName) -> Result<Self::Session, Failure> {
        self.current = Some(name);
        Ok((name, KVVec::new()))
    }

    fn file(&mut self, (_, files): &mut Self::Session, file: &FileSer) -> Result<(), Failure> {
        let handler = self.handlers.by_ser(&file.compatible)?;
        files.push(IncomingFile::new(file, handler)?, GFP_KERNEL)?;
        Ok(())
    }

    fn end(&mut self, (name, files): Self::Session) -> Result<Met, Failure> {
        let session = Session::new(name, files)??;
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let met = enter(self.sessions.entry(name), Slot::Waiting(session), node);
        if met == Met::First {
            self.current = None;
        }
        Ok(met)
    }
}

/// Puts something into a tree if its place is free.
fn enter<K: Ord, V>(entry: Entry<'_, K, V>, value: V, node: RBTreeNodeReservation<K, V>) -> Met {
    match entry {
        Entry::Vacant(place) => {
            place.insert(value, node);
            Met::First
        }
        Entry::Occupied(_) => Met::Again,
    }
}
