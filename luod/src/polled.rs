// SPDX-License-Identifier: MIT OR Apache-2.0

//! Descriptors that a task waits for.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for one thing alone: what tokio's own sockets do, to wait for both directions, wakes luod each time that
/// the peer reads.
///
/// # Errors
///
/// It cannot be polled.
pub fn polled<T: AsFd + AsRawFd>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    #[expect(deprecated, reason = "it is sound for descriptors with an owner")]
    AsyncFd::with_interest(fd, interest)
}
