// SPDX-License-Identifier: GPL-2.0

//! A session of the previous kernel.

use kernel::{
    fmt,
    fs::File,
    new_condvar,
    new_mutex,
    new_rwsem,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        CondVar,
        Mutex,
        RwSem, //
    }, //
};
use luo_core::{
    lifecycle::{
        Next,
        Retrieval, //
    },
    name::SessionName,
    token::{
        self,
        Token, //
    }, //
};

use crate::{
    failure::Failure,
    gate::Pass,
    identity::Reservation,
    incoming_file::{
        IncomingFile,
        RetrievedFile, //
    },
    show,
    tables::Tables, //
};

/// A session of the previous kernel.
#[pin_data]
pub(crate) struct Session {
    /// In the order in which they were preserved.
    files: KVVec<IncomingFile>,
    /// The place of the file of each token.
    tokens: KVVec<token::Entry>,
    /// Held for reading while a file is retrieved, for writing while the session is finished.
    #[pin]
    life: RwSem<Life>,
    /// The state of each file. Not held while a file is retrieved, so that files are retrieved side
    /// by side.
    #[pin]
    retrievals: Mutex<KVVec<Retrieval<RetrievedFile>>>,
    /// A retrieval has ended.
    #[pin]
    settled: CondVar,
}

/// Whether FINISH has succeeded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Unfinished,
    Finished,
}

impl Session {
    /// A session with these files.
    ///
    /// # Errors
    ///
    /// The damage if two files have the same token; `ENOMEM`.
    pub(crate) fn new(files: KVVec<IncomingFile>) -> Result<Arc<Self>, Failure> {
        let mut tokens = KVVec::with_capacity(files.len(), GFP_KERNEL)?;
        let mut retrievals = KVVec::with_capacity(files.len(), GFP_KERNEL)?;
        for (at, file) in files.iter().enumerate() {
            tokens.push((file.token(), at), GFP_KERNEL)?;
            retrievals.push(Retrieval::Pending, GFP_KERNEL)?;
        }
        token::sort(&mut tokens)?;
        Ok(Arc::pin_init(
            pin_init!(Self {
                files,
                tokens,
                life <- new_rwsem!(Life::Unfinished, "luo::incoming::Session::life"),
                retrievals <- new_mutex!(retrievals, "luo::incoming::Session::retrievals"),
                settled <- new_condvar!("luo::incoming::Session::settled"),
            }),
            GFP_KERNEL,
        )?)
    }

    /// Shows the session and its files; `state` is that of a session which is not being finished.
    pub(crate) fn show(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &SessionName,
        state: &str,
    ) -> fmt::Result {
        // FINISH holds it while handlers work.
        let life = self.life.try_read();
        if !life.is_some_and(|life| *life == Life::Unfinished) {
            return show::session(f, name, "finishing", None);
        }
        show::session(f, name, state, Some(self.files.len() as u64))?;
        let retrievals = self.retrievals.lock();
        let mut files = self.files.iter().zip(retrievals.iter());
        files.try_for_each(|(file, retrieval)| file.show(f, retrieval))
    }

    /// RETRIEVE_FD: the file with this token; the first call retrieves it.
    ///
    /// # Errors
    ///
    /// `ENOENT` for an unknown token, `EINVAL` if the session has just been finished, `EINTR` if a
    /// fatal signal ends the wait for a FINISH, or the error of the handler, each time the same.
    pub(crate) fn retrieve(
        &self,
        tables: &'static Tables,
        token: Token,
        _pass: &Pass<'_>,
    ) -> Result<ARef<File>> {
        let life = self.life.read_killable()?;
        if *life == Life::Finished {
            return Err(EINVAL);
        }
        let at = token::find(&self.tokens, token).ok_or(ENOENT)?;
        self.retrieve_at(tables, at)
    }

    fn retrieve_at(&self, tables: &'static Tables, at: usize) -> Result<ARef<File>> {
        let error = |errno: i32| Error::from_errno(errno.saturating_neg());
        let mut retrievals = self.retrievals.lock();
        loop {
            match retrievals.get_mut(at).ok_or(ENOENT)?.ask() {
                Next::Retrieve => break,
                Next::Wait => self.settled.wait(&mut retrievals),
                Next::Done(retrieved) => return Ok(retrieved.file().clone()),
                Next::Failed(errno) => return Err(error(errno)),
            }
        }
        drop(retrievals);
        let room = Reservation::new();
        let file = self.files.get(at).ok_or(ENOENT)?;
        let outcome = room.map(|room| file.retrieve(tables, room));
        let mut retrievals = self.retrievals.lock();
        self.settled.notify_all();
        let retrieval = retrievals.get_mut(at).ok_or(ENOENT)?;
        // A lack of memory before the handler was called is no attempt.
        let outcome = outcome.inspect_err(|_| retrieval.give_up())?;
        let settled = retrieval.settle(outcome.map_err(|error| error.to_errno().saturating_neg()));
        settled
            .map(|retrieved| retrieved.file().clone())
            .map_err(error)
    }

    /// FINISH: the last file is finished first.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a file cannot be finished now, `EINVAL` if the session has just been finished,
    /// `EINTR` if a fatal signal ends the wait for another command. Nothing has changed then.
    pub(crate) fn finish(&self, tables: &Tables, pass: &Pass<'_>) -> Result {
        let mut life = self.life.write_killable()?;
        if *life == Life::Finished {
            return Err(EINVAL);
        }
        let mut retrievals = {
            let mut retrievals = self.retrievals.lock();
            let mut files = self.files.iter().zip(retrievals.iter());
            if !files.all(|(file, retrieval)| file.can_finish(retrieval)) {
                return Err(EBUSY);
            }
            core::mem::take(&mut *retrievals)
        };
        for file in self.files.iter().rev() {
            if let Some(retrieval) = retrievals.pop() {
                file.finish(retrieval, tables, pass);
            }
        }
        *life = Life::Finished;
        Ok(())
    }
}
