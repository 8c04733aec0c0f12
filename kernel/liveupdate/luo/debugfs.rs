// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/liveupdate`: which sessions there are, for root to read.
//!
//! Each session is a line, and each of its files an indented one behind it:
//!
//! ```text
//! session "vm-1" state=waiting files=1
//!   file token=0x1 handler="memfd-v2" state=pending
//! ```
//!
//! `/proc/PID/fdinfo` shows the same for the session that a file descriptor holds.

use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    kho,
    prelude::*,
    sync::SetOnce, //
};
use luo_core::{
    chain::Blocks,
    name::{
        Compatible,
        SessionName, //
    },
    wire::{
        Damage,
        LuoSer,
        SessionSer, //
    }, //
};

use zerocopy::FromBytes;

use crate::{
    ffi::memory::HandedOver,
    file::Token,
    registry::{
        Incoming,
        Slot, //
    },
    state, //
};

/// The files, which stay for ever.
static FILES: SetOnce<[Pin<KBox<File<()>>>; 2]> = SetOnce::new();

/// Makes the files appear.
pub(crate) fn register() -> Result {
    let folder = Dir::new(c"liveupdate");
    let outgoing = folder.read_callback_file(c"outgoing", (), &show_outgoing);
    let outgoing = KBox::pin_init(outgoing, GFP_KERNEL)?;
    let incoming = folder.read_callback_file(c"incoming", (), &show_incoming);
    let incoming = KBox::pin_init(incoming, GFP_KERNEL)?;
    FILES.populate([outgoing, incoming]);
    Ok(())
}

/// Sessions for the next kernel, in the order of creation.
fn show_outgoing((): &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(outgoing) = state::get().and_then(|state| state.outgoing()) else {
        return Ok(());
    };
    outgoing
        .lock()
        .sessions
        .values()
        .try_for_each(|session| session.show(f))
}

/// Sessions of the last kernel, by name once they are read.
fn show_incoming((): &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(state) = state::get() else {
        return Ok(());
    };
    match &*state.incoming.read() {
        Incoming::Unread { memory, root } => {
            show_unread(f, memory, root).unwrap_or_else(|damage| writeln!(f, "damaged: {damage}"))
        }
        Incoming::Read(sessions) => sessions.values().try_for_each(|slot| match slot {
            Slot::Waiting(session) => session.show(f, "waiting"),
            Slot::Held(handle) => handle.show(f),
        }),
        Incoming::Damaged => writeln!(f, "damaged: see the kernel log"),
    }
}

/// Sessions as they were handed over: nobody has opened the device. Their files are not shown, since
/// nobody has checked them yet.
fn show_unread(
    f: &mut fmt::Formatter<'_>,
    memory: &HandedOver,
    root: &kho::Incoming,
) -> Result<fmt::Result, Damage> {
    let Ok((root, _)) = LuoSer::read_from_prefix(root.bytes()) else {
        return Ok(Ok(()));
    };
    for block in Blocks::<_, SessionSer>::new(memory, root.sessions) {
        for session in block?.entries {
            let name = SessionName::new(&session.name)?;
            if let error @ Err(_) = show_session(f, &name, "unread", Some(session.count)) {
                return Ok(error);
            }
        }
    }
    Ok(Ok(()))
}

/// The line of a session.
pub(crate) fn show_session(
    f: &mut fmt::Formatter<'_>,
    name: &SessionName,
    state: &str,
    files: Option<u64>,
) -> fmt::Result {
    write!(f, "session \"{name}\" state={state}")?;
    match files {
        Some(files) => writeln!(f, " files={files}"),
        // Nobody can look at them now.
        None => writeln!(f),
    }
}

/// The line of a file.
pub(crate) fn show_file(
    f: &mut fmt::Formatter<'_>,
    token: Token,
    handler: &[u8; Compatible::SIZE],
    state: impl core::fmt::Display,
) -> fmt::Result {
    write!(f, "  file token={:#x} handler=", token.0)?;
    match Compatible::new(handler) {
        Ok(handler) => writeln!(f, "\"{handler}\" state={state}"),
        Err(_) => writeln!(f, "? state={state}"),
    }
}
