// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions for the next kernel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::once::Once;
use super::{Direction, FromFdError, check, check_name, name};
use crate::{Error, Result, SessionName, Token, sys};

/// A session for the next kernel: what is preserved in it survives `reboot(KEXEC)`.
///
/// It lives for as long as somebody holds a descriptor of it. Dropping the last one unpreserves all
/// files, from the last to the first, and nothing else happens to them.
///
/// The descriptor can be sent to others ([`passing`](crate::passing)), who need no rights at all:
/// whoever has it can preserve files.
#[derive(Debug)]
pub struct OutgoingSession {
    fd: OwnedFd,
    once: Option<Once>,
}

impl OutgoingSession {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd, once: Once::if_needed() }
    }

    /// Takes over a descriptor of the session `name`, as it comes from an agent or from systemd.
    ///
    /// # Errors
    ///
    /// [`Error::WrongDirection`] if it is no outgoing session, [`Error::WrongName`] if it is another.
    /// [`Error::System`] without `/proc`. The descriptor comes back. Kernels before 7.2 cannot say which
    /// direction a session has, nor its name if that has more than 38 bytes: there, whoever sends it
    /// must be right.
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
            Err(source) => Err(FromFdError { fd: session.fd, source }),
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
    /// [`Error::TokenTaken`], [`Error::AlreadyPreserved`], [`Error::NotPreservable`], or what the
    /// file's handler says. Nothing has changed then. Kernels before 7.1 do not refuse a memfd that is
    /// preserved already; there, this session remembers what it was given.
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
        result.map_err(|errno| preserve_error(token, errno))
    }

    /// The name of the session.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the kernel cannot say: before 7.2 without `/proc`, and names of more than 38
    /// bytes (`ENAMETOOLONG`).
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().create(&"vm-17".parse()?)?;
    /// assert_eq!(session.name()?.as_bytes(), b"vm-17");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(&self) -> Result<SessionName> {
        name(self.fd.as_fd())
    }
}

#[cold]
fn preserve_error(token: Token, errno: Errno) -> Error {
    match errno {
        Errno::EXIST => Error::TokenTaken(token),
        Errno::BUSY => Error::AlreadyPreserved(token),
        Errno::NOENT => Error::NotPreservable(token),
        source => Error::System { doing: "preserve a file", source },
    }
}

/// Checks that it is an outgoing session, as far as the kernel can say ([`OutgoingSession::from_fd`]).
impl TryFrom<OwnedFd> for OutgoingSession {
    type Error = FromFdError;

    fn try_from(fd: OwnedFd) -> std::result::Result<Self, FromFdError> {
        match check(fd.as_fd(), Direction::Outgoing) {
            Ok(()) => Ok(Self::new(fd)),
            Err(source) => Err(FromFdError { fd, source }),
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
