// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages to the service manager, in order, without waiting for it (`sd_notify(3)`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The way to the service manager. Its queue is bounded, so messages that do not fit wait here.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    waiting: RefCell<VecDeque<Message>>,
}

#[derive(Debug)]
struct Message {
    text: String,
    fd: Option<OwnedFd>,
}

impl Notifier {
    /// The service manager at this address, the value of `NOTIFY_SOCKET`.
    ///
    /// # Errors
    ///
    /// Nothing listens there, or the address makes no sense.
    pub fn connect(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
            path => SocketAddrUnix::new(path)?,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        connect(&socket, &address)?;
        let socket = UnixDatagram::from_std(socket.into())?;
        Ok(Self { socket, waiting: RefCell::default() })
    }

    /// Sends a message, now or when there is room. [`Notifier::flush`] must be called soon.
    pub fn send(&self, text: impl Into<String>, fd: Option<OwnedFd>) {
        self.waiting.borrow_mut().push_back(Message { text: text.into(), fd });
        // Mostly there is room.
        let _ = self.send_waiting();
    }

    /// Waits until all messages are sent.
    ///
    /// # Errors
    ///
    /// The service manager is gone.
    pub async fn flush(&self) -> io::Result<()> {
        loop {
            match self.send_waiting() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.socket.writable().await?;
        }
    }

    fn send_waiting(&self) -> io::Result<()> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(message) = waiting.front() {
            match self.socket.try_io(Interest::WRITABLE, || self.send_one(message)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    result?;
                    waiting.pop_front();
                }
            }
        }
        Ok(())
    }

    fn send_one(&self, message: &Message) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = message.fd.as_ref().map(AsFd::as_fd);
        if fds.is_some() {
            control.push(SendAncillaryMessage::ScmRights(fds.as_slice()));
        }
        let text = [IoSlice::new(message.text.as_bytes())];
        sendmsg(&self.socket, &text, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        Ok(())
    }
}
