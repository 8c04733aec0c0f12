// SPDX-License-Identifier: MIT OR Apache-2.0

//! The one error of this crate.

use std::borrow::Cow;
use std::fmt;

use rustix::io::Errno;

use crate::{Token, Unavailable};

/// Why something did not work: a [kind](ErrorKind) for programs, and a sentence for people.
///
/// The sentence says what is wrong, has the kernel's error number if there is one, and ends without a
/// full stop.
///
/// ```
/// use liblu::{ErrorKind, SessionName};
///
/// let error = SessionName::new("").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidName);
/// assert_eq!(error.to_string(), "a session's name must not be empty");
/// ```
pub struct Error(Box<Detail>);

struct Detail {
    kind: ErrorKind,
    message: Cow<'static, str>,
    errno: Option<Errno>,
    token: Option<Token>,
    unavailable: Option<Unavailable>,
}

/// What went wrong, and so what to do.
///
/// ```
/// use liblu::{ErrorKind, LiveUpdate};
///
/// let error = LiveUpdate::at("/nonexistent/liveupdate").check().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Unavailable);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There are no live updates for this process; [`Error::unavailable`] says why. When a session was to be
    /// opened, go on without. When one was to be claimed, it is not known whether it came, so do not start from
    /// nothing, unless [`Error::is_cold_start`] says so.
    Unavailable,
    /// This process has not the right. Ask an agent for sessions.
    NoPermission,
    /// Another process has had the device for longer than the [`Backoff`](crate::Backoff) allows. Find
    /// out which: systemd needs the device too.
    Busy,
    /// The kernel could not read the handover of the previous kernel. Its log says why. Nothing can be
    /// retrieved until the next boot.
    Damaged,
    /// The kernel is left: `reboot(2)` has begun, or, by the word of an agent, an update or a shutdown. If it fails or
    /// is called off, everything works again.
    Leaving,

    /// Another outgoing session has the name.
    NameTaken,
    /// No session of this name came from the previous kernel, or it is finished.
    NoSession,
    /// Another descriptor or process holds the session of the previous kernel.
    Held,
    /// The descriptor is no session, or a session of the other direction.
    WrongDirection,
    /// The descriptor is a session of another name.
    WrongName,

    /// Another file of the session has the token. Or the session is idle after it was finished, and
    /// another outgoing session has its name.
    TokenTaken,
    /// The file is preserved already, in this session or another.
    AlreadyPreserved,
    /// This kernel cannot preserve files of this kind. Decide: go without the file, or cancel.
    NotPreservable,
    /// No file of the session has the token or the label.
    NoFile,
    /// The file could not be restored, and asking again gives the same answer. Start this part from
    /// nothing, and finish the session.
    RetrieveFailed,
    /// A file cannot be finished yet: its handler waits for something, for instance until all files of
    /// a device are retrieved. Nothing has changed.
    NotReady,
    /// There is no memory, descriptor or place. Nothing has changed; ask again when there is.
    NoResources,

    /// A name or a label has a form that is not allowed.
    InvalidName,
    /// Another argument has a value that is not allowed.
    InvalidArgument,
    /// Another file has the label.
    LabelTaken,
    /// There would be too much of something, such as bytes of state.
    TooLarge,

    /// The session has no manifest: another library has made it.
    NoManifest,
    /// The manifest was not complete when the kernel was left: its owner never said that it was ready.
    Incomplete,
    /// The manifest cannot be understood.
    BadManifest,
    /// A later version has written the manifest, and says that this one must not read it.
    NewerManifest,

    /// The agent cannot be reached.
    NoAgent,
    /// The policy of the agent says no.
    Refused,
    /// The update is over, or another one is being prepared: an answer to it has no effect.
    Stale,
    /// The other side has hung up.
    Disconnected,
    /// The other side has broken the rules of the protocol.
    Protocol,
    /// The deadline has passed.
    TimedOut,
    /// Not here: the source of sessions, or the kernel, does not know this.
    Unsupported,

    /// The image is no kernel that can be loaded, or the command line is too long.
    BadKernel,
    /// The kernel takes signed images only, and a signature is missing or wrong.
    BadSignature,
    /// No kernel is loaded.
    NotLoaded,
    /// `reboot(2)` has returned: as a rule, a file could not be frozen. Everything is as before.
    RebootFailed,

    /// A system call failed in a way that has no kind of its own.
    System,
}

impl ErrorKind {
    /// The number for errors of this kind that have none from the kernel.
    fn errno(self) -> Errno {
        match self {
            Self::Unavailable => Errno::NODEV,
            Self::NoPermission => Errno::ACCESS,
            Self::Busy | Self::AlreadyPreserved | Self::NotReady => Errno::BUSY,
            Self::Damaged => Errno::IO,
            Self::System | Self::RebootFailed => Errno::REMOTEIO,
            Self::Stale => Errno::CANCELED,
            Self::Leaving => Errno::SHUTDOWN,
            Self::NameTaken | Self::TokenTaken | Self::LabelTaken => Errno::EXIST,
            Self::NoSession | Self::NoFile => Errno::NOENT,
            Self::Held => Errno::ALREADY,
            Self::WrongDirection
            | Self::WrongName
            | Self::InvalidName
            | Self::InvalidArgument
            | Self::NotLoaded => Errno::INVAL,
            Self::NotPreservable | Self::Unsupported => Errno::OPNOTSUPP,
            Self::RetrieveFailed => Errno::NODATA,
            Self::NoResources => Errno::NOMEM,
            Self::TooLarge => Errno::TOOBIG,
            Self::NoManifest => Errno::NOMSG,
            Self::Incomplete => Errno::STALE,
            Self::BadManifest => Errno::BADMSG,
            Self::NewerManifest => Errno::PROTONOSUPPORT,
            Self::NoAgent => Errno::HOSTDOWN,
            Self::Refused => Errno::PERM,
            Self::Disconnected => Errno::CONNRESET,
            Self::Protocol => Errno::PROTO,
            Self::TimedOut => Errno::TIMEDOUT,
            Self::BadKernel => Errno::NOEXEC,
            Self::BadSignature => Errno::KEYREJECTED,
        }
    }

