// SPDX-License-Identifier: GPL-2.0

//! A file of the previous kernel.

use kernel::{
    fmt,
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};
use luo_core::{
    lifecycle::Retrieval,
    token::Token,
    wire::FileSer, //
};

use crate::{
    ffi::handler::PinnedHandler,
    gate::Pass,
    identity::{
        Identity,
        Reservation, //
    },
    show,
    tables::Tables, //
};

/// A file of the previous kernel. Its session knows the state of its retrieval.
pub(crate) struct IncomingFile {
    token: Token,
    data: u64,
    handler: PinnedHandler,
}

/// A restored file.
pub(crate) struct RetrievedFile {
    /// Missing if the handler has returned a file that is held already.
    _identity: Option<Identity>,
    file: ARef<File>,
}

impl RetrievedFile {
    /// The file.
    pub(crate) fn file(&self) -> &ARef<File> {
        &self.file
    }
}

impl IncomingFile {
    /// A file that was handed over.
    pub(crate) fn new(ser: &FileSer, handler: PinnedHandler) -> Self {
        Self {
            token: Token(ser.token),
            data: ser.data,
            handler,
        }
    }

    /// Its token.
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// Shows the file.
    pub(crate) fn show(
        &self,
        f: &mut fmt::Formatter<'_>,
        retrieval: &Retrieval<RetrievedFile>,
    ) -> fmt::Result {
        let handler = self.handler.compatible();
        let show =
            |f: &mut _, state: core::fmt::Arguments<'_>| show::file(f, self.token, handler, state);
        match retrieval {
            Retrieval::Pending => show(f, format_args!("pending")),
            Retrieval::Running => show(f, format_args!("retrieving")),
            Retrieval::Done(_) => show(f, format_args!("retrieved")),
            Retrieval::Failed(error) => show(f, format_args!("failed(-{error})")),
        }
    }

    /// Restores the file, which is tried once, and keeps it from being preserved again before it is
    /// finished: there is room for that.
    ///
    /// # Errors
    ///
    /// The error of the handler.
    pub(crate) fn retrieve(
        &self,
        tables: &'static Tables,
        room: Reservation,
    ) -> Result<RetrievedFile> {
        let file = self.handler.retrieve(self.data)?;
        let identity = room.claim(&tables.identities, self.handler.id(&file));
        let identity = identity.inspect_err(|error| {
            pr_warn!(
                "token {:#x} came back as a file that is held: {error:?}\n",
                self.token.0
            );
        });
        Ok(RetrievedFile {
            _identity: identity.ok(),
            file,
        })
    }

    /// Whether the handler lets it be finished.
    pub(crate) fn can_finish(&self, retrieval: &Retrieval<RetrievedFile>) -> bool {
        let file = retrieval.done().map(|retrieved| &*retrieved.file);
        self.handler.can_finish(file, self.data, retrieval.status())
    }

    /// Ends its life. To be called once.
    pub(crate) fn finish(
        &self,
        retrieval: Retrieval<RetrievedFile>,
        tables: &Tables,
        pass: &Pass<'_>,
    ) {
        let file = retrieval.done().map(|retrieved| &*retrieved.file);
        self.handler.finish(file, self.data, retrieval.status());
        drop(retrieval);
        let handlers = tables.handlers.read();
        for flb in handlers.flbs_of(&self.handler).iter().rev() {
            tables.incoming_flbs.leave_file(flb, pass);
        }
    }
}
