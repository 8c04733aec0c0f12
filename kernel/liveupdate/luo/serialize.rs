// SPDX-License-Identifier: GPL-2.0

//! The way out: `reboot(LINUX_REBOOT_CMD_KEXEC)`.
//!
//! The gate is closed, running callbacks finish, files are frozen, the handover is written.
//! Userspace waits for the next kernel from here on: nothing is allocated, and every file is
//! touched a constant number of times.

use kernel::{
    prelude::*,
    rbtree::CursorMut, //
};
use luo_core::{
    chain,
    wire::{
        FlbHeaderSer,
        LuoSer,
        SessionSer, //
    }, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    ffi::trace,
    gate::Pass,
    registry::{
        Listed,
        Outgoing, //
    },
    session::outgoing::{
        Order,
        Session, //
    },
    state::State,
    tables::Tables, //
};

/// Freezes all files and writes the handover. After this has succeeded, nothing changes any more.
///
/// # Errors
///
/// `EINTR` if a fatal signal ends the wait for running callbacks, `EBUSY` if the handover is
/// written already, or the error of the first file that cannot be frozen. Everything is as it was
/// before.
pub(crate) fn reboot(state: &State) -> Result {
    let outgoing = state.outgoing()?;
    let result = state.gate.close().and_then(|closed| {
        hand_over(&mut outgoing.lock(), &state.tables)?;
        closed.hand_over();
        Ok(())
    });
    if result.is_err() {
        reopened(state);
    }
    result
}

/// `reboot(2)` has failed and the gate is open: sessions and FLBs that could not go meanwhile go
/// now. If another `reboot(2)` has closed the gate again, that one is responsible.
fn reopened(state: &State) {
    let Ok(pass) = state.gate.enter() else {
        return;
    };
    remove_abandoned(state, &pass);
    state.tables.tidy(&pass);
}

/// Removes the sessions whose last descriptors were closed meanwhile.
fn remove_abandoned(state: &State, pass: &Pass<'_>) {
    let Ok(outgoing) = state.outgoing() else {
        return;
    };
    let mut from = Order(0);
    loop {
        let mut sessions = outgoing.lock();
        let Some(order) = sessions.abandoned_from(from) else {
            return;
        };
        let removed = sessions.remove(order, pass);
        drop(sessions);
        if let Some(removed) = removed {
            removed.unpreserve(pass);
        }
        from = order;
    }
}

fn hand_over(outgoing: &mut Outgoing, tables: &Tables) -> Result {
    let count = outgoing.len();
    trace::freeze(count, || freeze(outgoing))?;
    trace::serialize(count, || write(outgoing, tables)).inspect_err(|_| unfreeze(outgoing))
}

/// Freezes the files of all sessions in order and writes the sessions down, or none.
fn freeze(outgoing: &mut Outgoing) -> Result {
    let sessions = &mut outgoing.sessions;
    let handover = &mut outgoing.handover;
    let mut entries = handover.sessions.entries_mut();
    let failed = sessions.iter().find_map(|(order, listed)| {
        // There is room for all: it is made when a session is created.
        let entry = entries.next().ok_or(ENOSPC);
        let frozen = entry.and_then(|entry| freeze_session(&listed.session, entry));
        frozen.err().map(|error| (*order, error))
    });
    drop(entries);
    let Some((order, error)) = failed else {
        return Ok(());
    };
    let failed = sessions.cursor_lower_bound_mut(&order);
    unfreeze_back(failed.and_then(CursorMut::move_prev));
    handover.wipe();
    Err(error)
}

fn freeze_session(session: &Session, entry: &mut SessionSer) -> Result {
    let mut files = session.files().lock();
    entry.files = files.freeze()?;
    entry.count = files.len() as u64;
    entry.name = *session.name().as_array();
    Ok(())
}

/// Undoes [`freeze`], from the last session to the first.
fn unfreeze(outgoing: &mut Outgoing) {
    unfreeze_back(outgoing.sessions.cursor_back_mut());
    outgoing.handover.wipe();
}

/// Unfreezes the files of this session and of all before it, the first session last.
fn unfreeze_back(mut cursor: Option<CursorMut<'_, Order, Listed>>) {
    while let Some(at) = cursor {
        at.current().1.session.files().lock().unfreeze();
        cursor = at.move_prev();
    }
}

/// Writes the FLB entries and links the sessions, and at the end the root: from then on the next
/// kernel finds everything.
fn write(outgoing: &mut Outgoing, tables: &Tables) -> Result {
    let count = outgoing.len();
    let handover = &mut outgoing.handover;
    let page = handover.flbs.bytes_mut();
    let mut entries = 0_usize;
    for entry in tables.flbs.lock().iter().filter_map(|flb| flb.to_ser()) {
        chain::write(page, entries, entry).map_err(|_| ENOSPC)?;
        entries = entries.saturating_add(1);
    }
    FlbHeaderSer::new(entries as u64)
        .write_to_prefix(page)
        .map_err(|_| ENOSPC)?;
    let sessions = handover.sessions.seal(count)?;
    let root = handover.root.bytes_mut();
    LuoSer::mut_from_bytes(root).map_err(|_| EINVAL)?.sessions = sessions;
    Ok(())
}
