// SPDX-License-Identifier: GPL-2.0

//! A preserved file.

use kernel::{
    fmt,
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};
use luo_core::{
    token::Token,
    wire::FileSer, //
};

use crate::{
    ffi::{
        self,
        handler::{
            Payload,
            PinnedHandler, //
        }, //
    },
    flb::Dependence,
    gate::Pass,
    identity::{
        Identity,
        Reservation, //
    },
    show,
    tables::Tables, //
};

/// A file that is preserved for the next kernel; it is unpreserved when this is dropped.
///
/// The members were acquired to preserve it, and are released in this order: the reverse of that in
/// which they were acquired.
pub(crate) struct PreservedFile {
    payload: Payload,
    token: Token,
    _depends_on: Dependence,
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
    /// the error of a handler or an FLB.
    pub(crate) fn new(
        tables: &'static Tables,
        fd: i32,
        token: Token,
        pass: &Pass<'_>,
    ) -> Result<Self> {
        let file = ffi::fget(fd)?;
        let handlers = tables.handlers.read_killable()?;
        let found = handlers.for_file(&file)?;
        let handler = found.handler;
        let identity = Reservation::new()?.claim(&tables.identities, handler.id(&file))?;
        let depends_on = Dependence::new(found.flbs, pass)?;
        // It may take long, and must not keep registrations waiting.
        drop(handlers);
        let payload = handler.preserve(&file)?;
        Ok(Self {
            payload,
            token,
            _depends_on: depends_on,
            _identity: identity,
            handler,
            file,
        })
    }

    /// Shows the file.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>, state: &str) -> fmt::Result {
        show::file(f, self.token, self.handler.compatible(), state)
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

    /// The entry for the next kernel.
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
