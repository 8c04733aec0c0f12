// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sending sessions and other files to other processes over Unix sockets.
//!
//! Whoever may open the device creates and retrieves sessions, and sends them to those who may not:
//! they preserve and retrieve by themselves. A message is some bytes and up to
//! [`MAX_FDS`] descriptors. What was sent arrives whole or not at all, close-on-exec.
//!
//! ```
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixStream;
//! use liblu::passing;
//!
//! let (here, there) = UnixStream::pair()?;
//! let file = std::fs::File::open("/dev/null")?;
//! passing::send(&here, b"memory", &[file.as_fd()])?;
//!
//! let message = passing::receive(&there, 64)?.expect("nobody has hung up");
//! assert_eq!(message.bytes, b"memory");
//! let [file] = <[_; 1]>::try_from(message.fds).expect("one file");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, send as send_rest, sendmsg,
};

use crate::sys;

/// Descriptors in one message at most: what Linux allows (`SCM_MAX_FD`).
///
/// ```
/// assert_eq!(liblu::passing::MAX_FDS, 253);
/// ```
pub const MAX_FDS: usize = 253;

/// Room for that many descriptors, and for what a socket with `SO_PASSCRED` and the like adds.
const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_FDS), ScmCredentials(1));

/// What was received.
///
/// ```
/// # use std::os::unix::net::UnixStream;
/// # let (here, there) = UnixStream::pair()?;
/// liblu::passing::send(&here, b"x", &[])?;
/// let message = liblu::passing::receive(&there, 1)?.unwrap();
/// assert!(message.fds.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Message {
    /// What was said.
    pub bytes: Vec<u8>,
    /// What came along, in the order in which it was sent, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Why a message did not come or go.
///
/// ```
/// use liblu::passing::{self, PassingError};
/// # use std::os::unix::net::UnixStream;
///
/// let (here, _there) = UnixStream::pair()?;
/// assert!(matches!(passing::send(&here, b"", &[]), Err(PassingError::Empty)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassingError {
    /// A message needs a byte at least: the descriptors travel with it.
    #[error("a message must have a byte at least")]
    Empty,
    /// Too many descriptors for one message.
    #[error("a message has at most {max} file descriptors, not {0}", max = MAX_FDS)]
    TooMany(usize),
    /// The message had more bytes than there was room for.
    #[error("the message is longer than {0} bytes")]
    TooLong(usize),
    /// Descriptors were lost on the way: this process has as many files open as it may
    /// (`RLIMIT_NOFILE`), or the sender sent too many.
    #[error("file descriptors were lost on the way; is the limit of open files reached?")]
    Truncated,
    /// Descriptors came without a byte, as no [`send`] sends them.
    #[error("file descriptors came without a byte")]
    Bare,
    /// The socket has `SO_PASSPIDFD`: the descriptors that this adds would never be closed.
    #[error("the socket has SO_PASSPIDFD, which adds descriptors that nobody would close")]
    PidFds,
    /// The socket failed.
    #[error("cannot {doing} a message")]
    System {
        /// What was to be done.
        doing: &'static str,
        /// What the kernel said.
        source: Errno,
    },
}

impl PassingError {
    /// The kernel's number for this.
    ///
    /// ```
    /// use liblu::passing::PassingError;
    ///
    /// assert_eq!(PassingError::TooLong(64).errno(), rustix::io::Errno::MSGSIZE);
    /// ```
    pub fn errno(&self) -> Errno {
        match self {
            Self::Empty => Errno::INVAL,
            Self::TooMany(_) => Errno::TOOBIG,
            Self::TooLong(_) => Errno::MSGSIZE,
            Self::Truncated => Errno::MFILE,
            Self::Bare => Errno::BADMSG,
            Self::PidFds => Errno::OPNOTSUPP,
            Self::System { source, .. } => *source,
        }
    }
}

/// Sends a message over a connected Unix socket, of a stream or of packets.
///
/// On a stream, messages have no borders: the receiver must know how long they are, and take the
/// descriptors with the first byte.
///
/// # Errors
///
/// [`PassingError::Empty`], [`PassingError::TooMany`], or what the socket says; then a part of a long
/// message may have gone over a stream, with all descriptors. It does not raise `SIGPIPE`.
///
/// ```
/// # use std::os::fd::AsFd;
/// # use std::os::unix::net::UnixStream;
/// # let (here, there) = UnixStream::pair()?;
/// let file = std::fs::File::open("/dev/null")?;
/// liblu::passing::send(&here, b"a file", &[file.as_fd()])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), PassingError> {
    if bytes.is_empty() {
        return Err(PassingError::Empty);
    }
    if fds.len() > MAX_FDS {
        return Err(PassingError::TooMany(fds.len()));
    }
    let socket = socket.as_fd();
    let failed = |source| PassingError::System { doing: "send", source };
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut sent = retry_on_intr(|| {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })
    .map_err(failed)?;
    // A stream may take less at once.
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        sent += retry_on_intr(|| send_rest(socket, rest, SendFlags::NOSIGNAL)).map_err(failed)?;
    }
    Ok(())
}

