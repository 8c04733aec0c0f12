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
        LuoSer,
        SessionSer, //
    }, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    boot,
    ffi::trace,
    file_set::FileSet,
    flb::Attempt,
    registry::{
        Handover,
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
    trace::serialize(count, || frozen.hand_over())?;
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

/// What one attempt has written so far. Nobody finds it before the root says where it is.
struct Writer<'a> {
    handover: &'a mut Handover,
    attempt: Attempt,
    sessions: usize,
    flbs: usize,
}

impl Writer<'_> {
    /// Freezes the files of a session and writes them and the session down, or undoes all of it.
    fn freeze(&mut self, session: &Session) -> Result {
        let mut files = session.files().lock();
        let entry = SessionSer {
            name: *session.name().as_array(),
            files: files.freeze()?,
            count: files.len() as u64,
        };
        self.write(&files, &entry).inspect_err(|_| files.unfreeze())
    }

    fn write(&mut self, files: &FileSet, entry: &SessionSer) -> Result {
        self.handover.sessions.write(self.sessions, entry)?;
        self.sessions = self.sessions.saturating_add(1);
        files.for_each_flbs(|set, files| {
            set.iter().try_for_each(|flb| {
                let (at, entry) = flb.write_down(self.attempt, self.flbs, files);
                self.flbs = self.flbs.max(at.saturating_add(1));
                let page = self.handover.flbs.bytes_mut();
                chain::write(page, at, &entry).map_err(|_| ENOSPC)
            })
        })
    }
}

/// All files of all sessions are frozen and written down; this is needed to hand them over. Dropped
/// before that is done, they are unfrozen.
struct Frozen<'a> {
    outgoing: &'a mut Outgoing,
    flbs: usize,
}

impl<'a> Frozen<'a> {
    fn new(outgoing: &'a mut Outgoing) -> Result<Self> {
        static ATTEMPTS: Atomic<u64> = Atomic::new(0);
        let mut writer = Writer {
            handover: &mut outgoing.handover,
            attempt: Attempt(ATTEMPTS.fetch_add(1, Relaxed)),
            sessions: 0,
            flbs: 0,
        };
        all_or_none(
            &mut writer,
            outgoing.sessions.cursor_front_mut().map(Place),
            |writer, place| writer.freeze(place.session()),
            |_, place| place.session().files().lock().unfreeze(),
        )
        .inspect_err(|_| writer.handover.wipe())?;
        let flbs = writer.flbs;
        Ok(Self { outgoing, flbs })
    }

    /// Writes the root: from now on the next kernel finds everything.
    fn hand_over(self) -> Result {
        let count = self.outgoing.len();
        let handover = &mut self.outgoing.handover;
        FlbHeaderSer::new(self.flbs as u64)
            .write_to_prefix(handover.flbs.bytes_mut())
            .map_err(|_| ENOSPC)?;
        let sessions = handover.sessions.seal(count)?;
        let root = handover.root.bytes_mut();
        LuoSer::mut_from_bytes(root).map_err(|_| EINVAL)?.sessions = sessions;
        self.outgoing.phase = Phase::Frozen;
        core::mem::forget(self);
        Ok(())
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let last = self.outgoing.sessions.cursor_back_mut().map(Place);
        undo_back(&mut (), last, |(), place| {
            place.session().files().lock().unfreeze();
        });
        self.outgoing.handover.wipe();
    }
}
