// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sending descriptors over Unix sockets.

use std::ffi::{c_int, c_void};
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};

use liblu::passing;

use crate::border::{self, Failure, Outcome, enter, handle};

/// Sends bytes, one at least, and up to 253 descriptors over a connected Unix socket. The descriptors
/// stay the caller's. It raises no SIGPIPE.
///
/// SOCK_SEQPACKET is best: what is sent at once arrives at once, or not at all. A stream has no borders
/// between messages: the receiver must know how long they are, gets a message in pieces or two in one,
/// and the descriptors with the first byte.
///
/// -EINVAL: there is no byte. -E2BIG: more than 253 descriptors. -EBADF: one is negative. Or what the
/// socket says; over a stream, a part may have gone then, with all descriptors: do not send it again,
/// close the socket.
///
/// # Safety
///
/// `socket` and the `count` descriptors at `fds` must be open; `bytes` valid for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_send(
    socket: c_int,
    bytes: *const c_void,
    size: usize,
    fds: *const c_int,
    count: usize,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises that they are open during the call.
        let socket = unsafe { border::borrowed(socket) }?;
        // SAFETY: The caller promises the same.
        let bytes = unsafe { border::array(bytes.cast::<u8>(), size) };
        // SAFETY: The caller promises the same.
        let fds = unsafe { border::array(fds, count) };
        // SAFETY: The caller promises that they are open during the call.
        let fds = fds.iter().map(|fd| unsafe { border::borrowed(*fd) });
        let fds: Vec<BorrowedFd<'_>> = fds.collect::<Outcome<_>>()?;
        Ok(passing::send(socket, bytes, &fds).map(|()| 0)?)
    })
}

/// Receives bytes and descriptors over a connected Unix socket. Returns how many bytes came, 0 if the
/// other side has hung up; `*count` is how many descriptors came, close-on-exec, the caller's.
///
/// A packet is received whole. From a stream comes what is there, which may be less than a message.
///
/// -EMSGSIZE: the packet was longer than `room`. -EMFILE: descriptors were lost: this process has as many
/// as it may, or there was no room for what SO_PASSSEC adds. -ERANGE: more came than `fds` has room for.
/// -EBADMSG: descriptors came without a byte. None is left open in any of these cases. -EOPNOTSUPP: the
/// socket has SO_PASSPIDFD. Or what the socket says.
///
/// # Safety
///
/// `socket` must be open; `bytes` must have room for `room` bytes, `fds` for `*count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_receive(
    socket: c_int,
    bytes: *mut c_void,
    room: usize,
    fds: *mut c_int,
    count: Option<&mut usize>,
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
        let Some(message) = passing::receive(socket, room)? else {
            return Ok(0);
        };
        let too_many = || Failure::room(&format!("{} descriptors came", message.fds.len()));
        if message.fds.len() > fds.len() {
            return Err(too_many());
        }
        let length = c_int::try_from(message.bytes.len())
            .map_err(|_| Failure::room("the message is too long for an int"))?;
        border::fill(to, message.bytes);
        *count = message.fds.len();
        border::fill(fds, message.fds.into_iter().map(OwnedFd::into_raw_fd));
        Ok(length)
    })
}