/// Receives what has come over a connected Unix socket, up to `room` bytes; `None` if the other side
/// has hung up. The socket should not have `SO_PASSSEC`: there may be no room for what that adds.
///
/// # Errors
///
/// [`PassingError::TooLong`] for a packet with more bytes, [`PassingError::Truncated`] if not all
/// descriptors came, [`PassingError::Bare`] for descriptors without a byte: what came is closed.
/// [`PassingError::PidFds`] if the socket has that option. Or what the socket says.
///
/// ```
/// # use std::os::unix::net::UnixStream;
/// # let (here, there) = UnixStream::pair()?;
/// drop(here);
/// assert!(liblu::passing::receive(&there, 64)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn receive(socket: impl AsFd, room: usize) -> Result<Option<Message>, PassingError> {
    if sys::passes_pidfds(socket.as_fd()) {
        return Err(PassingError::PidFds);
    }
    let mut bytes = vec![0; room.max(1)];
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .map_err(|source| PassingError::System { doing: "receive", source })?;
    // All of them have owners from here on, whatever else is wrong.
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds: Vec<OwnedFd> = rights.flatten().collect();
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(PassingError::Truncated);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(PassingError::TooLong(room));
    }
    if received.bytes == 0 {
        return if fds.is_empty() { Ok(None) } else { Err(PassingError::Bare) };
    }
    bytes.truncate(received.bytes);
    Ok(Some(Message { bytes, fds }))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    use rustix::io::{FdFlags, fcntl_getfd};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn packets() -> (OwnedFd, OwnedFd) {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri sends no descriptors")]
    fn files_arrive_in_order_and_close_on_exec() {
        let (here, there) = packets();
        let files = [File::open("/dev/null").unwrap(), File::open("/dev/zero").unwrap()];
        send(&here, b"two", &files.each_ref().map(AsFd::as_fd)).unwrap();
        let message = receive(&there, 3).unwrap().unwrap();
        assert_eq!(message.bytes, b"two");
        let same = |file: &File, fd: &OwnedFd| {
            let one = rustix::fs::fstat(file).unwrap();
            let two = rustix::fs::fstat(fd).unwrap();
            (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)
        };
        assert_eq!(message.fds.len(), 2);
        assert!(files.iter().zip(&message.fds).all(|(file, fd)| same(file, fd)));
        assert!(message.fds.iter().all(|fd| fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC)));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri sends no descriptors")]
    fn a_full_message_has_253_files() {
        let (here, there) = UnixStream::pair().unwrap();
        let file = File::open("/dev/null").unwrap();
        let many = vec![file.as_fd(); MAX_FDS];
        send(&here, b"x", &many).unwrap();
        assert_eq!(receive(&there, 1).unwrap().unwrap().fds.len(), MAX_FDS);
        let error = send(&here, b"x", &vec![file.as_fd(); MAX_FDS + 1]).unwrap_err();
        assert!(matches!(error, PassingError::TooMany(254)));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri sends no descriptors")]
    fn what_does_not_fit_is_refused() {
        let (here, there) = packets();
        let file = File::open("/dev/null").unwrap();
        send(&here, b"too long", &[file.as_fd()]).unwrap();
        assert!(matches!(receive(&there, 3), Err(PassingError::TooLong(3))));
        send(&here, b"fit", &[]).unwrap();
        assert_eq!(receive(&there, 3).unwrap().unwrap().bytes, b"fit");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri sends no descriptors")]
    fn descriptors_without_a_byte_are_closed() {
        let (here, there) = packets();
        let (mut end, sent) = UnixStream::pair().unwrap();
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [sent.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&here, &[], &mut control, SendFlags::NOSIGNAL).unwrap();
        drop(sent);
        assert!(matches!(receive(&there, 8), Err(PassingError::Bare)));
        assert_eq!(std::io::Read::read(&mut end, &mut [0]).unwrap(), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri sends no descriptors")]
    fn a_long_message_goes_over_a_stream() {
        let (here, there) = UnixStream::pair().unwrap();
        let long = vec![7; 4 << 20];
        let file = File::open("/dev/null").unwrap();
        let sender = std::thread::spawn({
            let long = long.clone();
            move || send(&here, &long, &[file.as_fd()])
        });
        let first = receive(&there, 4096).unwrap().unwrap();
        assert_eq!(first.fds.len(), 1);
        let mut all = first.bytes;
        while let Some(more) = receive(&there, 65536).unwrap() {
            assert!(more.fds.is_empty());
            all.extend(more.bytes);
        }
        sender.join().unwrap().unwrap();
        assert!(all == long);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri sends no descriptors")]
    fn who_has_hung_up_is_no_signal() {
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        assert_eq!(send(&here, b"x", &[]).unwrap_err().errno(), Errno::PIPE);
        assert!(receive(&here, 1).unwrap().is_none());
    }
}
