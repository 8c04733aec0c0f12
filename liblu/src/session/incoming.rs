// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions of the previous kernel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use liveupdate_uapi::GetInfo;
use rustix::io::Errno;

use super::kept::KeptFd;
use super::{
    Direction, FromFdError, OutgoingSession, check, check_name, is_being_left, leaving, name,
};
use crate::defect::RETRIEVE_RETRY;
use crate::{Error, ErrorKind, Failed, Result, SessionName, Token, running, sys};

/// A session of the previous kernel: its files can be retrieved, in any order, until it is finished.
///
/// Dropping it unfinished destroys nothing. With the implementation in Rust the session can be retrieved
/// again. With the one in C, closing the last descriptor would finish the session and destroy the files
/// that were not retrieved: there, the descriptor stays open until the process ends, with a complaint
/// ([`set_loss_hook`](crate::set_loss_hook)). A crash closes it all the same. So another process should
/// hold the session until the client has all that it needs: an agent, or systemd with its fd store.
#[derive(Debug)]
pub struct IncomingSession {
    fd: KeptFd,
    /// The files that could not be restored, on kernels that must not be asked again (CVE-2026-43489).
    failed: Option<Mutex<Vec<(Token, Errno)>>>,
}

impl IncomingSession {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self::of(KeptFd::new(fd))
    }

    fn of(fd: KeptFd) -> Self {
        // Other kernels remember failures themselves.
        let failed = running::has(fd.as_fd(), &RETRIEVE_RETRY).then(Mutex::default);
        Self { fd, failed }
    }

    /// Takes over a descriptor of the session `name`, as an agent or systemd passes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongDirection`] if it is no incoming session, [`ErrorKind::WrongName`] if it is
    /// another. The descriptor comes back. Kernels before 7.2 cannot say which direction a session has,
    /// and need `/proc` to say its name, which they cannot if it has more than 38 bytes: there, the
    /// sender must be right.
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
            Err(source) => Err(FromFdError::new(session.into_fd(), source)),
        }
    }

    /// The same session, of which a custodian has another descriptor: dropping it is no complaint
    /// ([`set_loss_hook`](crate::set_loss_hook)). The custodian may be gone, so the descriptor stays open all
    /// the same where closing the last one would destroy something.
    ///
    /// ```no_run
    /// # let fd: std::os::fd::OwnedFd = unimplemented!();
    /// let session = liblu::IncomingSession::try_from(fd)?.held_elsewhere();
    /// # Ok::<(), liblu::Error>(())
    /// ```
    #[must_use]
    pub fn held_elsewhere(self) -> Self {
        Self { fd: KeptFd::held_elsewhere(self.fd.into_fd()), failed: self.failed }
    }

    /// Retrieves a file, close-on-exec. Each call gives another descriptor of the same open file.
    ///
    /// The memory of a restored memfd is charged to the process that retrieves it first: this should be
    /// the client, not an agent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoFile`]; [`ErrorKind::RetrieveFailed`], which stays so for ever;
    /// [`ErrorKind::NoResources`] if there is no descriptor or memory: ask again, and if the answer stays
    /// `ENOMEM`, the file may be lost; [`ErrorKind::WrongDirection`] if another process has finished the
    /// session; [`ErrorKind::Leaving`].
    ///
    /// On kernels that closing the session would hurt after a file could not be restored
    /// (`retrieve-retry` among [`Defect`](crate::Defect)s), one more descriptor of it then stays open
    /// until the process ends or calls `execve(2)`. Only this value knows that a file failed: the next
    /// process that gets the session must do no more than keep it open.
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
        match &self.failed {
            None => match sys::retrieve_fd(self.as_fd(), token.get()) {
                Ok(file) => Ok(file),
                Err(errno) => self.retrieve_again(token, errno),
            },
            Some(failed) => self.retrieve_carefully(token, failed),
        }
    }

    /// A command has failed. If reboot(2) was the reason and has failed since, another try succeeds; the error
    /// of a handler stays.
    #[cold]
    fn retrieve_again(&self, token: Token, errno: Errno) -> Result<OwnedFd> {
        if errno != Errno::BUSY || is_being_left(self.as_fd()) {
            return Err(self.retrieve_error(token, errno));
        }
        let again = sys::retrieve_fd(self.as_fd(), token.get());
        again.map_err(|errno| self.retrieve_error(token, errno))
    }

    /// Retrieves a file on a kernel that must not be asked again for a file that failed. The lock is held
    /// during the command, or another thread could ask at the same time.
    #[cold]
    fn retrieve_carefully(
        &self,
        token: Token,
        failed: &Mutex<Vec<(Token, Errno)>>,
    ) -> Result<OwnedFd> {
        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, errno)) = failed.iter().find(|(failed, _)| *failed == token) {
            return Err(lost(token, *errno));
        }
        let errno = match sys::retrieve_fd(self.as_fd(), token.get()) {
            Ok(file) => return Ok(file),
            Err(errno) => errno,
        };
        let error = match errno {
            // The handler may have been asked, and then it must not be asked again.
            Errno::NOMEM => lost(token, errno),
            _ => self.retrieve_error(token, errno),
        };
        if error.kind() == ErrorKind::RetrieveFailed {
            // Closing the last descriptor would hurt this kernel: one stays open.
            if failed.is_empty() {
                let copy = self.as_fd().try_clone_to_owned();
                let _stays_open = copy.map(std::os::fd::IntoRawFd::into_raw_fd);
            }
            failed.push((token, errno));
        }
        Err(error)
    }

    #[cold]
    fn retrieve_error(&self, token: Token, errno: Errno) -> Error {
        let error = match errno {
            Errno::NOENT => {
                let why = format!("the session has no file with token {token}");
                Error::new(ErrorKind::NoFile, why).caused_by(errno)
            }
            // There was no number for the descriptor (EMFILE), or no memory for it: then the handler was
            // not asked. All else may be the handler's answer, the system's limit of open files (ENFILE)
            // too.
            Errno::MFILE | Errno::NOMEM => Error::system("retrieve a file", errno),
            Errno::BUSY if is_being_left(self.as_fd()) => leaving("retrieve a file"),
            Errno::INVAL if !Direction::Incoming.may_be_of(self.as_fd()) => {
                Direction::Incoming.wrong().caused_by(errno)
            }
            errno => return lost(token, errno),
        };
        error.about(token)
    }

    /// Says that all that is needed was retrieved: the kernel gives up the rest.
    ///
    /// The same descriptor comes back, for the next update. It is idle: it occupies no name and crosses
    /// no kexec until the first file is preserved in it, which fails with [`ErrorKind::TokenTaken`] while
    /// another outgoing session has the name. With the C implementation `None` comes back: a finished
    /// session is of no use there, and the next update needs a new one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotReady`] if a file cannot be finished yet; [`ErrorKind::WrongDirection`] if another
    /// process has finished it; [`ErrorKind::Leaving`]. [`ErrorKind::RetrieveFailed`] on kernels that this
    /// would hurt after a file could not be restored (`retrieve-retry` among
    /// [`Defect`](crate::Defect)s): keep the session open. The session comes back, and nothing has
    /// changed.
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// let next = session.finish()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finish(self) -> std::result::Result<Option<OutgoingSession>, Failed<Self>> {
        match self.try_finish() {
            Ok(()) => {
                let fd = self.into_fd();
                let info = sys::get_info(fd.as_fd());
                let is_of_use =
                    info.is_ok_and(|info| info.features & GetInfo::REUSE_AFTER_FINISH != 0);
                Ok(is_of_use.then(|| OutgoingSession::new(fd)))
            }
            Err(source) => Err(Failed::new(self, source)),
        }
    }

    fn try_finish(&self) -> Result<()> {
        if let Some(failed) = &self.failed {
            let failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((token, errno)) = failed.first() {
                return Err(lost(*token, *errno));
            }
        }
        let finish = || sys::finish(self.as_fd());
        // As for RETRIEVE_FD, reboot(2) may have failed since.
        let finished = finish().or_else(|errno| match errno {
            Errno::BUSY if !is_being_left(self.as_fd()) => finish(),
            errno => Err(errno),
        });
        finished.map_err(|errno| match errno {
            Errno::BUSY if is_being_left(self.as_fd()) => leaving("finish a session"),
            Errno::BUSY => {
                let why = "a file of the session cannot be finished yet";
                Error::new(ErrorKind::NotReady, why).caused_by(errno)
            }
            Errno::INVAL if !Direction::Incoming.may_be_of(self.as_fd()) => {
                Direction::Incoming.wrong().caused_by(errno)
            }
            errno => Error::system("finish a session", errno),
        })
    }

    /// The name of the session.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if the kernel cannot say: before 7.2 without `/proc`, and names of more than
    /// 38 bytes (`ENAMETOOLONG`).
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// assert_eq!(session.name()?.as_bytes(), b"vm-17");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(&self) -> Result<SessionName> {
        name(self.as_fd())
    }

    /// The bare descriptor, for a custodian: an agent, systemd's fd store, a static. With the C
    /// implementation, closing the last one destroys the files that were not retrieved.
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().retrieve(&"vm-17".parse()?)?;
    /// let fd: std::os::fd::OwnedFd = session.into_fd();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_fd(self) -> OwnedFd {
        self.fd.into_fd()
    }
}

#[cold]
fn lost(token: Token, errno: Errno) -> Error {
    let why = format!("the file with token {token} could not be restored, and never will be");
    Error::new(ErrorKind::RetrieveFailed, why).caused_by(errno).about(token)
}

/// Checks that it is an incoming session, as far as the kernel can say ([`IncomingSession::from_fd`]).
impl TryFrom<OwnedFd> for IncomingSession {
    type Error = FromFdError;

    fn try_from(fd: OwnedFd) -> std::result::Result<Self, FromFdError> {
        match check(fd.as_fd(), Direction::Incoming) {
            Ok(()) => Ok(Self::new(fd)),
            Err(source) => Err(FromFdError::new(fd, source)),
        }
    }
}

impl From<IncomingSession> for OwnedFd {
    fn from(session: IncomingSession) -> Self {
        session.into_fd()
    }
}

impl AsFd for IncomingSession {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
