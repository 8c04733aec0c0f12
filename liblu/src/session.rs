// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the two kinds of sessions have in common.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;

use liveupdate_uapi::GetInfo;
use rustix::io::Errno;

use crate::{Error, ErrorKind, Result, SessionName, Token, running, sys};

mod incoming;
mod kept;
mod once;
mod outgoing;

pub use incoming::IncomingSession;
pub use kept::{FromFdError, LossHook, set_loss_hook};
pub use outgoing::OutgoingSession;

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

    /// Whether a session may be one of this direction. Where the kernel cannot say, the caller's word is
    /// taken.
    fn may_be_of(self, session: BorrowedFd<'_>) -> bool {
        match sys::get_info(session) {
            Ok(info) => match info.state {
                GetInfo::OUTGOING | GetInfo::IDLE => self == Self::Outgoing,
                GetInfo::INCOMING => self == Self::Incoming,
                _ => false,
            },
            Err(_) => self.fits(answer_to_nothing(session)),
        }
    }

    /// Whether a session of this direction may answer so to PRESERVE_FD of no file: an outgoing session
    /// says that there is no such file, an incoming one that this is the wrong direction.
    fn fits(self, answer: Option<Errno>) -> bool {
        match answer {
            // The kernel cannot say, or all commands are refused.
            None | Some(Errno::BUSY) => true,
            Some(Errno::INVAL) => self == Self::Incoming,
            // There is no such file, or no memory or place for it.
            Some(_) => self == Self::Outgoing,
        }
    }

    fn wrong(self) -> Error {
        Error::new(ErrorKind::WrongDirection, format!("this is no {} session", self.name()))
    }
}

/// The answer of a session to PRESERVE_FD of no file, which changes nothing. Kernels before 7.2 do not
/// look at the direction, and would take it for a file: they are not asked.
fn answer_to_nothing(session: BorrowedFd<'_>) -> Option<Errno> {
    let can_tell = !running::is_before(session, 7, 2);
    can_tell.then(|| sys::preserve_nothing(session, Token::PROBE.get()))
}

/// Whether `reboot(2)` has begun, so that all commands that change something are `EBUSY`. On C, they
/// block instead.
fn is_being_left(session: BorrowedFd<'_>) -> bool {
    answer_to_nothing(session) == Some(Errno::BUSY)
}

pub(crate) fn leaving(doing: &str) -> Error {
    let why = format!("cannot {doing}, because reboot(2) has begun");
    Error::new(ErrorKind::Leaving, why).caused_by(Errno::BUSY)
}

/// Whether closing the last descriptor destroys nothing, whatever the descriptor is.
fn closing_is_harmless(fd: BorrowedFd<'_>) -> bool {
    match sys::get_info(fd) {
        Ok(info) => match info.state {
            GetInfo::IDLE => true,
            GetInfo::INCOMING => info.features & GetInfo::RETRIEVE_AFTER_CLOSE != 0,
            _ => false,
        },
        Err(_) => matches!(is_session(fd), Ok(false)),
    }
}

/// Whether a descriptor is a session. Other kinds of files may take the number of a command for
/// something else, so only files on the anonymous inode are asked.
pub(crate) fn is_session(fd: BorrowedFd<'_>) -> Result<bool> {
    if !sys::is_anonymous_inode(fd).map_err(|errno| Error::system("look at a descriptor", errno))? {
        return Ok(false);
    }
    match sys::get_name(fd) {
        Ok(_) => Ok(true),
        Err(Errno::NOTTY | Errno::INVAL) if !running::is_before(fd, 7, 2) => Ok(false),
        // Kernels before 7.2 refuse it as a wrong argument, other files as no command at all.
        Err(Errno::NOTTY | Errno::INVAL) => Ok(!matches!(link(fd.as_raw_fd())?, Link::Other)),
        Err(errno) => Err(unreadable(errno)),
    }
}

/// Checks that a descriptor is a session of this direction.
fn check(session: BorrowedFd<'_>, direction: Direction) -> Result<()> {
    let is_right = is_session(session)? && direction.may_be_of(session);
    if is_right { Ok(()) } else { Err(direction.wrong()) }
}

/// Checks that a session has this name, as far as the kernel can say.
fn check_name(session: BorrowedFd<'_>, expected: &SessionName) -> Result<()> {
    match known_name(session)? {
        Some(found) if found == *expected => Ok(()),
        Some(found) => {
            let why = format!("this is the session {found:?}, not {expected:?}");
            Err(Error::new(ErrorKind::WrongName, why))
        }
        // The caller's word is taken, if such a name is too long for the link.
        None if expected.as_bytes().len() > LONGEST_IN_LINK => Ok(()),
        None => Err(unreadable(Errno::NAMETOOLONG)),
    }
}

fn unreadable(errno: Errno) -> Error {
    Error::system("read the name of a session", errno)
}

/// The name of a session.
fn name(session: BorrowedFd<'_>) -> Result<SessionName> {
    known_name(session)?.ok_or_else(|| unreadable(Errno::NAMETOOLONG))
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
        Err(errno) => Err(unreadable(errno)),
    }
}

/// The beginning of the link of a session's descriptor.
const LINK: &[u8] = b"anon_inode:[luo_session] ";

/// Bytes of a name for which kernels have room that have 64 bytes for the text of a link.
const LONGEST_IN_LINK: usize = 63 - LINK.len();

/// The link of a descriptor.
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
    match sys::link(&PathBuf::from(format!("/proc/thread-self/fd/{fd}"))) {
        Ok(text) => {
            let name = text.strip_prefix(LINK).and_then(|name| SessionName::new(name).ok());
            Ok(name.map_or(Link::Other, Link::Session))
        }
        Err(Errno::NAMETOOLONG) => Ok(Link::Long),
        Err(errno) => Err(Error::system("look at a descriptor in /proc/self/fd", errno)),
    }
}

#[cfg(test)]
mod tests;
