// SPDX-License-Identifier: MIT OR Apache-2.0

//! `/dev/liveupdate`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::{
    Backoff, Error, IncomingSession, OutgoingSession, Result, SessionName, Unavailable, sys,
};

/// The device that creates and retrieves sessions.
///
/// One process at a time can have it open, and others need it too: systemd when it starts and when it
/// stops, and treats a busy device as lost data. So it is opened for each call, and closed at once.
/// Sessions do not need it.
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
    /// use liblu::{Error, LiveUpdate};
    ///
    /// let device = LiveUpdate::at("/nonexistent/liveupdate");
    /// assert!(matches!(device.check(), Err(Error::Unavailable(_))));
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

    /// Where it is.
    ///
    /// ```
    /// assert_eq!(liblu::LiveUpdate::new().path().to_str(), Some("/dev/liveupdate"));
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens and closes the device: whether there are live updates here, and this process may take
    /// part.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] says why not. [`Error::Busy`], [`Error::Damaged`].
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
    /// It lives for as long as somebody holds it: closing the last descriptor undoes all that was
    /// preserved in it. Hold it until `reboot(2)`, or hand it to somebody who does.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`], and those of [`LiveUpdate::check`].
    ///
    /// ```no_run
    /// let session = liblu::LiveUpdate::new().create(&"vm-17".parse()?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(&self, name: &SessionName) -> Result<OutgoingSession> {
        let device = self.open()?;
        match sys::create_session(device.as_fd(), name) {
            Ok(fd) => Ok(OutgoingSession::new(fd)),
            Err(Errno::EXIST) => Err(Error::NameTaken(Box::new(*name))),
            Err(source) => Err(Error::System { doing: "create a session", source }),
        }
    }

    /// Takes over a session of the last kernel.
    ///
    /// # Errors
    ///
    /// [`Error::NoSession`] if it did not come, [`Error::Held`] while somebody has it, and those of
    /// [`LiveUpdate::check`].
    ///
    /// ```no_run
    /// use liblu::{Error, LiveUpdate};
    ///
    /// let device = LiveUpdate::new();
    /// match device.retrieve(&"vm-17".parse()?) {
    ///     Ok(session) => println!("the VM goes on"),
    ///     Err(Error::NoSession(_)) => println!("the VM starts"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retrieve(&self, name: &SessionName) -> Result<IncomingSession> {
        let device = self.open()?;
        match sys::retrieve_session(device.as_fd(), name) {
            Ok(fd) => Ok(IncomingSession::new(fd)),
            Err(Errno::NOENT) => Err(Error::NoSession(Box::new(*name))),
            Err(Errno::INVAL) => Err(Error::Held(Box::new(*name))),
            Err(source) => Err(Error::System { doing: "retrieve a session", source }),
        }
    }

    fn open(&self) -> Result<OwnedFd> {
        let mut waited = Duration::ZERO;
        let mut waits = self.backoff.waits();
        loop {
            match sys::open(&self.path) {
                Ok(device) => return Ok(device),
                Err(Errno::BUSY) => match waits.next() {
                    Some(wait) => {
                        std::thread::sleep(wait);
                        waited += wait;
                    }
                    None => return Err(Error::Busy { waited }),
                },
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.explain(errno)),
            }
        }
    }

    fn explain(&self, errno: Errno) -> Error {
        match errno {
            Errno::IO => Error::Damaged,
            Errno::ACCESS | Errno::PERM => Unavailable::NoPermission(self.path.clone()).into(),
            // A node without a device behind it, too.
            Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::NOTDIR => {
                Unavailable::look(&self.path).into()
            }
            source => Error::System { doing: "open the device", source },
        }
    }
}
