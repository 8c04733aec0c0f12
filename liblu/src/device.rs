// SPDX-License-Identifier: MIT OR Apache-2.0

//! `/dev/liveupdate`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::session::leaving;
use crate::{
    Backoff, Error, ErrorKind, IncomingSession, OutgoingSession, Result, SessionName, Unavailable,
    sys,
};

/// The device that creates and retrieves sessions.
///
/// One process at a time can have it open, and other processes need it too: systemd opens it when it
/// starts and when it stops, and loses its fd stores if the device is busy. So the device is opened for
/// each call, and closed at once. Sessions do not need it.
///
/// ```no_run
/// use liblu::{LiveUpdate, Token};
///
/// let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?;
/// let session = LiveUpdate::new().create(&"vm-17".parse()?)?;
/// session.preserve(Token::from(1), &memory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveUpdate {
    path: PathBuf,
    backoff: Backoff,
}

impl Default for LiveUpdate {
    fn default() -> Self {
        Self::new()
    }
}

impl LiveUpdate {
    /// The device where it is on every system.
    ///
    /// ```
    /// let device = liblu::LiveUpdate::new();
    /// # drop(device);
    /// ```
    pub fn new() -> Self {
        Self::at(liveupdate_uapi::DEVICE)
    }

    /// The device at another path, as in a container.
    ///
    /// ```
    /// use liblu::{ErrorKind, LiveUpdate};
    ///
    /// let device = LiveUpdate::at("/nonexistent/liveupdate");
    /// assert_eq!(device.check().unwrap_err().kind(), ErrorKind::Unavailable);
    /// ```
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), backoff: Backoff::default() }
    }

    /// Waits in another way for a device that is busy.
    ///
    /// ```
    /// let device = liblu::LiveUpdate::new().with_backoff(liblu::Backoff::NONE);
    /// # drop(device);
    /// ```
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How it waits for a device that is busy.
    #[cfg(feature = "agent")]
    pub(crate) fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// Where it is.
    ///
    /// ```
    /// assert_eq!(liblu::LiveUpdate::new().path().to_str(), Some("/dev/liveupdate"));
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens and closes the device: whether there are live updates here, and this process may open it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`], [`ErrorKind::NoPermission`], [`ErrorKind::Busy`],
    /// [`ErrorKind::Damaged`].
    ///
    /// ```no_run
    /// if let Err(error) = liblu::LiveUpdate::new().check() {
    ///     eprintln!("this VM will not survive an update of the kernel: {error}");
    /// }
    /// ```
    pub fn check(&self) -> Result<()> {
        self.open().map(drop)
    }

    /// Creates a session for the next kernel.
    ///
    /// It lives for as long as a process holds a descriptor of it: closing the last one undoes all that
    /// was preserved in it. Hold it until `reboot(2)`, or pass it to a custodian.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NameTaken`], [`ErrorKind::Leaving`], and those of [`LiveUpdate::check`].
    ///
    /// ```no_run
    /// let session = liblu::LiveUpdate::new().create(&"vm-17".parse()?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(&self, name: &SessionName) -> Result<OutgoingSession> {
        let device = self.open()?;
        match sys::create_session(device.as_fd(), name) {
            Ok(fd) => Ok(OutgoingSession::new(fd)),
            Err(Errno::EXIST) => {
                let why = format!("there is an outgoing session {name:?} already");
                Err(Error::new(ErrorKind::NameTaken, why).caused_by(Errno::EXIST))
            }
            Err(Errno::BUSY) => Err(leaving("create a session")),
            Err(errno) => Err(Error::system("create a session", errno)),
        }
    }

    /// Takes over a session of the previous kernel.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSession`] if it did not come, [`ErrorKind::Held`] while another descriptor of it is
    /// open, [`ErrorKind::Leaving`], and those of [`LiveUpdate::check`]. None of these but `NoSession` is a
    /// cold start.
    ///
    /// ```no_run
    /// use liblu::{ErrorKind, LiveUpdate};
    ///
    /// let device = LiveUpdate::new();
    /// match device.retrieve(&"vm-17".parse()?) {
    ///     Ok(session) => println!("the VM goes on"),
    ///     Err(error) if error.kind() == ErrorKind::NoSession => println!("the VM starts"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retrieve(&self, name: &SessionName) -> Result<IncomingSession> {
        let device = self.open()?;
        match sys::retrieve_session(device.as_fd(), name) {
            Ok(fd) => Ok(IncomingSession::new(fd)),
            Err(Errno::NOENT) => {
                let why =
                    format!("no session {name:?} came from the previous kernel, or it is finished");
                Err(Error::new(ErrorKind::NoSession, why).caused_by(Errno::NOENT))
            }
            Err(Errno::INVAL) => {
                let why = format!("another descriptor of the session {name:?} is open");
                Err(Error::new(ErrorKind::Held, why).caused_by(Errno::INVAL))
            }
            Err(Errno::BUSY) => Err(leaving("retrieve a session")),
            Err(errno) => Err(Error::system("retrieve a session", errno)),
        }
    }

    fn open(&self) -> Result<OwnedFd> {
        let mut waited = Duration::ZERO;
        let mut waits = self.backoff.waits();
        loop {
            match sys::open(&self.path) {
                Ok(device) => return Ok(device),
                Err(Errno::BUSY) => {
                    let Some(wait) = waits.next() else {
                        let why = format!("another process has had the device for {waited:?}");
                        return Err(Error::new(ErrorKind::Busy, why).caused_by(Errno::BUSY));
                    };
                    std::thread::sleep(wait);
                    waited += wait;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.explain(errno)),
            }
        }
    }

    fn explain(&self, errno: Errno) -> Error {
        match errno {
            Errno::IO => {
                let why = "the kernel could not read the handover of the previous kernel; its log says \
                           why";
                Error::new(ErrorKind::Damaged, why).caused_by(errno)
            }
            Errno::ACCESS | Errno::PERM => {
                let path = self.path.display();
                let why = format!("this user may not open {path}; ask an agent for a session");
                Error::new(ErrorKind::NoPermission, why).caused_by(errno)
            }
            // A node without a device behind it, too.
            Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::NOTDIR => {
                Unavailable::look(&self.path).into()
            }
            errno => Error::system("open the device", errno),
        }
    }
}
