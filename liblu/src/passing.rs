// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sending sessions and other files to other processes over Unix sockets.
//!
//! A process with the right to open the device creates and retrieves sessions, and sends them to
//! processes without it, which preserve and retrieve files themselves. A message is some bytes and up to
//! [`MAX_FDS`] descriptors, which arrive close-on-exec.
//!
//! Use `SOCK_SEQPACKET`, where a message arrives whole or not at all. On a stream, messages have no
//! borders: the receiver must know where one ends, and a descriptor arrives with the read that reaches
//! the bytes with which it was sent. Such a read may begin with bytes that were sent before.
//!
//! ```
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixStream;
//! use std::time::{Duration, Instant};
//! use liblu::passing;
//!
//! let (here, there) = UnixStream::pair()?;
//! let file = std::fs::File::open("/dev/null")?;
//! let soon = Some(Instant::now() + Duration::from_secs(1));
//! passing::send(&here, b"memory", &[file.as_fd()], soon)?;
//!
//! let message = passing::receive(&there, 64, 1, soon)?.expect("the other side has not hung up");
//! assert_eq!(message.bytes, b"memory");
//! let [file] = <[_; 1]>::try_from(message.fds).expect("one file");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::{Error, ErrorKind, Result, sys};

/// Descriptors in one message at most: the limit of Linux (`SCM_MAX_FD`).
///
/// ```
/// assert_eq!(liblu::passing::MAX_FDS, 253);
/// ```
pub const MAX_FDS: usize = 253;

/// Room for that many descriptors, and for what a socket with `SO_PASSCRED` and the like adds.
const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_FDS), ScmCredentials(1));

/// A message that was received.
///
/// ```
/// # use std::os::unix::net::UnixStream;
/// # let (here, there) = UnixStream::pair()?;
/// liblu::passing::send(&here, b"x", &[], None)?;
/// let message = liblu::passing::receive(&there, 1, 0, None)?.unwrap();
/// assert!(message.fds.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Message {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The descriptors, in the order in which they were sent, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// A message on its way out, for programs that must not wait: an event loop calls [`Pending::send`]
/// whenever the socket can be written to, until all has gone.
///
/// ```
/// # use std::os::unix::net::UnixStream;
/// # let (here, there) = UnixStream::pair()?;
/// let file = std::fs::File::open("/dev/null")?;
/// let mut pending = liblu::passing::Pending::new(b"a file".to_vec(), vec![file.into()])?;
/// let is_gone = pending.send(&here)?;
/// assert!(is_gone);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pending {
    bytes: Vec<u8>,
    /// Bytes that have gone.
    sent: usize,
    /// They go with the first byte, and are closed then.
    fds: Vec<OwnedFd>,
}

impl Pending {
    /// A message that has not gone yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] without a byte, [`ErrorKind::TooLarge`] if there are more than
    /// [`MAX_FDS`] descriptors.
    ///
    /// ```
    /// assert!(liblu::passing::Pending::new(Vec::new(), Vec::new()).is_err());
    /// ```
    pub fn new(bytes: Vec<u8>, fds: Vec<OwnedFd>) -> Result<Self> {
        check(&bytes, fds.len())?;
        Ok(Self { bytes, sent: 0, fds })
    }

    /// Sends as much as the socket takes now, and returns whether all has gone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the other side has hung up, or the error of the socket.
    ///
    /// ```
    /// # use std::os::unix::net::UnixStream;
    /// # let (here, there) = UnixStream::pair()?;
    /// let mut pending = liblu::passing::Pending::new(vec![0; 16 << 20], Vec::new())?;
    /// assert!(!pending.send(&here)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send(&mut self, socket: impl AsFd) -> Result<bool> {
        let fds: Vec<_> = self.fds.iter().map(AsFd::as_fd).collect();
        let is_gone = send_some(socket.as_fd(), &self.bytes, &mut self.sent, &fds)?;
        if self.sent > 0 {
            self.fds.clear();
        }
        Ok(is_gone)
    }
}

fn check(bytes: &[u8], fds: usize) -> Result<()> {
    if bytes.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "a message must have at least one byte",
        ));
    }
    if fds > MAX_FDS {
        let why = format!("a message has at most {MAX_FDS} file descriptors, not {fds}");
        return Err(Error::new(ErrorKind::TooLarge, why));
    }
    Ok(())
}

