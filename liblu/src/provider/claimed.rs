// SPDX-License-Identifier: MIT OR Apache-2.0

//! A session of the previous kernel together with its manifest and its custodian.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Instant;

use crate::fd_store::FdStore;
use crate::room;
use crate::{Agent, Failed, IncomingSession, Manifest, OutgoingSession, Result};

/// The process that holds a session besides its client.
#[derive(Clone, Debug)]
pub(super) enum Custodian {
    Agent(Agent),
    FdStore(FdStore),
    Nobody,
}

impl Custodian {
    /// The incoming session of this label is finished.
    pub(super) fn restored(&self, label: &str, deadline: Option<Instant>) -> Result<()> {
        match self {
            Self::Agent(agent) => agent.restored(label, deadline),
            Self::FdStore(store) => store.forget(label, deadline),
            Self::Nobody => Ok(()),
        }
    }
}

/// A session of the previous kernel, whose files have labels and states.
///
/// Dropping it unfinished destroys nothing: its custodian holds it, and without one the descriptor stays
/// open until the process ends where closing it would destroy something (see
/// [`IncomingSession`]).
///
/// ```no_run
/// use liblu::{Claim, Provider};
///
/// let Claim::Session(session) = Provider::find()?.claim("vm-17", None)? else {
///     panic!("nothing came");
/// };
/// let memory = session.retrieve("memory")?;
/// println!("{} bytes of state", session.state("memory")?.len());
/// session.finish(None)?;
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Debug)]
pub struct Claimed {
    session: IncomingSession,
    label: String,
    manifest: OnceLock<Manifest>,
    custodian: Custodian,
}

/// A session that was finished.
///
/// ```no_run
/// # let liblu::Claim::Session(session) = liblu::Provider::find()?.claim("vm-17", None)? else { panic!() };
/// let finished = session.finish(None)?;
/// if let Err(error) = finished.custody {
///     eprintln!("the custodian still lists the session: {error}");
/// }
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// The same session for the next update, where the kernel lets it be used again.
    pub next: Option<OutgoingSession>,
    /// Whether the custodian knows that the session is finished. If not, it still lists the session:
    /// [`Provider::restored`](crate::Provider::restored) tells it once more.
    pub custody: Result<()>,
}

impl Claimed {
    pub(super) fn new(session: IncomingSession, label: &str, custodian: Custodian) -> Self {
        Self { session, label: label.to_owned(), manifest: OnceLock::new(), custodian }
    }

    /// The label by which it was claimed.
    ///
    /// ```no_run
    /// # let liblu::Claim::Session(session) = liblu::Provider::find()?.claim("vm-17", None)? else { panic!() };
    /// assert_eq!(session.label(), "vm-17");
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The manifest, which is read once.
    ///
    /// # Errors
    ///
    /// Those of [`Manifest::of`].
    ///
    /// ```no_run
    /// # let liblu::Claim::Session(session) = liblu::Provider::find()?.claim("vm-17", None)? else { panic!() };
    /// for file in session.manifest()?.entries() {
    ///     println!("{}", file.label());
    /// }
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn manifest(&self) -> Result<&Manifest> {
        if let Some(manifest) = self.manifest.get() {
            return Ok(manifest);
        }
        let manifest = Manifest::of(&self.session)?;
        Ok(self.manifest.get_or_init(|| manifest))
    }

    /// Retrieves the file with this label. Several threads may retrieve files at once.
    ///
    /// The kernel charges the file to this process, and a file for which there is no room is lost for ever. So one
    /// that the control group of this process (version 2) has no room for is refused before the kernel is asked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoFile`](crate::ErrorKind::NoFile), [`ErrorKind::NoResources`](crate::ErrorKind::NoResources)
    /// without room, those of [`Claimed::manifest`] and of [`IncomingSession::retrieve`].
    ///
    /// ```no_run
    /// # let liblu::Claim::Session(session) = liblu::Provider::find()?.claim("vm-17", None)? else { panic!() };
    /// let memory = session.retrieve("memory")?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn retrieve(&self, label: &str) -> Result<OwnedFd> {
        let entry = self.manifest()?.expect(label)?;
        room::check(entry.size())?;
        self.session.retrieve(entry.token())
    }

    /// The client's own bytes about the file with this label.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoFile`](crate::ErrorKind::NoFile), and those of [`Claimed::manifest`].
    ///
    /// ```no_run
    /// # let liblu::Claim::Session(session) = liblu::Provider::find()?.claim("vm-17", None)? else { panic!() };
    /// let state = session.state("memory")?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn state(&self, label: &str) -> Result<&[u8]> {
        Ok(self.manifest()?.expect(label)?.state())
    }

    /// The session itself, for files without a label.
    ///
    /// ```no_run
    /// # let liblu::Claim::Session(session) = liblu::Provider::find()?.claim("vm-17", None)? else { panic!() };
    /// let file = session.session().retrieve(42.into())?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn session(&self) -> &IncomingSession {
        &self.session
    }

    /// The bare descriptor of the session, for another custodian. With the C implementation, closing the last
    /// one destroys the files that were not retrieved.
    ///
    /// ```no_run
    /// # let liblu::Claim::Session(session) = liblu::Provider::find()?.claim("vm-17", None)? else { panic!() };
    /// let fd: std::os::fd::OwnedFd = session.into_fd();
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn into_fd(self) -> OwnedFd {
        self.session.into_fd()
    }

    /// Says that all that is needed was retrieved: the kernel gives up the rest, and custody ends.
    ///
    /// # Errors
    ///
    /// Those of [`IncomingSession::finish`]. The session comes back, and nothing has changed.
    ///
    /// ```no_run
    /// # let liblu::Claim::Session(session) = liblu::Provider::find()?.claim("vm-17", None)? else { panic!() };
    /// let finished = session.finish(None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn finish(self, deadline: Option<Instant>) -> std::result::Result<Finished, Failed<Self>> {
        let Self { session, label, manifest, custodian } = self;
        let next = match session.finish() {
            Ok(next) => next,
            Err(failed) => {
                let (session, source) = failed.into_parts();
                return Err(Failed::new(Self { session, label, manifest, custodian }, source));
            }
        };
        let custody = match &custodian {
            // A session that can be used again stays in the store for the next update.
            Custodian::FdStore(_) if next.is_some() => Ok(()),
            custodian => custodian.restored(&label, deadline),
        };
        Ok(Finished { next, custody })
    }
}
