// SPDX-License-Identifier: GPL-2.0

//! A session for the next kernel.

use kernel::{
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use liveupdate_uapi::PreserveFd;
use luo_core::name::SessionName;

use crate::{
    command::Call,
    debugfs,
    ffi::trace,
    file::{
        PreservedFile,
        Token, //
    },
    file_set::FileSet,
    registry::Order,
    state, //
};

/// A session for the next kernel: created by CREATE_SESSION, or left empty by FINISH.
#[pin_data]
pub(crate) struct Session {
    name: SessionName,
    order: Order,
    #[pin]
    files: Mutex<FileSet>,
}

impl Session {
    /// A session without files.
    pub(crate) fn new(name: SessionName, order: Order) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                name,
                order,
                files <- new_mutex!(FileSet::new(), "luo::outgoing::Session::files"),
            }),
            GFP_KERNEL,
        )
    }

    /// Its name.
    pub(crate) fn name(&self) -> &SessionName {
        &self.name
    }

    /// When it was created, relative to others.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Its files. Not to be held while a handler preserves or unpreserves.
    pub(crate) fn files(&self) -> &Mutex<FileSet> {
        &self.files
    }

    /// Shows the session and its files.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.lock();
        let state = if files.is_frozen() {
            "frozen"
        } else {
            "preserved"
        };
        debugfs::show_session(f, &self.name, "outgoing", Some(files.len() as u64))?;
        let result = files.iter().try_for_each(|file| file.show(f, state));
        result
    }

    /// PRESERVE_FD.
    pub(crate) fn preserve(&self, call: &Call<PreserveFd>) -> Result {
        let token = Token(call.argument.token);
        trace::preserve(&self.name, token, || {
            let reservation = Reservation::new(self, token)?;
            let file = PreservedFile::new(call.argument.fd, token)?;
            // Before anybody else can see what would have to be undone.
            call.reply()?;
            reservation.commit(file)
        })
    }

    /// The last file descriptor is closed.
    pub(crate) fn close(&self) {
        let Ok(outgoing) = state::get().and_then(|state| state.outgoing()) else {
            return;
        };
        let removed = outgoing.lock().remove(self);
        drop(removed);
    }
}

/// A token and room for a file that is being preserved.
struct Reservation<'a> {
    session: &'a Session,
    token: Token,
}

impl<'a> Reservation<'a> {
    fn new(session: &'a Session, token: Token) -> Result<Self> {
        session.files.lock().reserve(token)?;
        Ok(Self { session, token })
    }

    fn commit(self, file: PreservedFile) -> Result {
        let committed = self.session.files.lock().commit(file);
        match committed {
            Ok(()) => {
                core::mem::forget(self);
                Ok(())
            }
            Err((error, file)) => {
                drop(file);
                Err(error)
            }
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.session.files.lock().cancel(self.token);
    }
}
