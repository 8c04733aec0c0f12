// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the two kinds of sessions have in common.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::io::Errno;

use crate::{Error, Release, Result, SessionName, Token, sys};

/// An error that hands something back and says what its source says, once.
macro_rules! speaks_as_its_source {
    ($error:ty) => {
        impl std::fmt::Display for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.source.fmt(f)
            }
        }

        impl std::error::Error for $error {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                std::error::Error::source(&self.source)
            }
        }
    };
}

mod incoming;
mod loss;
mod once;
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
#[derive(Debug)]
pub struct FromFdError {
    /// The descriptor, as it was.
    pub fd: OwnedFd,
    /// What is wrong.
    pub source: Error,
}

speaks_as_its_source!(FromFdError);

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
    /// An outgoing session says that there is no such file, an incoming one that this is the wrong
    /// direction. Where nothing shows it, the caller's word is taken.
    fn may_be_of(self, session: BorrowedFd<'_>) -> bool {
        let Some(answer) = answer_to_nothing(session) else { return true };
        match answer {
            // There is no such file, or no memory to look for it.
            // Or another thread asks the same just now, or another session has the name of a finished
            // one at present.
            Errno::BADF | Errno::NOMEM | Errno::NOSPC | Errno::EXIST => self == Self::Outgoing,
            Errno::INVAL => self == Self::Incoming,
            // The kernel is being left, and both say so.
            Errno::BUSY => true,
            _ => false,
        }
    }
}

/// What a session answers to PRESERVE_FD of no file, which changes nothing. Kernels before 7.2 do not
/// look at the direction, and would take it for a file: they are not asked.
fn answer_to_nothing(session: BorrowedFd<'_>) -> Option<Errno> {
    let can_tell = !of_running(|release| release.is_before(7, 2));
    can_tell.then(|| sys::preserve_nothing(session, Token::PROBE.get()))
}

/// Whether a descriptor is a session, by its name: what is none may take the number of a command for
/// something else.
pub(crate) fn is_session(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(match link(fd.as_raw_fd())? {
        Link::Session(_) => true,
        // Kernels without GET_NAME refuse it as a wrong argument, other files as no command at all.
        Link::Long => matches!(sys::get_name(fd), Ok(_) | Err(Errno::INVAL)),
        Link::Other => false,
    })
}

/// Checks that a descriptor is a session of this direction.
fn check(session: BorrowedFd<'_>, direction: Direction) -> Result<()> {
    let is_right = is_session(session)? && direction.may_be_of(session);
    if is_right { Ok(()) } else { Err(Error::WrongDirection { expected: direction.name() }) }
}

/// Checks that a session has this name, as far as the kernel can say.
fn check_name(session: BorrowedFd<'_>, expected: &SessionName) -> Result<()> {
    match known_name(session)? {
        Some(found) if found == *expected => Ok(()),
        Some(found) => {
            Err(Error::WrongName { expected: Box::new(*expected), found: Box::new(found) })
        }
        // The caller's word is taken, if such a name is too long for the link.
        None if expected.as_bytes().len() > LONGEST_IN_LINK => Ok(()),
        None => Err(unreadable(Errno::NAMETOOLONG)),
    }
}

static RUNNING: OnceLock<Release> = OnceLock::new();

/// Asks about the running kernel.
fn of_running(question: impl FnOnce(&Release) -> bool) -> bool {
    #[cfg(test)]
    if let Some(release) = crate::fake::release() {
        return question(&release);
    }
    question(RUNNING.get_or_init(Release::running))
}

fn unreadable(source: Errno) -> Error {
    Error::System { doing: "read the name of a session", source }
}

/// The name of a session.
fn name(session: BorrowedFd<'_>) -> Result<SessionName> {
    known_name(session)?.ok_or(unreadable(Errno::NAMETOOLONG))
}

/// The name of a session, by GET_NAME, or by the text of its link on kernels without; `None` if it is
/// too long for that.
fn known_name(session: BorrowedFd<'_>) -> Result<Option<SessionName>> {
    match sys::get_name(session) {
        Ok(name) => Ok(Some(SessionName::from_array(&name)?)),
        Err(Errno::NOTTY | Errno::INVAL) => match link(session.as_raw_fd())? {
            Link::Session(name) => Ok(Some(name)),
            Link::Long => Ok(None),
            Link::Other => Err(unreadable(Errno::NOTTY)),
        },
        Err(source) => Err(unreadable(source)),
    }
}

/// What the link of a session's descriptor begins with.
const LINK: &[u8] = b"anon_inode:[luo_session] ";

/// Bytes of a name for which kernels have room that have 64 bytes for the text of a link.
const LONGEST_IN_LINK: usize = 63 - LINK.len();

/// What the link of a descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// It is a session of this name.
    Session(SessionName),
    /// Its text is too long for kernels that have 64 bytes for it: a session whose name has 39 or more,
    /// as a rule.
    Long,
    /// It is something else.
    Other,
}

fn link(fd: RawFd) -> Result<Link> {
    match sys::link(&proc("fd", fd)) {
        Ok(text) => {
            let name = text.strip_prefix(LINK).and_then(|name| SessionName::new(name).ok());
            Ok(name.map_or(Link::Other, Link::Session))
        }
        Err(Errno::NAMETOOLONG) => Ok(Link::Long),
        Err(source) => {
            Err(Error::System { doing: "look at a descriptor in /proc/self/fd", source })
        }
    }
}

/// A file in `/proc` about a descriptor of this process.
fn proc(folder: &str, fd: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/{folder}/{fd}"))
}

#[cfg(test)]
mod tests;
