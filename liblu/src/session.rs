// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the two kinds of sessions have in common.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::io::Errno;

use crate::{Error, Release, Result, SessionName, Token, sys};

mod incoming;
mod loss;
mod outgoing;

pub use incoming::{FinishError, IncomingSession};
pub(crate) use loss::survives_close;
pub use loss::{LossHook, set_loss_hook};
pub use outgoing::OutgoingSession;

/// Why a descriptor is not the session that was wanted, and the descriptor.
///
/// ```
/// use std::os::fd::OwnedFd;
/// use liblu::OutgoingSession;
///
/// let null = OwnedFd::from(std::fs::File::open("/dev/null")?);
/// let error = OutgoingSession::try_from(null).unwrap_err();
/// assert_eq!(error.to_string(), "this is no outgoing session");
/// let null: OwnedFd = error.fd;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct FromFdError {
    /// The descriptor, as it was.
    pub fd: OwnedFd,
    /// What is wrong.
    pub source: Error,
}

/// Which way a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Outgoing,
    Incoming,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::Incoming => "incoming",
        }
    }

    /// Whether a session may be one of this direction.
    ///
    /// PRESERVE_FD of no file changes nothing: an outgoing session says that there is no such file,
    /// an incoming one that this is the wrong direction. Kernels before 7.2 warn about that, so they
    /// are not asked, and the name alone is what shows that it is a session.
    fn may_be_of(self, session: BorrowedFd<'_>) -> bool {
        if warns_about_directions() {
            return true;
        }
        match sys::preserve_nothing(session, Token::MANIFEST.get()) {
            // The token is taken; or the session is finished, but its name was taken.
            Errno::BADF | Errno::EXIST => self == Self::Outgoing,
            Errno::INVAL => self == Self::Incoming,
            // The kernel is being left, and both say so.
            Errno::BUSY => true,
            _ => false,
        }
    }
}

/// Checks that a descriptor is a session of this direction.
fn check(session: BorrowedFd<'_>, direction: Direction) -> Result<()> {
    // What is no session may take such a number for something else: its name comes first.
    let is_right = by_link(session.as_raw_fd()).is_some() && direction.may_be_of(session);
    if is_right { Ok(()) } else { Err(Error::WrongDirection { expected: direction.name() }) }
}

/// Checks that a session has this name.
fn check_name(session: BorrowedFd<'_>, expected: &SessionName) -> Result<()> {
    let found = name(session)?;
    if found == *expected {
        return Ok(());
    }
    Err(Error::WrongName { expected: Box::new(*expected), found: Box::new(found) })
}

static WARNS: OnceLock<bool> = OnceLock::new();

/// Whether the running kernel warns if it is asked the wrong kind of session.
fn warns_about_directions() -> bool {
    #[cfg(test)]
    if let Some(release) = crate::fake::release() {
        return release.is_before(7, 2);
    }
    *WARNS.get_or_init(|| Release::running().is_before(7, 2))
}

/// The name of a session, by GET_NAME, or by the text of its link on kernels without.
fn name(session: BorrowedFd<'_>) -> Result<SessionName> {
    // Anything may take these numbers for something else, so it must be a session.
    let by_link = by_link(session.as_raw_fd());
    let Some(by_link) = by_link else {
        return Err(Error::System { doing: "read the name of a session", source: Errno::NOTTY });
    };
    match sys::get_name(session) {
        Ok(name) => Ok(SessionName::from_array(&name)?),
        Err(Errno::NOTTY | Errno::INVAL) => Ok(by_link),
        Err(source) => Err(Error::System { doing: "read the name of a session", source }),
    }
}

/// What the link of a session's descriptor begins with.
const LINK: &[u8] = b"anon_inode:[luo_session] ";

/// The name of a session, by the text of its link.
fn by_link(fd: RawFd) -> Option<SessionName> {
    let text = sys::link(&proc("fd", fd))?;
    SessionName::new(text.strip_prefix(LINK)?).ok()
}

/// A file in `/proc` about a descriptor of this process.
fn proc(folder: &str, fd: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/{folder}/{fd}"))
}

#[cfg(test)]
mod tests;
