// SPDX-License-Identifier: GPL-2.0

//! The way in: what the last kernel has left becomes sessions and objects.
//!
//! Everything is checked before it is used, and nothing is freed before all of it has been read: if
//! anything is wrong, the memory stays as it is. The root, the chain of sessions and the page of
//! objects are looked at while the kernel boots, the rest when the device is opened first.

use kernel::{
    alloc::AllocError,
    kho,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::Arc, //
};
use luo_core::{
    chain::{
        Blocks,
        Memory, //
    },
    name::{
        Compatible,
        SessionName, //
    },
    wire::{
        Damage,
        FileSer,
        FlbHeaderSer,
        FlbSer,
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
    let page = memory.block(address).ok_or(Damage::Address(address))?;
    let (header, rest) =
        FlbHeaderSer::ref_from_prefix(page).map_err(|_| Damage::Address(address))?;
    if header.pages != 1 {
        return Err(Damage::Pages(header.pages).into());
    }
    let too_many = Damage::Count(header.count);
    let count = usize::try_from(header.count).map_err(|_| too_many)?;
    let (entries, _) = <[FlbSer]>::ref_from_prefix_with_elems(rest, count).map_err(|_| too_many)?;
    for entry in entries {
        let name = Compatible::new(&entry.name)?;
        if flbs.has(&name) {
            return Err(Damage::Duplicate.into());
        }
        if entry.count == 0 {
            return Err(Damage::Count(0).into());
        }
        flbs.add(name, entry.data, entry.count)?;
    }
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
            let mut reader = Reader {
                memory,
                state,
                seen: RBTree::new(),
            };
            let read = || reader.all(root).map_err(|failure| failure.report());
            let read = trace::deserialize(read, |sessions| sessions.keys().count());
            let Reader { seen, .. } = reader;
            read.map(|sessions| (sessions, seen, memory))
        }
    };
    match read {
        Ok((sessions, blocks, memory)) => {
            blocks.keys().for_each(|address| memory.free(*address));
            *incoming = Incoming::Read(sessions);
            Ok(())
        }
        Err(_) => {
            *incoming = Incoming::Damaged;
            Err(EIO)
        }
    }
}

/// Reads sessions and their files.
struct Reader<'a> {
    memory: &'a HandedOver,
    state: &'a State,
    /// Blocks so far. No block can belong to two chains.
    seen: RBTree<u64, ()>,
}

impl Reader<'_> {
    /// Reads everything that the root leads to. The root and the page of objects were read while the
    /// kernel booted; their memory must not be that of anything else.
    fn all(&mut self, root: &kho::Incoming) -> Result<RBTree<SessionName, Slot>, Failure> {
        let (ser, _) = LuoSer::read_from_prefix(root.bytes()).map_err(|_| EINVAL)?;
        self.see(root.phys())?;
        if ser.flbs != 0 {
            self.see(ser.flbs)?;
        }
        self.read(ser.sessions)
    }

    fn read(&mut self, head: u64) -> Result<RBTree<SessionName, Slot>, Failure> {
        let memory = self.memory;
        let mut sessions = RBTree::new();
        for block in Blocks::<_, SessionSer>::new(memory, head) {
            let block = block?;
            self.see(block.address)?;
            for ser in block.entries {
                let name = SessionName::new(&ser.name)?;
                let session = self.session(name, ser).inspect_err(|_| {
                    pr_err!("session '{}' cannot be restored\n", Show(name));
                })?;
                let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
                let Entry::Vacant(place) = sessions.entry(name) else {
                    return Err(Damage::Duplicate.into());
                };
                place.insert(Slot::Waiting(session), node);
            }
        }
        Ok(sessions)
    }

    fn session(&mut self, name: SessionName, ser: &SessionSer) -> Result<Arc<Session>, Failure> {
        let memory = self.memory;
        let mut files = KVVec::new();
        let handlers = self.state.handlers.read();
        for block in Blocks::<_, FileSer>::new(memory, ser.files) {
            let block = block?;
            self.see(block.address)?;
            for file in block.entries {
                let handler = handlers.by_ser(&file.compatible)?;
                files.push(IncomingFile::new(file, handler)?, GFP_KERNEL)?;
            }
        }
        drop(handlers);
        let found = files.len() as u64;
        if found != ser.count {
            return Err(Damage::Files {
                said: ser.count,
                found,
            }
            .into());
        }
        Ok(Session::new(name, files)??)
    }

    fn see(&mut self, address: u64) -> Result<(), Failure> {
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        match self.seen.entry(address) {
            Entry::Vacant(place) => {
                place.insert((), node);
                Ok(())
            }
            Entry::Occupied(_) => Err(Damage::Cycle(address).into()),
        }
    }
}
