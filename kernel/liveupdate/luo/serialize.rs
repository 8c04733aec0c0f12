// SPDX-License-Identifier: GPL-2.0

//! The way out: `reboot(LINUX_REBOOT_CMD_KEXEC)`.
//!
//! Userspace waits for the next kernel from here on. Nothing is allocated, every file is touched a
//! constant number of times, and no lock is waited for that is held while a file is preserved.

use kernel::{
    prelude::*,
    rbtree::CursorMut,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use luo_core::{
    chain,
    rollback::{
        all_or_none,
        undo_back,
        Cursor, //
    },
    wire::{
        FlbHeaderSer,
        SessionSer, //
    }, //
};
use zerocopy::IntoBytes;

use crate::{
    boot,
    ffi::trace,
    flb::Attempt,
    registry::{
        Order,
        Outgoing,
        Phase, //
    },
    session::outgoing::Session,
    state,
};

/// Freezes all files and writes the handover. After this has succeeded, nothing changes any more.
///
/// # Errors
///
/// The error of the first file that cannot be frozen; everything is as it was before.
pub(crate) fn reboot() -> Result {
    if !boot::is_enabled() {
        return Ok(());
    }
    let state = state::get()?;
    let mut outgoing = state.outgoing()?.lock();
    if outgoing.phase == Phase::Frozen {
        return Err(EBUSY);
    }
    let count = outgoing.len();
    let frozen = trace::freeze(count, || Frozen::new(&mut outgoing))?;
    trace::serialize(count, || frozen.write())?;
    state.set_frozen();
    Ok(())
}

/// A session, in the order of creation.
struct Place<'a>(CursorMut<'a, Order, Arc<Session>>);

impl Cursor for Place<'_> {
    fn next(self) -> Option<Self> {
        self.0.move_next().map(Self)
    }

    fn previous(self) -> Option<Self> {
        self.0.move_prev().map(Self)
    }
}

impl Place<'_> {
    fn session(&self) -> &Session {
        self.0.current().1
    }
}

/// All files of all sessions are frozen; this is needed to write the handover. Dropped before that is
/// done, they are unfrozen.
struct Frozen<'a> {
    outgoing: &'a mut Outgoing,
}

impl<'a> Frozen<'a> {
    fn new(outgoing: &'a mut Outgoing) -> Result<Self> {
        all_or_none(
            &mut (),
            outgoing.sessions.cursor_front_mut().map(Place),
            |(), place| place.session().files().lock().freeze(),
            |(), place| place.session().files().lock().unfreeze(),
        )?;
        Ok(Self { outgoing })
    }

    /// Writes the handover, root last.
    fn write(self) -> Result {
        static ATTEMPTS: Atomic<u64> = Atomic::new(0);
        let attempt = Attempt(ATTEMPTS.fetch_add(1, Relaxed));
        let mut flbs = 0;
        for (nth, session) in self.outgoing.sessions.values().enumerate() {
            let mut files = session.files().lock();
            let entry = SessionSer {
                name: *session.name().as_array(),
                files: files.write()?,
                count: files.len() as u64,
            };
            self.outgoing.handover.sessions.write(nth, &entry)?;
            files.for_each_flbs(|set, files| {
                set.iter().try_for_each(|flb| {
                    let (at, entry) = flb.write_down(attempt, flbs, files);
                    flbs = flbs.max(at.saturating_add(1));
                    let page = self.outgoing.handover.flbs.bytes_mut();
                    chain::write(page, at, &entry).map_err(|_| ENOSPC)
                })
            })?;
        }
        let count = self.outgoing.len();
        let handover = &mut self.outgoing.handover;
        let header = FlbHeaderSer {
            pages: 1,
            count: flbs as u64,
        };
        header
            .write_to_prefix(handover.flbs.bytes_mut())
            .map_err(|_| ENOSPC)?;
        handover.ser.sessions = handover.sessions.seal(count)?;
        handover
            .ser
            .write_to(handover.root.bytes_mut())
            .map_err(|_| ENOSPC)?;
        self.outgoing.phase = Phase::Frozen;
        core::mem::forget(self);
        Ok(())
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        undo_back(
            &mut (),
            self.outgoing.sessions.cursor_back_mut().map(Place),
            |(), place| {
                place.session().files().lock().unfreeze();
            },
        );
    }
}
