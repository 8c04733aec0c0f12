// SPDX-License-Identifier: MIT OR Apache-2.0

//! The agent: `luod`, which has the right to open the device, and hands sessions to programs without it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::{Error, ErrorKind, FromFdError, IncomingSession, OutgoingSession, Result, SessionName};

mod connection;
mod idle;
mod participant;
pub(crate) mod protocol;
mod standstill;
pub(crate) mod wire;

use connection::{Connection, Request};
use idle::Idle;
pub use participant::{Event, Participant};
use protocol::{Answer, SessionReply};
pub use standstill::Standstill;

/// An agent, by the path of its socket. Values can be used by several threads at once.
///
/// One connection is kept for the next call of this value and its clones. For the agent, calls come from the user
/// and the service that the process belonged to when it made that connection; a child makes its own.
///
/// Every call takes a deadline; without one, it waits for ever for an agent that does not answer.
///
/// ```no_run
/// use std::time::{Duration, Instant};
/// use liblu::Agent;
///
/// let soon = Some(Instant::now() + Duration::from_secs(5));
/// let session = Agent::new().open("vm-17", soon)?;
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Agent {
    path: PathBuf,
    idle: Arc<Idle>,
}

/// Agents are equal if their sockets are.
impl PartialEq for Agent {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Agent {}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

/// The parameters of methods with a label.
#[derive(Serialize)]
struct Label<'a> {
    label: &'a str,
}

/// No parameters.
#[derive(serde::Deserialize)]
struct Nothing {}

impl Agent {
    /// The socket where it is on every system.
    ///
    /// ```
    /// assert_eq!(liblu::Agent::SOCKET, "/run/luod/io.liveupdate.Agent");
    /// ```
    pub const SOCKET: &str = "/run/luod/io.liveupdate.Agent";

    /// The agent of this system.
    ///
    /// ```
    /// let agent = liblu::Agent::new();
    /// ```
    pub fn new() -> Self {
        Self::at(Self::SOCKET)
    }

    /// The agent with a socket at another path.
    ///
    /// ```
    /// let agent = liblu::Agent::at("/run/other/io.liveupdate.Agent");
    /// ```
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), idle: Arc::default() }
    }

    /// The path of its socket.
    ///
    /// ```
    /// assert_eq!(liblu::Agent::new().path().to_str(), Some(liblu::Agent::SOCKET));
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The outgoing session of this label, which is created if there is none. The agent holds it too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoAgent`]; [`ErrorKind::Refused`] by the policy; [`ErrorKind::InvalidName`];
    /// [`ErrorKind::NoResources`] if there are as many sessions as there may be; [`ErrorKind::Leaving`];
    /// [`ErrorKind::TimedOut`], [`ErrorKind::Disconnected`], [`ErrorKind::Protocol`].
    ///
    /// ```no_run
    /// let session = liblu::Agent::new().open("vm-17", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn open(&self, label: &str, deadline: Option<Instant>) -> Result<OutgoingSession> {
        let (fd, name) = session(self.call("Open", Label { label }, deadline)?)?;
        OutgoingSession::from_fd(fd, &name).map_err(closed)
    }

    /// The incoming session of this label. The agent holds it too, until [`Agent::restored`]: dropping it
    /// closes it, and it can be claimed again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSession`], which is a cold start, and no other is; [`ErrorKind::Held`] if another
    /// process has claimed it and lives; [`ErrorKind::WrongDirection`] if it was finished, and the agent does
    /// not know; and those of [`Agent::open`].
    ///
    /// ```no_run
    /// let session = liblu::Agent::new().claim("vm-17", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn claim(&self, label: &str, deadline: Option<Instant>) -> Result<IncomingSession> {
        let (fd, name) = session(self.call("Claim", Label { label }, deadline)?)?;
        Ok(IncomingSession::from_fd(fd, &name).map_err(closed)?.held_elsewhere())
    }

    /// Says that the client has all that it needs of an incoming session, and has finished it.
    ///
    /// # Errors
    ///
    /// Those of [`Agent::claim`].
    ///
    /// ```no_run
    /// liblu::Agent::new().restored("vm-17", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn restored(&self, label: &str, deadline: Option<Instant>) -> Result<()> {
        let _: Answer<Nothing> = self.call("Restored", Label { label }, deadline)?;
        Ok(())
    }

    /// Gives up an outgoing session: the agent closes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoFile`] if none is open; and those of [`Agent::open`].
    ///
    /// ```no_run
    /// liblu::Agent::new().discard("vm-17", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn discard(&self, label: &str, deadline: Option<Instant>) -> Result<()> {
        let _: Answer<Nothing> = self.call("Discard", Label { label }, deadline)?;
        Ok(())
    }

    /// Says that the outgoing session of this label is complete: it stays when its clients end, also before
    /// an update, until it is discarded or has crossed one.
    ///
    /// # Errors
    ///
    /// Those of [`Agent::discard`].
    ///
    /// ```no_run
    /// liblu::Agent::new().keep("settings", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn keep(&self, label: &str, deadline: Option<Instant>) -> Result<()> {
        let _: Answer<Nothing> = self.call("Keep", Label { label }, deadline)?;
        Ok(())
    }

    /// Takes part in updates, for the sessions with these labels. Success also says that the kernel is not being left:
    /// an update that was committed before is off.
    ///
    /// # Errors
    ///
    /// Those of [`Agent::open`], with [`ErrorKind::Leaving`] as long as the kernel is being left.
    ///
    /// ```no_run
    /// let participant = liblu::Agent::new().participate(&["vm-17"], None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn participate(&self, labels: &[&str], deadline: Option<Instant>) -> Result<Participant> {
        Participant::new(self.clone(), labels, deadline)
    }

    fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        parameters: impl Serialize,
        deadline: Option<Instant>,
    ) -> Result<Answer<T>> {
        let request = Request::of(method, parameters, false)?;
        let again = self.idle.take().and_then(|mut idle| {
            // An agent that was started again has closed it, and knows nothing of the request.
            idle.send(&request, deadline).ok().map(|()| idle)
        });
        let mut connection = if let Some(idle) = again {
            idle
        } else {
            let mut new = Connection::open(&self.path, deadline)?;
            new.send(&request, deadline)?;
            new
        };
        let answer = connection.receive(deadline);
        if connection.is_whole() {
            self.idle.keep(connection);
        }
        answer
    }
}

/// The error of a wrong descriptor, which is closed: the agent has sent a copy.
fn closed(error: FromFdError) -> Error {
    let (fd, error) = error.into_parts();
    drop(fd);
    error
}

/// The descriptor and the name of a session.
fn session(answer: Answer<SessionReply>) -> Result<(OwnedFd, SessionName)> {
    let name = SessionName::new(&answer.value.session_name).map_err(|error: Error| {
        Error::new(ErrorKind::Protocol, format!("the agent names a session wrongly: {error}"))
    })?;
    let at = answer.value.session_file_descriptor;
    Ok((answer.fd(at)?, name))
}

#[cfg(test)]
mod tests;
