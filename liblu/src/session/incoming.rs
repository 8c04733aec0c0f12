// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions of the last kernel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::loss::Alarm;
use super::{Direction, FromFdError, OutgoingSession, check, check_name, name, running_is_before};
use crate::{Error, Result, SessionName, Token, sys};

/// A session of the last kernel: its files can be retrieved, in any order, until it is finished.
///
/// **Do not drop it unfinished.** With the C implementation, closing the last descriptor of a
/// retrieved session finishes it, and what was not retrieved is destroyed: a crash takes the VM's
/// memory along. Keep a second descriptor with somebody who does not crash
/// ([`IncomingSession::into_custody`], an agent, systemd's fd store) until the client has all that it
/// needs. With the implementation in Rust the session can be retrieved again. Dropping it where that
/// destroys something is loud ([`set_loss_hook`](crate::set_loss_hook)).
#[derive(Debug)]
pub struct IncomingSession {
    // Before the descriptor, so that it is dropped while the session is there.
    alarm: Alarm,
    /// What was asked for and could not be restored, on kernels that must not be asked again.
    failed: Option<Mutex<Vec<(Token, Errno)>>>,
    fd: OwnedFd,
}

/// A session that could not be finished, and why not.
///
/// ```no_run
/// # let mut session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
/// let outgoing = loop {
///     match session.finish() {
///         Ok(outgoing) => break outgoing,
///         Err(error) => {
///             eprintln!("{error}; once more");
///             session = error.session;
///         }
///     }
/// };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FinishError {
    /// The session, as it was.
    pub session: IncomingSession,
    /// What is wrong.
    pub source: Error,
}

speaks_as_its_source!(FinishError);

impl IncomingSession {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        // Later kernels remember it themselves (CVE-2026-43489).
        let failed = running_is_before(7, 1).then(Mutex::default);
        Self { alarm: Alarm::armed(fd.as_fd()), failed, fd }
    }

    /// Takes over a descriptor of the session `name`, as it comes from an agent or from systemd.
    ///
    /// # Errors
    ///
    /// [`Error::WrongDirection`] if it is no incoming session, [`Error::WrongName`] if it is another.
    /// The descriptor comes back.
    ///
    /// ```no_run
    /// use std::os::fd::OwnedFd;
    /// use liblu::IncomingSession;
    ///
    /// # fn from_somewhere() -> OwnedFd { unimplemented!() }
    /// let fd: OwnedFd = from_somewhere();
    /// let session = IncomingSession::from_fd(fd, &"vm-17".parse()?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_fd(fd: OwnedFd, name: &SessionName) -> std::result::Result<Self, FromFdError> {
        let session = Self::try_from(fd)?;
        match check_name(session.as_fd(), name) {
            Ok(()) => Ok(session),
            Err(source) => Err(FromFdError { fd: session.into_custody(), source }),
        }
    }

    /// Retrieves a file, close-on-exec. Each call gives another descriptor of the same open file.
    ///
    /// The memory of a restored memfd is charged to whoever retrieves it first: let the client do it,
    /// not an agent.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`]; [`Error::RetrieveFailed`], which as a rule stays so for ever;
    /// [`Error::WrongDirection`] if somebody else has finished the session.
    ///
    /// ```no_run
    /// use liblu::{LiveUpdate, Token};
    ///
    /// let session = LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// let memory = session.retrieve(Token::from(1))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn retrieve(&self, token: Token) -> Result<OwnedFd> {
        if let Some(source) = self.failure(token) {
            return Err(Error::RetrieveFailed { token, source });
        }
        match sys::retrieve_fd(self.fd.as_fd(), token.get()) {
            Ok(file) => Ok(file),
            Err(errno) => Err(self.retrieve_error(token, errno)),
        }
    }

    #[cold]
    fn retrieve_error(&self, token: Token, errno: Errno) -> Error {
        match errno {
            Errno::NOENT => Error::NoFile(token),
            // There is no number for the descriptor: nobody has asked for the file yet.
            Errno::MFILE | Errno::NFILE | Errno::INTR | Errno::BUSY => {
                Error::System { doing: "retrieve a file", source: errno }
            }
            // Somebody else has finished it.
            Errno::INVAL if check(self.fd.as_fd(), Direction::Incoming).is_err() => {
                Error::WrongDirection { expected: Direction::Incoming.name() }
            }
            source => {
                if let Some(failed) = &self.failed {
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.push((token, source));
                }
                Error::RetrieveFailed { token, source }
            }
        }
    }

    /// Why a file could not be restored that was asked for before.
    fn failure(&self, token: Token) -> Option<Errno> {
        let failed = self.failed.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        failed.iter().find(|(failed, _)| *failed == token).map(|(_, source)| *source)
    }

    /// Says that all that is needed was retrieved: the kernel lets go of the rest.
    ///
    /// The same descriptor is an empty outgoing session of the same name then, for the next update
    /// (not with the C implementation, where preserving in it is refused: see
    /// [`probe()`](crate::probe())).
    ///
    /// # Errors
    ///
    /// [`Error::NotReady`] if a file cannot be finished yet. The session comes back, and nothing has
    /// changed.
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// let next = session.finish()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finish(self) -> std::result::Result<OutgoingSession, FinishError> {
        match sys::finish(self.fd.as_fd()) {
            Ok(()) => Ok(OutgoingSession::new(self.into_custody())),
            Err(errno) => {
                let source = match errno {
                    Errno::BUSY => Error::NotReady,
                    source => Error::System { doing: "finish a session", source },
                };
                Err(FinishError { session: self, source })
            }
        }
    }

    /// The name of the session.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the kernel cannot say, which only happens without `/proc` before 7.2.
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// assert_eq!(session.name()?.as_bytes(), b"vm-17");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(&self) -> Result<SessionName> {
        name(self.fd.as_fd())
    }

    /// The bare descriptor, for somebody who keeps it: an agent, systemd's fd store, a static.
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// let fd: std::os::fd::OwnedFd = session.into_custody();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_custody(self) -> OwnedFd {
        self.alarm.disarm();
        self.fd
    }
}

/// Checks that it is an incoming session.
impl TryFrom<OwnedFd> for IncomingSession {
    type Error = FromFdError;

    fn try_from(fd: OwnedFd) -> std::result::Result<Self, FromFdError> {
        match check(fd.as_fd(), Direction::Incoming) {
            Ok(()) => Ok(Self::new(fd)),
            Err(source) => Err(FromFdError { fd, source }),
        }
    }
}

impl From<IncomingSession> for OwnedFd {
    fn from(session: IncomingSession) -> Self {
        session.into_custody()
    }
}

impl AsFd for IncomingSession {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
