// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions for the next kernel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::once::Once;
use super::{Direction, FromFdError, check, check_name, is_being_left, leaving, name};
use crate::{Error, ErrorKind, Result, SessionName, Token, sys};

/// A session for the next kernel: files that are preserved in it survive `reboot(KEXEC)`.
///
/// It lives for as long as a process holds a descriptor of it. Closing the last one unpreserves all
/// files, from the last to the first, and nothing else happens to them.
///
/// The descriptor can be sent to other processes ([`passing`](crate::passing)), which can preserve files
/// with it and need no rights.
#[derive(Debug)]
pub struct OutgoingSession {
    fd: OwnedFd,
    once: Option<Once>,
}

impl OutgoingSession {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { once: Once::if_needed(fd.as_fd()), fd }
    }

    /// Takes over a descriptor of the session `name`, as an agent or systemd passes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongDirection`] if it is no outgoing session, [`ErrorKind::WrongName`] if it is
    /// another. The descriptor comes back. Kernels before 7.2 cannot say which direction a session has,
    /// and need `/proc` to say its name, which they cannot if it has more than 38 bytes: there, the
    /// sender must be right.
    ///
    /// ```no_run
    /// use std::os::fd::OwnedFd;
    /// use liblu::OutgoingSession;
    ///
    /// # fn from_somewhere() -> OwnedFd { unimplemented!() }
    /// let fd: OwnedFd = from_somewhere();
    /// let session = OutgoingSession::from_fd(fd, &"vm-17".parse()?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_fd(fd: OwnedFd, name: &SessionName) -> std::result::Result<Self, FromFdError> {
        let session = Self::try_from(fd)?;
        match check_name(session.as_fd(), name) {
            Ok(()) => Ok(session),
            Err(source) => Err(FromFdError::new(session.fd, source)),
        }
    }

    /// Preserves an open file. It stays open here, and comes back under `token` in the next kernel.
    ///
    /// Files that depend on each other must be preserved in the order in which they do; the docs of
    /// their handlers say which that is. A memfd keeps the size that it has now, and its holes are
    /// filled.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TokenTaken`], [`ErrorKind::AlreadyPreserved`], [`ErrorKind::NotPreservable`],
    /// [`ErrorKind::Leaving`], or the error of the file's handler. Nothing has changed then. Kernels before
    /// 7.1 do not refuse a memfd that is preserved already; there, this value remembers its files.
    ///
    /// ```no_run
    /// use liblu::{LiveUpdate, Token};
    ///
    /// let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?;
    /// let session = LiveUpdate::new().create(&"vm-17".parse()?)?;
    /// session.preserve(Token::from(1), &memory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn preserve(&self, token: Token, file: impl AsFd) -> Result<()> {
        let file = file.as_fd();
        let preserve = || sys::preserve_fd(self.fd.as_fd(), file, token.get());
        let result = match &self.once {
            None => preserve(),
            Some(once) => once.preserve(file, preserve),
        };
        match result {
            Ok(()) => Ok(()),
            // As for RETRIEVE_FD, reboot(2) may have failed since.
            Err(Errno::BUSY) if self.once.is_none() && !is_being_left(self.fd.as_fd()) => {
                preserve().map_err(|errno| self.preserve_error(token, errno))
            }
            Err(errno) => Err(self.preserve_error(token, errno)),
        }
    }

    /// The name of the session.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if the kernel cannot say: before 7.2 without `/proc`, and names of more than
    /// 38 bytes (`ENAMETOOLONG`).
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().create(&"vm-17".parse()?)?;
    /// assert_eq!(session.name()?.as_bytes(), b"vm-17");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(&self) -> Result<SessionName> {
        name(self.fd.as_fd())
    }

    /// The bare descriptor, for a custodian or another process. Closing the last one undoes everything.
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().create(&"vm-17".parse()?)?;
    /// let fd: std::os::fd::OwnedFd = session.into_fd();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    #[cold]
    fn preserve_error(&self, token: Token, errno: Errno) -> Error {
        let error = match errno {
            Errno::EXIST => {
                let why = format!(
                    "the session has a file with token {token} already, or it is finished and another \
                     session has its name"
                );
                Error::new(ErrorKind::TokenTaken, why).caused_by(errno)
            }
            Errno::BUSY if is_being_left(self.as_fd()) => leaving("preserve a file"),
            Errno::BUSY => {
                let why = format!("the file for token {token} is preserved already");
                Error::new(ErrorKind::AlreadyPreserved, why).caused_by(errno)
            }
            Errno::NOENT => {
                let why =
                    format!("the kernel cannot preserve a file such as that for token {token}");
                Error::new(ErrorKind::NotPreservable, why).caused_by(errno)
            }
            Errno::INVAL if !Direction::Outgoing.may_be_of(self.as_fd()) => {
                Direction::Outgoing.wrong().caused_by(errno)
            }
            errno => Error::system("preserve a file", errno),
        };
        error.about(token)
    }
}

/// Checks that it is an outgoing session, as far as the kernel can say ([`OutgoingSession::from_fd`]).
impl TryFrom<OwnedFd> for OutgoingSession {
    type Error = FromFdError;

    fn try_from(fd: OwnedFd) -> std::result::Result<Self, FromFdError> {
        match check(fd.as_fd(), Direction::Outgoing) {
            Ok(()) => Ok(Self::new(fd)),
            Err(source) => Err(FromFdError::new(fd, source)),
        }
    }
}

impl From<OutgoingSession> for OwnedFd {
    fn from(session: OutgoingSession) -> Self {
        session.fd
    }
}

impl AsFd for OutgoingSession {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
