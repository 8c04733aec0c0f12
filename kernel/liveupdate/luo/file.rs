// SPDX-License-Identifier: GPL-2.0

//! A preserved file.

use kernel::{
    fmt,
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};
use luo_core::wire::FileSer;

use crate::{
    debugfs,
    ffi::{
        self,
        handler::{
            Payload,
            PinnedHandler, //
        }, //
    },
    flb::{
        Dependence,
        FlbSet, //
    },
    identity::Identity,
    state,
};

/// What a program calls a file; unique in a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) u64);

/// A file that is preserved for the next kernel; it is unpreserved when this is dropped.
///
/// The members are what it took to preserve it, and are released in this order: the reverse of that
/// in which they were acquired.
pub(crate) struct PreservedFile {
    payload: Payload,
    token: Token,
    depends_on: Dependence,
    _identity: Identity,
    handler: PinnedHandler,
    file: ARef<File>,
}

impl PreservedFile {
    /// Preserves the file that `fd` is in the current process.
    ///
    /// # Errors
    ///
    /// `EBADF`, `ENOENT` if no handler takes the file, `EBUSY` if it is held already, `ENOMEM`, or
    /// what a handler or an object says.
    pub(crate) fn new(fd: i32, token: Token) -> Result<Self> {
        let file = ffi::fget(fd)?;
        let handlers = state::get()?.handlers.read();
        let found = handlers.for_file(&file)?;
        let handler = found.handler;
        let identity = Identity::claim(handler.id(&file))?;
        let depends_on = Dependence::new(found.flbs)?;
        // It may take long, and nobody must wait for it but the caller.
        drop(handlers);
        let payload = handler.preserve(&file)?;
        Ok(Self {
            payload,
            token,
            depends_on,
            _identity: identity,
            handler,
            file,
        })
    }

    /// Shows the file.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>, state: &str) -> fmt::Result {
        debugfs::show_file(f, self.token, self.handler.compatible(), state)
    }

    /// What it depends on.
    pub(crate) fn flbs(&self) -> &Arc<FlbSet> {
        self.depends_on.set()
    }

    /// The last chance to save something; userspace may still be using the file.
    pub(crate) fn freeze(&mut self) -> Result {
        self.handler
            .freeze(&self.file, &mut self.payload)
            .inspect_err(|error| {
                pr_warn!("token {:#x} cannot be frozen: {error:?}\n", self.token.0);
            })
    }

    /// Undoes [`Self::freeze`].
    pub(crate) fn unfreeze(&mut self) {
        self.handler.unfreeze(&self.file, &self.payload);
    }

    /// What the next kernel gets.
    pub(crate) fn to_ser(&self) -> FileSer {
        FileSer {
            compatible: *self.handler.compatible(),
            data: self.payload.data(),
            token: self.token.0,
        }
    }
}

impl Drop for PreservedFile {
    fn drop(&mut self) {
        self.handler.unpreserve(&self.file, &self.payload);
    }
}
