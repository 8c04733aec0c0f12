// SPDX-License-Identifier: MIT OR Apache-2.0

//! A socket under a connection of zlink, with the limits that zlink lacks: the size of frames, the time for
//! one, who may pass file descriptors, and close-on-exec for those.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;
use zlink::connection::PassedCredentials;
use zlink::connection::socket::{ReadHalf, ReadResult, Socket, UnixSocket, WriteHalf};

use crate::polled::polled;

/// The most bytes of a frame, without the NUL at its end.
pub const MAX_FRAME: usize = 64 << 10;

/// The most descriptors of a message from a client: a kernel and its initrd, and room to say that more is
/// wrong.
const MAX_FDS: usize = 4;

/// Limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Whether the peer may pass descriptors.
    pub takes_fds: bool,
    /// The time from the first byte of a frame to its last, and that for sending one.
    pub frame: Duration,
}

/// A socket of a connection.
#[derive(Debug)]
pub struct Wire {
    socket: Polled,
    limits: Limits,
}

/// A stream that is polled for reading alone: it can nearly always be written to.
type Polled = Rc<AsyncFd<UnixStream>>;

impl Wire {
    /// A connected stream.
    ///
    /// # Errors
    ///
    /// It cannot be polled.
    pub fn new(socket: UnixStream, limits: Limits) -> io::Result<Self> {
        let socket = Rc::new(polled(socket, Interest::READABLE)?);
        Ok(Self { socket, limits })
    }
}

impl Socket for Wire {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    const CAN_TRANSFER_FDS: bool = true;

    fn split(self) -> (Reader, Writer) {
        let reader = Reader { socket: Rc::clone(&self.socket), limits: self.limits, unfinished: 0 };
        (reader, Writer { socket: self.socket, limits: self.limits })
    }
}

/// The half that reads.
#[derive(Debug)]
pub struct Reader {
    socket: Polled,
    limits: Limits,
    /// Bytes of the frame that is not read to its end.
    unfinished: usize,
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

impl UnixSocket for Reader {}

impl Reader {
    fn receive(&self, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got =
            recvmsg(self.socket.get_ref(), &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        // Some were lost, so indices of the others mean nothing.
        if got.flags.contains(ReturnFlags::CTRUNC) {
            return Err(refused(format!("a message has more than {MAX_FDS} file descriptors")));
        }
        if !fds.is_empty() && !self.limits.takes_fds {
            return Err(refused("file descriptors came along where none may be".into()));
        }
        Ok((got.bytes, fds))
    }

    fn check(&mut self, bytes: &[u8]) -> io::Result<()> {
        for (at, part) in bytes.split(|byte| *byte == 0).enumerate() {
            self.unfinished = if at == 0 { self.unfinished + part.len() } else { part.len() };
            if self.unfinished > MAX_FRAME {
                return Err(refused(format!("a frame has more than {MAX_FRAME} bytes")));
            }
        }
        Ok(())
    }
}

impl ReadHalf for Reader {
    async fn read(&mut self, bytes: &mut [u8]) -> zlink::Result<ReadResult> {
        let receive = async {
            loop {
                let mut ready = self.socket.readable().await?;
                if let Ok(result) = ready.try_io(|_| self.receive(bytes)) {
                    return result;
                }
            }
        };
        let received = if self.unfinished == 0 {
            receive.await
        } else {
            let late = |_| refused("a frame was begun and not ended".into());
            timeout(self.limits.frame, receive).await.map_err(late).flatten()
        };
        let (length, fds) = received?;
        self.check(bytes.get(..length).unwrap_or_default())?;
        Ok(ReadResult::new(length).set_fds(fds))
    }
}

/// The half that writes.
#[derive(Debug)]
pub struct Writer {
    socket: Polled,
    limits: Limits,
}

impl Writer {
    /// Sends a part: file descriptors go with its first byte.
    fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("too many file descriptors for one message"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(sendmsg(self.socket.get_ref(), &[IoSlice::new(bytes)], &mut control, flags)?)
    }

    /// Waits until the peer has read.
    async fn writable(&self) -> io::Result<()> {
        let copy = self.socket.get_ref().try_clone()?;
        polled(copy, Interest::WRITABLE)?.writable().await.map(drop)
    }

    async fn send_all(&self, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut fds = fds;
        while !bytes.is_empty() {
            match self.send(bytes, fds) {
                Ok(sent) => {
                    bytes = bytes.get(sent..).unwrap_or_default();
                    fds = &[];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl WriteHalf for Writer {
    async fn write(
        &mut self,
        bytes: &[u8],
        fds: &[impl AsFd],
        _: Option<&PassedCredentials>,
    ) -> zlink::Result<()> {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the peer does not read");
        let sent = timeout(self.limits.frame, self.send_all(bytes, &fds)).await;
        Ok(sent.map_err(late).flatten()?)
    }
}

/// The peer has broken a rule: the connection ends.
fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
