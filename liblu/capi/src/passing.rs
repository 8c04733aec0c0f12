// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sending descriptors over Unix sockets.

use std::ffi::{c_int, c_void};
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};

use liblu::passing;

use crate::border::{self, Failure, Outcome, deadline, enter, handle};

/// Sends bytes, one at least, and up to 253 descriptors over a connected Unix socket. The descriptors
/// stay the caller's. It raises no SIGPIPE.
///
/// SOCK_SEQPACKET is best: a message arrives whole, or not at all. A stream has no borders between
/// messages: the receiver must know where one ends, and descriptors arrive with the read that reaches the
/// bytes with which they were sent, which may begin with bytes that were sent before. It waits for
/// `timeout` milliseconds at most, or for ever if that is negative.
///
/// -EINVAL: there is no byte, or an array is null and has elements. -E2BIG: more than 253 descriptors. -EBADF: one is negative. -ETIMEDOUT,
/// -ECONNRESET, or the error of the socket; over a stream, a part may have gone then, with all descriptors:
/// do not send it again, close the socket.
///
/// # Safety
///
/// `socket` and the `count` descriptors at `fds` must be open; `bytes` valid for `size` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_send(
    socket: c_int,
    bytes: *const c_void,
    size: usize,
    fds: *const c_int,
    count: usize,
    timeout: c_int,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises that they are open during the call.
        let socket = unsafe { border::borrowed(socket) }?;
        // SAFETY: The caller promises the same.
        let bytes = unsafe { border::array(bytes.cast::<u8>(), size) }?;
        // SAFETY: The caller promises the same.
        let fds = unsafe { border::array(fds, count) }?;
        // SAFETY: The caller promises that they are open during the call.
        let fds = fds.iter().map(|fd| unsafe { border::borrowed(*fd) });
        let fds: Vec<BorrowedFd<'_>> = fds.collect::<Outcome<_>>()?;
        Ok(passing::send(socket, bytes, &fds, deadline(timeout)).map(|()| 0)?)
    })
}

/// Receives bytes and descriptors over a connected Unix socket. Returns the number of bytes, 0 if the other
/// side has hung up; `*count` is the number of descriptors, which are close-on-exec and the caller's. It
/// waits for `timeout` milliseconds at most, not at all if that is 0, or for ever if it is negative.
///
/// A packet is received whole. From a stream comes what is there, which may be less than a message.
///
/// -E2BIG: the packet was longer than `room`, or more descriptors came than `fds` has room for. -EMFILE:
/// descriptors were lost: this process has as many as it may, or there was no room for what SO_PASSSEC
/// adds. -EPROTO: descriptors came without a byte. None is left open in any of these cases. -ETIMEDOUT.
/// -EINVAL: the socket has SO_PASSPIDFD. Or the error of the socket.
///
/// # Safety
///
/// `socket` must be open; `bytes` must have room for `room` bytes, `fds` for `*count` numbers.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_receive(
    socket: c_int,
    bytes: *mut c_void,
    room: usize,
    fds: *mut c_int,
    count: Option<&mut usize>,
    timeout: c_int,
) -> c_int {
    enter(|| {
        let count = handle(count)?;
        // SAFETY: The caller promises that it is open during the call.
        let socket = unsafe { border::borrowed(socket) }?;
        // SAFETY: The caller promises the same.
        let to = unsafe { border::room(bytes.cast::<u8>(), room) };
        // SAFETY: The caller promises the same.
        let fds = unsafe { border::room(fds, *count) };
        *count = 0;
        if to.is_empty() {
            return Err(Failure::room("there is no room for a byte"));
        }
        let Some(message) = passing::receive(socket, room, fds.len(), deadline(timeout))? else {
            return Ok(0);
        };
        let length = c_int::try_from(message.bytes.len())
            .map_err(|_| Failure::room("the message is too long for an int"))?;
        border::fill(to, message.bytes);
        *count = message.fds.len();
        border::fill(fds, message.fds.into_iter().map(OwnedFd::into_raw_fd));
        Ok(length)
    })
}
