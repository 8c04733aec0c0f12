// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/liveupdate`: all sessions, for root to read.
//!
//! The format is that of [`show`]. `/proc/PID/fdinfo` shows the same for the session of a
//! descriptor.

use kernel::{
    debugfs::Dir,
    fmt,
    prelude::*, //
};
use luo_core::{
    chain::Blocks,
    name::SessionName,
    wire::SessionSer, //
};

use crate::{
    descriptor::preserved,
    failure::Failure,
    ffi::memory::{
        buffer,
        HandedOver, //
    },
    registry::{
        Incoming,
        Slot, //
    },
    show,
    state::State, //
};

/// Makes the files appear, which stay for ever.
pub(crate) fn register(state: &'static State) -> Result {
    let folder = Dir::new(c"liveupdate");
    let outgoing = folder.read_callback_file(c"outgoing", state, &show_outgoing);
    core::mem::forget(KBox::pin_init(outgoing, GFP_KERNEL)?);
    let incoming = folder.read_callback_file(c"incoming", state, &show_incoming);
    core::mem::forget(KBox::pin_init(incoming, GFP_KERNEL)?);
    Ok(())
}

/// Sessions for the next kernel, in the order of creation.
fn show_outgoing(state: &&'static State, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(outgoing) = state.outgoing() else {
        return Ok(());
    };
    let Some(files) = preserved(state) else {
        return writeln!(f, "reboot(2) has begun");
    };
    let outgoing = outgoing.lock();
    let mut sessions = outgoing.sessions.values();
    sessions.try_for_each(|listed| listed.session.show(f, files))
}

/// Sessions of the previous kernel, by name once they are read.
fn show_incoming(state: &&'static State, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &*state.incoming.read() {
        Incoming::Unread(handed_over) => show_unread(f, handed_over)
            .unwrap_or_else(|failure| f.write_fmt(fmt!("damaged: {failure}\n"))),
        Incoming::Read(table) => table.iter().try_for_each(|entry| match &entry.slot {
            Slot::Waiting(session) => session.show(f, &entry.name, "waiting"),
            Slot::Held(session) => session.show(f, &entry.name, "retrieved"),
            Slot::Finished => Ok(()),
        }),
        Incoming::Damaged => writeln!(f, "damaged: see the kernel log"),
    }
}

/// Sessions before the device is opened first. Their files are not shown: they are not checked yet.
fn show_unread(
    f: &mut fmt::Formatter<'_>,
    handed_over: &HandedOver,
) -> Result<fmt::Result, Failure> {
    let mut buffer = buffer()?;
    let head = handed_over.root().sessions;
    let mut blocks = Blocks::<_, SessionSer>::new(handed_over, head);
    while let Some(block) = blocks.next(&mut buffer) {
        for session in block?.entries {
            let name = SessionName::new(&session.name)?;
            if let error @ Err(_) = show::session(f, &name, "unread", Some(session.count)) {
                return Ok(error);
            }
        }
    }
    Ok(Ok(()))
}
