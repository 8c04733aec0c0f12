// SPDX-License-Identifier: GPL-2.0

//! A session of the last kernel.

use kernel::{
    fmt,
    fs::File,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    }, //
};
use luo_core::{
    index,
    lifecycle::Retrieval,
    name::SessionName,
    wire::{
        Damage,
        FileSer, //
    }, //
};

use crate::{
    debugfs,
    ffi::{
        handler::PinnedHandler,
        trace, //
    },
    file::Token,
    identity::Identity,
    state, //
};

/// A session of the last kernel that is not finished.
pub(crate) struct Session {
    name: SessionName,
    /// In the order in which they were preserved.
    files: KVVec<Pin<KBox<IncomingFile>>>,
    /// Where the file of each token stands.
    tokens: KVVec<index::Pair>,
}

/// A file of the last kernel.
#[pin_data]
pub(crate) struct IncomingFile {
    token: Token,
    data: u64,
    handler: PinnedHandler,
    /// Held while the file is retrieved: others who want it wait, those who want another do not.
    #[pin]
    retrieval: Mutex<Retrieval<RetrievedFile>>,
}

/// A file that is back.
struct RetrievedFile {
    /// Missing if the handler has made a file that is held already.
    _identity: Option<Identity>,
    file: ARef<File>,
}

impl IncomingFile {
    /// A file that nobody has asked for.
    pub(crate) fn new(ser: &FileSer, handler: PinnedHandler) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                token: Token(ser.token),
                data: ser.data,
                handler,
                retrieval <- new_mutex!(Retrieval::PENDING, "luo::IncomingFile::retrieval"),
            }),
            GFP_KERNEL,
        )
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = self.handler.compatible();
        let show = |f: &mut _, state: core::fmt::Arguments<'_>| {
            debugfs::show_file(f, self.token, handler, state)
        };
        // It may be held for as long as a handler works.
        let Some(retrieval) = self.retrieval.try_lock() else {
            return show(f, format_args!("retrieving"));
        };
        match retrieval.status() {
            0 => show(f, format_args!("pending")),
            errno if errno < 0 => show(f, format_args!("failed({errno})")),
            _ => show(f, format_args!("retrieved")),
        }
    }

    fn retrieve(&self) -> Result<ARef<File>> {
        let mut retrieval = self.retrieval.lock();
        let done = retrieval.get_or_try(|| {
            let retrieved = self.handler.retrieve(self.data);
            retrieved
                .map(|file| self.hold(file))
                .map_err(|error| error.to_errno().saturating_neg())
        });
        match done {
            Ok(retrieved) => Ok(retrieved.file.clone()),
            Err(errno) => Err(Error::from_errno(errno.saturating_neg())),
        }
    }

    /// Keeps a file that is back, so that it is not preserved again before it is finished.
    fn hold(&self, file: ARef<File>) -> RetrievedFile {
        let identity = Identity::claim(self.handler.id(&file)).inspect_err(|error| {
            pr_warn!(
                "token {:#x} came back as a file that is held: {error:?}\n",
                self.token.0
            );
        });
        RetrievedFile {
            _identity: identity.ok(),
            file,
        }
    }

    fn can_finish(&self) -> bool {
        let retrieval = self.retrieval.lock();
        let file = retrieval.done().map(|retrieved| &*retrieved.file);
        self.handler.can_finish(file, self.data, retrieval.status())
    }

    fn finish(&self) {
        let retrieval = core::mem::take(&mut *self.retrieval.lock());
        let file = retrieval.done().map(|retrieved| &*retrieved.file);
        self.handler.finish(file, self.data, retrieval.status());
        if let Ok(state) = state::get() {
            let handlers = state.handlers.read();
            handlers
                .flbs_of(&self.handler)
                .iter()
                .rev()
                .for_each(|flb| state.incoming_flbs.leave(flb));
        }
    }
}

impl Session {
    /// A session with these files.
    ///
    /// # Errors
    ///
    /// [`Damage::Duplicate`] if two files have the same token; `ENOMEM`.
    pub(crate) fn new(
        name: SessionName,
        files: KVVec<Pin<KBox<IncomingFile>>>,
    ) -> Result<Result<Arc<Self>, Damage>> {
        let mut tokens = KVVec::with_capacity(files.len(), GFP_KERNEL)?;
        for (at, file) in files.iter().enumerate() {
            tokens.push((file.token.0, at), GFP_KERNEL)?;
        }
        if let Err(index::Duplicate) = index::sort(&mut tokens) {
            return Ok(Err(Damage::Duplicate));
        }
        Ok(Ok(Arc::new(
            Self {
                name,
                files,
                tokens,
            },
            GFP_KERNEL,
        )?))
    }

    /// Shows the session and its files.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>, state: &str) -> fmt::Result {
        debugfs::show_session(f, &self.name, state, Some(self.files.len() as u64))?;
        self.files.iter().try_for_each(|file| file.show(f))
    }

    /// Its name.
    pub(crate) fn name(&self) -> &SessionName {
        &self.name
    }

    /// RETRIEVE_FD: the file with this token, retrieved if nobody has asked for it before.
    ///
    /// # Errors
    ///
    /// `ENOENT` for an unknown token, or why the file could not be retrieved, each time the same.
    pub(crate) fn retrieve(&self, token: Token) -> Result<ARef<File>> {
        let at = index::find(&self.tokens, token.0);
        let file = at.and_then(|at| self.files.get(at)).ok_or(ENOENT)?;
        trace::retrieve(&self.name, token, || file.retrieve())
    }

    /// Whether all files can be finished.
    pub(crate) fn can_finish(&self) -> bool {
        self.files.iter().all(|file| file.can_finish())
    }

    /// FINISH: the last file is finished first. To be called once.
    pub(crate) fn finish(&self) {
        self.files.iter().rev().for_each(|file| file.finish());
    }
}
