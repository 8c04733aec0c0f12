// SPDX-License-Identifier: GPL-2.0

//! A session for the next kernel.

use kernel::{
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    types::ScopeGuard, //
};
use luo_core::{
    name::SessionName,
    token::Token, //
};

use crate::{
    file::PreservedFile,
    file_set::FileSet,
    gate::Pass,
    show,
    tables::Tables, //
};

/// A session for the next kernel.
#[pin_data]
pub(crate) struct Session {
    name: SessionName,
    order: Order,
    origin: Origin,
    #[pin]
    files: Mutex<FileSet>,
}

/// The order of creation of sessions, in which they are frozen and handed over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order(pub(crate) u64);

/// The command that created a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// CREATE_SESSION.
    Create,
    /// The first PRESERVE_FD on an idle descriptor.
    Preserve,
}

impl Session {
    /// A session without files.
    pub(crate) fn new(name: SessionName, order: Order, origin: Origin) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                name,
                order,
                origin,
                files <- new_mutex!(FileSet::default(), "luo::outgoing::Session::files"),
            }),
            GFP_KERNEL,
        )
    }

    /// Its name.
    pub(crate) fn name(&self) -> &SessionName {
        &self.name
    }

    /// Its place in the order of creation.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// The command that created it.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Its files. Not to be held while a handler preserves or unpreserves one.
    pub(crate) fn files(&self) -> &Mutex<FileSet> {
        &self.files
    }

    /// Shows the session and its files, of which `state` is the state.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>, state: &str) -> fmt::Result {
        let files = self.files.lock();
        show::session(f, &self.name, "outgoing", Some(files.len() as u64))?;
        let result = files.iter().try_for_each(|file| file.show(f, state));
        result
    }

    /// Unpreserves all files, the last one first.
    pub(crate) fn unpreserve(&self, _pass: &Pass<'_>) {
        let files = core::mem::take(&mut *self.files.lock());
        drop(files);
    }
}

/// A token and room for a file that is being preserved; given up when it is dropped.
pub(crate) struct Reservation(ScopeGuard<Reserved, fn(Reserved)>);

struct Reserved {
    session: Arc<Session>,
    token: Token,
}

impl Reservation {
    /// Reserves a token in a session.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the token is used, `ENOSPC` if there are too many files, `ENOMEM`.
    pub(crate) fn new(session: Arc<Session>, token: Token) -> Result<Self> {
        session.files.lock().reserve(token)?;
        let reserved = Reserved { session, token };
        Ok(Self(ScopeGuard::new_with_data(reserved, |reserved| {
            reserved.session.files.lock().cancel(reserved.token);
        })))
    }

    /// PRESERVE_FD: preserves a file of the current process under the token.
    ///
    /// # Errors
    ///
    /// Those of [`PreservedFile::new`].
    pub(crate) fn preserve(self, tables: &'static Tables, fd: i32, pass: &Pass<'_>) -> Result {
        let file = PreservedFile::new(tables, fd, self.0.token, pass)?;
        let reserved = self.0.dismiss();
        reserved.session.files.lock().commit(file);
        Ok(())
    }
}
