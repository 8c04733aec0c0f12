// SPDX-License-Identifier: GPL-2.0

//! The way in: the handover of the previous kernel becomes sessions and FLBs.
//!
//! Everything is checked before it is used ([`luo_core::handover`]), and nothing is freed before
//! all of it has been read: damaged state stays as it is. The root, the chain of sessions and the
//! page of FLB entries are read while the kernel boots, the rest when the device is opened first;
//! until then handlers can register.

use kernel::prelude::*;
use luo_core::{
    handover::{
        self,
        Met,
        Sink, //
    },
    name::SessionName,
    wire::FileSer, //
};

use crate::{
    failure::Failure,
    ffi::{
        memory::{
            buffer,
            Blocks,
            HandedOver, //
        },
        trace, //
    },
    flb::{
        IncomingFlb,
        IncomingFlbs, //
    },
    handler::Handlers,
    incoming_file::IncomingFile,
    registry::{
        Incoming,
        Listing,
        Slot,
        Table, //
    },
    session::incoming::Session,
    show::Show,
    state::State, //
};

/// The handover, as far as it is read while the kernel boots.
pub(crate) struct Found {
    /// Number of live updates so far.
    pub(crate) liveupdate_num: u64,
    /// Sessions, which are read later.
    pub(crate) incoming: Incoming,
    /// FLBs.
    pub(crate) flbs: IncomingFlbs,
}

/// Why the handover cannot be used.
pub(crate) struct Unusable {
    /// The part that is at fault.
    pub(crate) part: &'static str,
    /// The reason.
    pub(crate) failure: Failure,
    /// Number of live updates so far, if it is known.
    pub(crate) liveupdate_num: Option<u64>,
}

impl Found {
    /// There was no live update.
    fn nothing() -> Self {
        Self {
            liveupdate_num: 0,
            incoming: Incoming::nothing(),
            flbs: IncomingFlbs::Nothing,
        }
    }

    /// The handover is damaged, and the kernel goes on.
    pub(crate) fn damaged(liveupdate_num: u64) -> Self {
        Self {
            liveupdate_num,
            incoming: Incoming::Damaged,
            flbs: IncomingFlbs::Damaged,
        }
    }
}

/// Finds the handover of the previous kernel, and reads the parts that cannot wait.
pub(crate) fn find() -> Result<Found, Unusable> {
    let unusable = |part, failure, liveupdate_num| Unusable {
        part,
        failure,
        liveupdate_num,
    };
    let found = HandedOver::take().map_err(|failure| unusable("root", failure, None))?;
    let Some(handed_over) = found else {
        return Ok(Found::nothing());
    };
    let number = handed_over.root().liveupdate_num;
    pr_info!("Retrieved live update data, liveupdate number: {number}\n");

    check_sessions(&handed_over)
        .map_err(|failure| unusable("chain of sessions", failure, Some(number)))?;
    let flbs = read_flbs(&handed_over)
        .map_err(|failure| unusable("page of FLB entries", failure, Some(number)))?;
    Ok(Found {
        liveupdate_num: number,
        incoming: Incoming::Unread(handed_over),
        flbs,
    })
}

fn check_sessions(handed_over: &HandedOver) -> Result<(), Failure> {
    let head = handed_over.root().sessions;
    Ok(handover::check_sessions(handed_over, &mut buffer()?, head)?)
}

fn read_flbs(handed_over: &HandedOver) -> Result<IncomingFlbs, Failure> {
    let address = handed_over.root().flbs;
    if address == 0 {
        return Ok(IncomingFlbs::Nothing);
    }
    let mut flbs: KVec<Pin<KBox<IncomingFlb>>> = KVec::new();
    handover::flbs(
        handed_over,
        &mut buffer()?,
        address,
        |name, data, files| -> Result<Met, Failure> {
            if flbs.iter().any(|flb| *flb.compatible() == name) {
                return Ok(Met::Again);
            }
            flbs.push(IncomingFlb::new(name, data, files)?, GFP_KERNEL)?;
            Ok(Met::First)
        },
    )?;
    Ok(IncomingFlbs::Came(flbs))
}

/// Makes sessions of the handover, if that has not been done.
///
/// # Errors
///
/// `EIO`, now and for ever, if it did not work.
pub(crate) fn sessions(state: &State) -> Result {
    let mut incoming = state.incoming.write();
    let handed_over = match core::mem::replace(&mut *incoming, Incoming::Damaged) {
        Incoming::Unread(handed_over) => handed_over,
        Incoming::Read(table) => {
            *incoming = Incoming::Read(table);
            return Ok(());
        }
        Incoming::Damaged => return Err(EIO),
    };
    let handlers = state.tables.handlers.read();
    let read = || read(&handlers, &handed_over);
    let (table, blocks) = trace::deserialize(read, |(table, _)| table.len())?;
    handed_over.free(blocks);
    *incoming = Incoming::Read(table);
    Ok(())
}

/// Reads everything that the root leads to, or says in the log why it cannot. The page of FLB
/// entries was read while the kernel booted.
fn read(handlers: &Handlers, handed_over: &HandedOver) -> Result<(Table, Blocks)> {
    let mut kept = Kept {
        handlers,
        sessions: KVVec::new(),
        current: None,
    };
    let blocks = handed_over.sessions(&mut kept);
    if let (Err(_), Some(name)) = (&blocks, kept.current) {
        pr_err!("session '{}' cannot be restored\n", Show(name));
    }
    let read = blocks.and_then(|blocks| Ok((Table::new(kept.sessions)?, blocks)));
    read.map_err(|failure| {
        pr_err!("sessions of the previous kernel cannot be used: {failure}\n");
        EIO
    })
}

/// The content of the handover, as far as it has been read.
struct Kept<'a> {
    handlers: &'a Handlers,
    sessions: KVVec<Listing>,
    /// The session whose files are being read.
    current: Option<SessionName>,
}

impl Sink for Kept<'_> {
    type Error = Failure;
    type Session = (SessionName, KVVec<IncomingFile>);

    fn begin(&mut self, name: SessionName) -> Result<Self::Session, Failure> {
        self.current = Some(name);
        Ok((name, KVVec::new()))
    }

    fn file(&mut self, (_, files): &mut Self::Session, file: &FileSer) -> Result<(), Failure> {
        let handler = self.handlers.by_ser(&file.compatible)?;
        files.push(IncomingFile::new(file, handler), GFP_KERNEL)?;
        Ok(())
    }

    fn end(&mut self, (name, files): Self::Session) -> Result<(), Failure> {
        let slot = Slot::Waiting(Session::new(files)?);
        self.sessions.push(Listing { name, slot }, GFP_KERNEL)?;
        self.current = None;
        Ok(())
    }
}
