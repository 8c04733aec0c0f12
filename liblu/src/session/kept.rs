// SPDX-License-Identifier: MIT OR Apache-2.0

//! Descriptors whose close may destroy a session: dropping them destroys nothing.

use std::fmt;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::{PoisonError, RwLock};

use super::{closing_is_harmless, name};
use crate::{Error, SessionName};

/// The function that is called when a session is dropped that must not be closed.
///
/// It gets the session's name, if that can be read. It should not panic: the session may be dropped
/// because of a panic, and then the process is aborted.
///
/// ```
/// let hook: liblu::LossHook = |name| eprintln!("dropped: {name:?}");
/// # hook(None);
/// ```
pub type LossHook = fn(Option<&SessionName>);

static HOOK: RwLock<LossHook> = RwLock::new(shout);

fn shout(name: Option<&SessionName>) {
    let name = name.map(|name| format!(" {name:?}")).unwrap_or_default();
    // A panic here would lose the other sessions too, so an error is ignored.
    let _ = writeln!(
        std::io::stderr(),
        "liblu: the session{name} is dropped unfinished. Closing it would destroy its files, so it stays \
         open until this process ends; call finish() or into_fd()"
    );
}

/// Calls `hook` when an unfinished session is dropped where closing it would destroy its files, and
/// returns the hook before. Without a hook, a line is written to standard error.
///
/// The descriptor stays open until the process ends: nothing is lost yet. It is a bug of the program all
/// the same, for the files are lost when the process ends and no other process holds the session.
///
/// ```
/// let before = liblu::set_loss_hook(|name| std::process::abort());
/// # liblu::set_loss_hook(before);
/// ```
pub fn set_loss_hook(hook: LossHook) -> LossHook {
    std::mem::replace(&mut *HOOK.write().unwrap_or_else(PoisonError::into_inner), hook)
}

/// A descriptor that is closed on drop only if that destroys nothing, and stays open otherwise.
#[derive(Debug)]
pub(super) struct KeptFd {
    /// Present until it is dropped.
    fd: Option<OwnedFd>,
    /// A custodian has another descriptor of the session: dropping this one is no mistake.
    is_held_elsewhere: bool,
}

impl KeptFd {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd: Some(fd), is_held_elsewhere: false }
    }

    pub(super) fn held_elsewhere(fd: OwnedFd) -> Self {
        Self { fd: Some(fd), is_held_elsewhere: true }
    }

    /// The bare descriptor.
    #[expect(clippy::expect_used, reason = "the descriptor is taken here and on drop alone")]
    pub(super) fn into_fd(mut self) -> OwnedFd {
        self.fd.take().expect("a descriptor")
    }
}

impl AsFd for KeptFd {
    #[inline]
    #[expect(
        clippy::expect_used,
        reason = "the descriptor is taken when `self` goes, and not before"
    )]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("a descriptor").as_fd()
    }
}

impl Drop for KeptFd {
    fn drop(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        if closing_is_harmless(fd.as_fd()) {
            return;
        }
        let name = name(fd.as_fd()).ok();
        // A custodian may have ended meanwhile, so this may be the last descriptor.
        let _stays_open = fd.into_raw_fd();
        if !self.is_held_elsewhere {
            let hook = *HOOK.read().unwrap_or_else(PoisonError::into_inner);
            hook(name.as_ref());
        }
    }
}

/// A descriptor that is not the session that was expected, and the reason.
///
/// Dropping it, as `?` does, destroys nothing: if the descriptor is a session whose files closing would
/// destroy, it stays open until the process ends ([`set_loss_hook`]).
///
/// ```
/// use std::os::fd::OwnedFd;
/// use liblu::OutgoingSession;
///
/// let null = OwnedFd::from(std::fs::File::open("/dev/null")?);
/// let error = OutgoingSession::try_from(null).unwrap_err();
/// assert_eq!(error.to_string(), "this is no outgoing session");
/// let null: OwnedFd = error.into_fd();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct FromFdError {
    fd: KeptFd,
    source: Error,
}

impl FromFdError {
    pub(super) fn new(fd: OwnedFd, source: Error) -> Self {
        Self { fd: KeptFd::new(fd), source }
    }

    /// The reason.
    ///
    /// ```
    /// # let null = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null")?);
    /// let error = liblu::OutgoingSession::try_from(null).unwrap_err();
    /// assert_eq!(error.error().kind(), liblu::ErrorKind::WrongDirection);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn error(&self) -> &Error {
        &self.source
    }

    /// The descriptor, as it was, and the reason.
    ///
    /// ```
    /// # let null = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null")?);
    /// let (null, error) = liblu::OutgoingSession::try_from(null).unwrap_err().into_parts();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_parts(self) -> (OwnedFd, Error) {
        (self.fd.into_fd(), self.source)
    }

    /// The descriptor, as it was.
    ///
    /// ```
    /// # let null = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null")?);
    /// let null = liblu::OutgoingSession::try_from(null).unwrap_err().into_fd();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_fd(self) -> OwnedFd {
        self.fd.into_fd()
    }
}

impl fmt::Debug for FromFdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fd = self.fd.as_fd().as_raw_fd();
        f.debug_struct("FromFdError").field("fd", &fd).field("error", &self.source).finish()
    }
}

impl fmt::Display for FromFdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for FromFdError {}

/// The descriptor is dropped, which destroys nothing.
impl From<FromFdError> for Error {
    fn from(error: FromFdError) -> Self {
        error.source
    }
}
