// SPDX-License-Identifier: MIT OR Apache-2.0

//! What can go wrong, and what it means.

use std::time::Duration;

use rustix::io::Errno;

use crate::{NameError, SessionName, Token, Unavailable};

/// Why something did not work.
///
/// The texts say what is wrong and end without a full stop; [`std::error::Error::source`] has what
/// lies behind. [`Error::errno`] is the kernel's number.
///
/// ```
/// use liblu::{Error, Token};
///
/// let error = Error::NoFile(Token::from(7));
/// assert_eq!(error.to_string(), "the session has no file with token 0x7");
/// assert_eq!(error.errno(), rustix::io::Errno::NOENT);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are no live updates here.
    #[error("there are no live updates here")]
    Unavailable(#[from] Unavailable),
    /// Another process had the device for longer than the [`Backoff`](crate::Backoff) allows.
    /// Whoever holds it for more than milliseconds is to blame: systemd needs it too.
    #[error("another process holds the device, and has for {waited:?}")]
    Busy {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The kernel could not restore the sessions of the last one. Its log says why. Nothing can be
    /// done until the next boot.
    #[error("the kernel cannot restore what the last one handed over; its log says why")]
    Damaged,
    /// Another outgoing session has the name.
    #[error("there is an outgoing session {0:?} already")]
    NameTaken(Box<SessionName>),
    /// There is no such incoming session: it was not handed over, or it is finished.
    #[error("no session {0:?} came from the last kernel, or it is finished")]
    NoSession(Box<SessionName>),
    /// Somebody holds a descriptor of the incoming session.
    #[error("somebody else holds the session {0:?}")]
    Held(Box<SessionName>),
    /// Another file of the session has the token. Or the session is idle after it was finished, and
    /// another outgoing session has its name: it can be used when the other is gone.
    #[error(
        "the session has a file with token {0} already, or it is finished and another has its name"
    )]
    TokenTaken(Token),
    /// The file is preserved already, in this session or another; or the kernel is being left.
    #[error("the file for token {0} is preserved already, or the kernel is being left")]
    AlreadyPreserved(Token),
    /// This kernel does not know how to preserve files of this kind.
    #[error("the kernel cannot preserve a file such as that for token {0}")]
    NotPreservable(Token),
    /// No file of the session has the token.
    #[error("the session has no file with token {0}")]
    NoFile(Token),
    /// The file could not be restored. It never can: asking again gives the same answer, which this
    /// library remembers where the kernel does not (CVE-2026-43489).
    #[error("the file with token {token} could not be restored, and never will be")]
    RetrieveFailed {
        /// The file.
        token: Token,
        /// What the kernel said.
        source: Errno,
    },
    /// A file cannot be finished yet: something is missing that its handler waits for, for instance
    /// that all files of a device are retrieved. Nothing has changed.
    #[error("a file of the session cannot be finished yet, or the kernel is being left")]
    NotReady,
    /// The descriptor is that of no session, or of one of the other direction.
    #[error("this is no {expected} session")]
    WrongDirection {
        /// `outgoing` or `incoming`.
        expected: &'static str,
    },
    /// What the descriptor holds has another name.
    #[error("this is the session {found:?}, not {expected:?}")]
    WrongName {
        /// Who was asked for.
        expected: Box<SessionName>,
        /// Who it is.
        found: Box<SessionName>,
    },
    /// Something is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A system call failed in a way that has no name above.
    #[error("cannot {doing}")]
    System {
        /// What was to be done.
        doing: &'static str,
        /// What the kernel said.
        source: Errno,
    },
}

impl Error {
    /// The kernel's number for this, for callers that speak in numbers.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let busy = liblu::Error::Busy { waited: Duration::ZERO };
    /// assert_eq!(busy.errno(), rustix::io::Errno::BUSY);
    /// ```
    pub fn errno(&self) -> Errno {
        match self {
            Self::Unavailable(unavailable) => unavailable.errno(),
            Self::Busy { .. } | Self::AlreadyPreserved(_) | Self::NotReady => Errno::BUSY,
            Self::Damaged => Errno::IO,
            Self::NameTaken(_) | Self::TokenTaken(_) => Errno::EXIST,
            Self::NoSession(_) | Self::NotPreservable(_) | Self::NoFile(_) => Errno::NOENT,
            Self::Name(NameError::TooLong(_)) => Errno::NAMETOOLONG,
            Self::Held(_)
            | Self::WrongDirection { .. }
            | Self::WrongName { .. }
            | Self::Name(_) => Errno::INVAL,
            Self::RetrieveFailed { source, .. } | Self::System { source, .. } => *source,
        }
    }
}

/// What most functions of this crate return.
///
/// ```
/// fn is_ready() -> liblu::Result<()> {
///     liblu::LiveUpdate::new().check()
/// }
/// # let _ = is_ready();
/// ```
pub type Result<T> = std::result::Result<T, Error>;