    /// Whether the kernel's own number says more than the kind.
    fn speaks_with_the_kernels_number(self) -> bool {
        matches!(self, Self::NoResources | Self::System | Self::RebootFailed | Self::InvalidName)
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self(Box::new(Detail { kind, message, errno: None, token: None, unavailable: None }))
    }

    /// An error of a system call: `doing` completes the sentence "cannot ...".
    #[cold]
    pub(crate) fn system(doing: &str, errno: Errno) -> Self {
        let kind = match errno {
            Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::NOSPC | Errno::NOBUFS => {
                ErrorKind::NoResources
            }
            _ => ErrorKind::System,
        };
        Self::new(kind, format!("cannot {doing}")).caused_by(errno)
    }

    /// The same error with another kind.
    #[cfg(feature = "kexec")]
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// With the kernel's number, which the sentence gets too.
    #[must_use]
    pub(crate) fn caused_by(mut self, errno: Errno) -> Self {
        self.0.errno = Some(errno);
        self
    }

    /// About the file with this token.
    #[must_use]
    pub(crate) fn about(mut self, token: Token) -> Self {
        self.0.token = Some(token);
        self
    }

    /// What went wrong.
    ///
    /// ```
    /// # let error = liblu::SessionName::new("a\0b").unwrap_err();
    /// assert_eq!(error.kind(), liblu::ErrorKind::InvalidName);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether nothing came from the previous kernel, for sure: no such session, or a kernel that cannot
    /// have received one. No other error is a cold start.
    ///
    /// ```
    /// let error = liblu::LiveUpdate::at("/nonexistent/liveupdate").check().unwrap_err();
    /// if error.is_cold_start() {
    ///     println!("start from nothing");
    /// }
    /// ```
    pub fn is_cold_start(&self) -> bool {
        match self.kind() {
            ErrorKind::NoSession => true,
            ErrorKind::Unavailable => self.unavailable().is_some_and(Unavailable::is_certain),
            _ => false,
        }
    }

    /// A number for callers that speak in numbers. Kinds with the same number are never errors of one function
    /// that ask for different things. For [`ErrorKind::System`], [`ErrorKind::NoResources`] and [`ErrorKind::RebootFailed`] it is
    /// the kernel's.
    ///
    /// ```
    /// # let error = liblu::SessionName::new("").unwrap_err();
    /// assert_eq!(error.errno(), rustix::io::Errno::INVAL);
    /// ```
    pub fn errno(&self) -> Errno {
        let kernels = self.0.errno.filter(|_| self.0.kind.speaks_with_the_kernels_number());
        kernels.unwrap_or_else(|| self.0.kind.errno())
    }

    /// The number that the kernel gave, if it was the kernel that said no.
    ///
    /// ```
    /// # let error = liblu::SessionName::new("").unwrap_err();
    /// assert_eq!(error.kernel_errno(), None);
    /// ```
    pub fn kernel_errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// The token of the file that this is about, if it is about one.
    ///
    /// ```
    /// # let error = liblu::SessionName::new("").unwrap_err();
    /// assert_eq!(error.token(), None);
    /// ```
    pub fn token(&self) -> Option<Token> {
        self.0.token
    }

    /// Why there are no live updates here, if that is the reason.
    ///
    /// ```
    /// let error = liblu::LiveUpdate::at("/nonexistent/liveupdate").check().unwrap_err();
    /// println!("no live updates: {}", error.unavailable().unwrap());
    /// ```
    pub fn unavailable(&self) -> Option<&Unavailable> {
        self.0.unavailable.as_ref()
    }
}

impl From<Unavailable> for Error {
    fn from(why: Unavailable) -> Self {
        let mut error =
            Self::new(ErrorKind::Unavailable, format!("there are no live updates here: {why}"));
        error.0.unavailable = Some(why);
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match self.0.errno {
            Some(errno) => write!(f, ": {errno}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &format_args!("{self}"))
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}

/// What most functions of this crate return.
///
/// ```
/// fn is_ready() -> liblu::Result<()> {
///     liblu::LiveUpdate::new().check()
/// }
/// # let _ = is_ready();
/// ```
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_the_number_of_the_kernel() {
        let error = Error::system("open the device", Errno::IO);
        assert_eq!(error.to_string(), "cannot open the device: Input/output error (os error 5)");
        assert_eq!((error.kind(), error.errno()), (ErrorKind::System, Errno::IO));
    }

    #[test]
    fn what_is_short_is_told_apart() {
        for errno in [Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::NOSPC] {
            let error = Error::system("x", errno);
            assert_eq!((error.kind(), error.errno()), (ErrorKind::NoResources, errno));
        }
    }

    #[test]
    fn a_kind_has_its_own_number_whatever_the_kernel_said() {
        let error = Error::new(ErrorKind::RetrieveFailed, "x").caused_by(Errno::NOENT);
        assert_eq!((error.errno(), error.kernel_errno()), (Errno::NODATA, Some(Errno::NOENT)));
    }

    #[test]
    fn an_error_is_small() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
