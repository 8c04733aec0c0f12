// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions that the service manager has passed: those of `LUOSession=`, or of the fd store.
//!
//! systemd keeps its own descriptors of them, and the numbers that it has passed stay open.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::session::is_session;
use crate::{Error, ErrorKind, IncomingSession, OutgoingSession, Result, passed, passing, running};

/// The sessions that were passed, by their names there (`FDNAME=`). Copies share them.
#[derive(Clone, Debug)]
pub(crate) struct FdStore(Arc<Store>);

#[derive(Debug)]
struct Store {
    sessions: BTreeMap<String, OwnedFd>,
    /// Sessions of no more use: the C implementation still takes them for incoming ones.
    finished: Mutex<HashSet<String>>,
}

/// The answer of the fd store to a label.
#[derive(Debug)]
pub(crate) enum Stored {
    /// It came from the previous kernel.
    Incoming(IncomingSession),
    /// The service manager has created it.
    Fresh(OutgoingSession),
    /// It was finished, and this kernel cannot use it again.
    Finished,
    /// There is no session of this label.
    Absent,
}

impl FdStore {
    /// The sessions that were passed to this process; `None` if none was.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if the variables of the environment make no sense, or two sessions have one
    /// name. [`ErrorKind::Unsupported`] on kernels before 7.2, which cannot tell the directions of sessions
    /// apart.
    pub(crate) fn find() -> Result<Option<Self>> {
        let mut sessions = Vec::new();
        for (name, copy) in passed::copies()? {
            // It may be something else.
            if is_session(copy.as_fd())? {
                sessions.push((name, copy));
            }
        }
        if sessions.is_empty() { Ok(None) } else { Self::of(sessions).map(Some) }
    }

    pub(crate) fn of(sessions: Vec<(String, OwnedFd)>) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (name, session) in sessions {
            if running::is_before(session.as_fd(), 7, 2) {
                let why = "this kernel cannot tell sessions for the next kernel from others; use an agent";
                return Err(Error::new(ErrorKind::Unsupported, why));
            }
            if all.insert(name.clone(), session).is_some() {
                let why = format!("the service manager has passed two sessions called {name:?}");
                return Err(Error::new(ErrorKind::Protocol, why));
            }
        }
        Ok(Self(Arc::new(Store { sessions: all, finished: Mutex::default() })))
    }

    /// The session of this label.
    ///
    /// # Errors
    ///
    /// Those of looking at it.
    pub(crate) fn get(&self, label: &str) -> Result<Stored> {
        let Some(fd) = self.0.sessions.get(label) else { return Ok(Stored::Absent) };
        if self.0.finished.lock().unwrap_or_else(PoisonError::into_inner).contains(label) {
            return Ok(Stored::Finished);
        }
        let copy = rustix::io::fcntl_dupfd_cloexec(fd, 0)
            .map_err(|errno| Error::system("copy a passed descriptor", errno))?;
        let (copy, error) = match IncomingSession::try_from(copy) {
            Ok(session) => return Ok(Stored::Incoming(session.held_elsewhere())),
            Err(error) => error.into_parts(),
        };
        match error.kind() {
            ErrorKind::WrongDirection => Ok(Stored::Fresh(OutgoingSession::try_from(copy)?)),
            _ => Err(error),
        }
    }

    /// Lets the service manager forget a session that is of no more use. It creates a new one when the
    /// service is started again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if it has told no address; [`ErrorKind::TimedOut`]; the error of the socket.
    pub(crate) fn forget(&self, label: &str, deadline: Option<Instant>) -> Result<()> {
        self.0.finished.lock().unwrap_or_else(PoisonError::into_inner).insert(label.to_owned());
        let address = std::env::var_os("NOTIFY_SOCKET").ok_or_else(|| {
            let why =
                "the service manager has told no address (NOTIFY_SOCKET), so it keeps the session";
            Error::new(ErrorKind::Unsupported, why)
        })?;
        tell(address.as_encoded_bytes(), &format!("FDSTOREREMOVE=1\nFDNAME={label}"), deadline)
    }
}

/// Sends a message to the service manager.
fn tell(address: &[u8], message: &str, deadline: Option<Instant>) -> Result<()> {
    let failed = |errno| Error::system("tell the service manager to forget a session", errno);
    let address = match address.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(address),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
    let socket = socket.map_err(failed)?;
    connect(&socket, &address.map_err(failed)?).map_err(failed)?;
    passing::send(&socket, message.as_bytes(), &[], deadline)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no sockets with names")]
    fn the_service_manager_is_told_or_it_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let soon = Some(Instant::now() + Duration::from_secs(5));
        tell(path.as_os_str().as_encoded_bytes(), "FDSTOREREMOVE=1\nFDNAME=x", soon).unwrap();
        let mut text = [0; 64];
        let length = manager.recv(&mut text).unwrap();
        assert_eq!(&text[..length], b"FDSTOREREMOVE=1\nFDNAME=x");
        // A manager that does not read is not waited for.
        let until = Instant::now() + Duration::from_millis(50);
        let error = loop {
            if let Err(error) = tell(path.as_os_str().as_encoded_bytes(), "x", Some(until)) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(manager);
        std::fs::remove_file(&path).unwrap();
        assert!(tell(path.as_os_str().as_encoded_bytes(), "x", soon).is_err());
    }
}
