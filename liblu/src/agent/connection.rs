// SPDX-License-Identifier: MIT OR Apache-2.0

//! A connection to an agent.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{Answer, Call, INTERFACE, answer};
use super::wire::{self, Inbox, MAX_FDS, MAX_FRAME};
use crate::{Error, ErrorKind, Result, passing};

/// A call, as it goes over a connection.
pub(crate) struct Request {
    json: Vec<u8>,
}

impl Request {
    /// A call of a method.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`].
    pub(crate) fn of(method: &str, parameters: impl Serialize, more: bool) -> Result<Self> {
        let call = Call { method: format!("{INTERFACE}.{method}"), parameters, more };
        let mut json = serde_json::to_vec(&call).unwrap_or_default();
        json.push(0);
        if json.len() > MAX_FRAME {
            return Err(Error::new(ErrorKind::TooLarge, "the call is too long for the agent"));
        }
        Ok(Self { json })
    }
}

/// A connection, over which one call at a time goes.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: UnixStream,
    inbox: Inbox,
    /// An answer did not come whole: the next one might be taken for it.
    is_broken: bool,
}

impl Connection {
    /// Connects to the socket at `path`, and waits if the agent has many clients just now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoAgent`], [`ErrorKind::NoPermission`], [`ErrorKind::TimedOut`].
    pub(crate) fn open(path: &Path, deadline: Option<Instant>) -> Result<Self> {
        let failed = |errno: Errno| {
            let why = format!("cannot connect to the agent at {}", path.display());
            let kind = match errno {
                Errno::ACCESS | Errno::PERM => ErrorKind::NoPermission,
                Errno::MFILE | Errno::NFILE | Errno::NOMEM => ErrorKind::NoResources,
                Errno::AGAIN => ErrorKind::TimedOut,
                _ => ErrorKind::NoAgent,
            };
            Error::new(kind, why).caused_by(errno)
        };
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.map_err(failed)?;
        if let Some(deadline) = deadline {
            // Zero would be no limit.
            let left = deadline.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            set_socket_timeout(&socket, Timeout::Send, Some(left)).map_err(failed)?;
        }
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        connect(&socket, &address).map_err(failed)?;
        Ok(Self { socket: socket.into(), inbox: Inbox::default(), is_broken: false })
    }

    /// Sends a call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`] and [`ErrorKind::Disconnected`], after which the connection is of no more use.
    pub(crate) fn send(&mut self, call: &Request, deadline: Option<Instant>) -> Result<()> {
        if self.is_broken {
            let why = "an earlier call over this connection was not answered";
            return Err(Error::new(ErrorKind::Disconnected, why));
        }
        self.is_broken = true;
        passing::send(&self.socket, &call.json, &[], deadline)
    }

    /// Waits for the first reply to the call that was sent.
    ///
    /// # Errors
    ///
    /// The error of the reply; [`ErrorKind::TimedOut`], [`ErrorKind::Disconnected`] and
    /// [`ErrorKind::Protocol`], after which the connection is of no more use.
    pub(crate) fn receive<T: DeserializeOwned>(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Answer<T>> {
        let frame = loop {
            if let Some(frame) = self.inbox.next()? {
                break frame;
            }
            // No agent answers at once.
            passing::wait(self.socket.as_fd(), PollFlags::IN, deadline)?;
            self.read(deadline)?;
        };
        let answer = answer::<T>(frame);
        self.is_broken = match &answer {
            Ok(answer) => answer.continues,
            Err(error) => error.kind() == ErrorKind::Protocol,
        };
        answer
    }

    /// Whether the next call can go over it: nothing is left of the one before.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_broken && self.inbox.is_empty()
    }

    /// The next reply to a call with `more`, if there is one already.
    ///
    /// # Errors
    ///
    /// As [`Connection::receive`].
    pub(crate) fn poll(&mut self) -> Result<Option<wire::Frame>> {
        loop {
            if let Some(frame) = self.inbox.next()? {
                return Ok(Some(frame));
            }
            match self.read(Some(Instant::now())) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what is there of one frame, or waits for it. The next frame stays in the socket, so that it can
    /// be polled for.
    fn read(&mut self, deadline: Option<Instant>) -> Result<()> {
        let room = passing::up_to(&self.socket, 0, deadline)?;
        let message = passing::receive(&self.socket, room, MAX_FDS, deadline)?;
        let hung_up = || Error::new(ErrorKind::Disconnected, "the agent has hung up");
        let message = message.ok_or_else(hung_up)?;
        self.inbox.push(&message.bytes, message.fds)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