/// Sends as much as the socket takes now of what is left behind `sent`, the descriptors with the first
/// byte, and returns whether all has gone.
fn send_some(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    sent: &mut usize,
    fds: &[BorrowedFd<'_>],
) -> Result<bool> {
    while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
        match send_once(socket, rest, if *sent == 0 { fds } else { &[] })? {
            Some(count) => *sent += count,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Sends what the socket takes at once; `None` if it is full.
fn send_once(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<Option<usize>> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = retry_on_intr(|| {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)
    });
    match sent {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(failed("send", errno)),
    }
}

fn failed(doing: &str, errno: Errno) -> Error {
    match errno {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => {
            Error::new(ErrorKind::Disconnected, "the other side has hung up").caused_by(errno)
        }
        errno => Error::system(&format!("{doing} a message"), errno),
    }
}

/// Waits until a socket can be read from or written to.
pub(crate) fn wait(
    socket: BorrowedFd<'_>,
    flags: PollFlags,
    deadline: Option<Instant>,
) -> Result<()> {
    loop {
        let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::new(&socket, flags)];
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => {
                let why = "the other side has not answered before the deadline";
                return Err(Error::new(ErrorKind::TimedOut, why));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for a socket", errno)),
        }
    }
}

/// The number of bytes that wait in a stream, up to and with the first that is `last`, or a part of them if
/// it is not among them. Waits for the first of all. At least 1, also if the other side has hung up.
#[cfg(feature = "agent")]
pub(crate) fn up_to(socket: impl AsFd, last: u8, deadline: Option<Instant>) -> Result<usize> {
    let mut bytes = [0; 4096];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    loop {
        match rustix::net::recv(&socket, &mut bytes[..], flags) {
            Ok((there, _)) => {
                let there = bytes.get(..there).unwrap_or_default();
                let end = there.iter().position(|byte| *byte == last);
                return Ok(end.map_or(there.len(), |end| end + 1).max(1));
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(socket.as_fd(), PollFlags::IN, deadline)?,
            Err(errno) => return Err(failed("receive", errno)),
        }
    }
}

/// Sends a message over a connected Unix socket, and waits until it has gone.
///
/// # Errors
///
/// [`ErrorKind::InvalidArgument`] without a byte, [`ErrorKind::TooLarge`] if there are more than
/// [`MAX_FDS`] descriptors, [`ErrorKind::TimedOut`] after `deadline`, [`ErrorKind::Disconnected`], or the
/// error of the socket. After the last three, a part of the message may have gone over a stream: it is of
/// no more use. `SIGPIPE` is not raised.
///
/// ```
/// # use std::os::fd::AsFd;
/// # use std::os::unix::net::UnixStream;
/// # let (here, there) = UnixStream::pair()?;
/// let file = std::fs::File::open("/dev/null")?;
/// liblu::passing::send(&here, b"a file", &[file.as_fd()], None)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn send(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> Result<()> {
    check(bytes, fds.len())?;
    let socket = socket.as_fd();
    let mut sent = 0;
    while !send_some(socket, bytes, &mut sent, fds)? {
        wait(socket, PollFlags::OUT, deadline)?;
    }
    Ok(())
}

/// Receives a message over a connected Unix socket: up to `room` bytes and `max_fds` descriptors. `None`
/// if the other side has hung up. With a deadline that has passed, it does not wait.
///
/// The socket should not have `SO_PASSSEC`: there may be no room for what that adds.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] if nothing came before `deadline`. [`ErrorKind::TooLarge`] for a packet with
/// more bytes, or for more descriptors; [`ErrorKind::NoResources`] if not all descriptors came because
/// this process has as many as it may; [`ErrorKind::Protocol`] for descriptors without a byte: the
/// descriptors that came are closed. [`ErrorKind::InvalidArgument`] if the socket has `SO_PASSPIDFD`, for
/// the descriptors that this adds would never be closed. Or the error of the socket.
///
/// ```
/// # use std::os::unix::net::UnixStream;
/// # let (here, there) = UnixStream::pair()?;
/// drop(here);
/// assert!(liblu::passing::receive(&there, 64, 0, None)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn receive(
    socket: impl AsFd,
    room: usize,
    max_fds: usize,
    deadline: Option<Instant>,
) -> Result<Option<Message>> {
    let socket = socket.as_fd();
    if sys::passes_pidfds(socket) {
        let why = "the socket has SO_PASSPIDFD, which adds descriptors that nothing would close";
        return Err(Error::new(ErrorKind::InvalidArgument, why));
    }
    let mut bytes = vec![0; room.max(1)];
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(socket, PollFlags::IN, deadline)?,
            Err(errno) => return Err(failed("receive", errno)),
        }
    };
    // All of them have owners from here on, whatever else is wrong.
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds: Vec<OwnedFd> = rights.flatten().collect();
    if received.flags.contains(ReturnFlags::CTRUNC) {
        let why = "file descriptors were lost on the way; is the limit of open files reached?";
        return Err(Error::new(ErrorKind::NoResources, why).caused_by(Errno::MFILE));
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Error::new(ErrorKind::TooLarge, format!("the message has over {room} bytes")));
    }
    if fds.len() > max_fds {
        let why = format!("the message has {} file descriptors, not up to {max_fds}", fds.len());
        return Err(Error::new(ErrorKind::TooLarge, why));
    }
    match (received.bytes, fds.is_empty()) {
        (0, true) => Ok(None),
        (0, false) => Err(Error::new(ErrorKind::Protocol, "file descriptors came without a byte")),
        (count, _) => {
            bytes.truncate(count);
            Ok(Some(Message { bytes, fds }))
        }
    }
}

#[cfg(test)]
mod tests;
