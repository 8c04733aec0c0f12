// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions of the last kernel.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::loss::Alarm;
use super::{
    Direction, FromFdError, OutgoingSession, answer_to_nothing, check, check_name, name,
    of_running, survives_close,
};
use crate::defect::RETRIEVE_RETRY;
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
    /// What was asked for and could not be restored, on kernels that must not be asked again
    /// (CVE-2026-43489).
    failed: Option<Mutex<Vec<(Token, Errno)>>>,
    fd: OwnedFd,
}

/// A session that could not be finished, and why not.
///
/// ```no_run
/// # let mut session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
/// let next = loop {
///     match session.finish() {
///         Ok(next) => break next,
///         Err(error) if matches!(error.source, liblu::Error::NotReady) => {
///             eprintln!("{error}; once more");
///             session = error.session;
///         }
///         Err(error) => return Err(error.into()),
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
        // Other kernels remember it themselves.
        let failed = of_running(|release| RETRIEVE_RETRY.is_in(release)).then(Mutex::default);
        Self { alarm: Alarm::armed(fd.as_fd()), failed, fd }
    }

    /// Takes over a descriptor of the session `name`, as it comes from an agent or from systemd.
    ///
    /// # Errors
    ///
    /// [`Error::WrongDirection`] if it is no incoming session, [`Error::WrongName`] if it is another.
    /// [`Error::System`] without `/proc`. The descriptor comes back. Kernels before 7.2 cannot say which
    /// direction a session has, nor its name if that has more than 38 bytes: there, whoever sends it
    /// must be right.
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
    /// [`Error::NoFile`]; [`Error::RetrieveFailed`], which stays so for ever; [`Error::WrongDirection`]
    /// if somebody else has finished the session; [`Error::System`] if there is no number for the
    /// descriptor, or the kernel is being left.
    ///
    /// On kernels that closing the session would hurt after a file could not be restored
    /// (`retrieve-retry` among [`Defect`](crate::Defect)s), one more descriptor of it then stays open
    /// until the process ends or calls `execve(2)`. That a file failed is known to this value only:
    /// whoever gets the session next must do no more than keep it open.
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
        if let Some(error) = self.failure(|failed| failed == token) {
            return Err(error);
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
            // There was no number for the descriptor: nobody has asked the file's handler yet. All
            // else may be its answer, the system's limit of open files (ENFILE) too.
            Errno::MFILE => Error::System { doing: "retrieve a file", source: errno },
            // The handler has not been asked if the kernel is being left (the implementation in Rust).
            Errno::BUSY if self.kernel_is_being_left() => {
                Error::System { doing: "retrieve a file", source: errno }
            }
            // Somebody else has finished it.
            Errno::INVAL if self.is_no_longer_incoming() => {
                Error::WrongDirection { expected: Direction::Incoming.name() }
            }
            source => {
                if let Some(failed) = &self.failed {
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    // Closing the last descriptor would hurt this kernel: one stays open.
                    if failed.is_empty() {
                        let _ = self.fd.try_clone().map(OwnedFd::into_raw_fd);
                    }
                    failed.push((token, source));
                }
                Error::RetrieveFailed { token, source }
            }
        }
    }

    /// Whether the kernel says that it is not what it was.
    fn is_no_longer_incoming(&self) -> bool {
        let checked = check(self.fd.as_fd(), Direction::Incoming);
        matches!(checked, Err(Error::WrongDirection { .. }))
    }

    /// Whether all commands say so.
    fn kernel_is_being_left(&self) -> bool {
        answer_to_nothing(self.fd.as_fd()) == Some(Errno::BUSY)
    }

    /// The first of such files that were asked for before and could not be restored.
    fn failure(&self, is_such: impl Fn(Token) -> bool) -> Option<Error> {
        let failed = self.failed.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, source) = *failed.iter().find(|(failed, _)| is_such(*failed))?;
        Some(Error::RetrieveFailed { token, source })
    }

    /// Says that all that is needed was retrieved: the kernel lets go of the rest.
    ///
    /// What comes back is the same descriptor, for the next update. It is idle: it occupies no name and
    /// crosses no kexec until the first file is preserved in it, which fails with
    /// [`Error::TokenTaken`] while another outgoing session has the name. With the C implementation
    /// `None` comes back: a finished session is of no use there, and the next update needs a new one.
    ///
    /// # Errors
    ///
    /// [`Error::NotReady`] if a file cannot be finished yet. The session comes back, and nothing has
    /// changed. [`Error::RetrieveFailed`] on kernels that this would hurt after a file could not be
    /// restored (`retrieve-retry` among [`Defect`](crate::Defect)s): keep the session open.
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// let next = session.finish()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finish(self) -> std::result::Result<Option<OutgoingSession>, FinishError> {
        if let Some(source) = self.failure(|_| true) {
            return Err(FinishError { session: self, source });
        }
        match sys::finish(self.fd.as_fd()) {
            Ok(()) => {
                let fd = self.into_custody();
                Ok(survives_close(fd.as_raw_fd()).then(|| OutgoingSession::new(fd)))
            }
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
    /// [`Error::System`] if the kernel cannot say: before 7.2 without `/proc`, and names of more than 38
    /// bytes (`ENAMETOOLONG`).
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

/// Checks that it is an incoming session, as far as the kernel can say ([`IncomingSession::from_fd`]).
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
