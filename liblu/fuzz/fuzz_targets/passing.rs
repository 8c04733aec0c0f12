// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages of anybody, to a receiver with any room: what arrives is what was sent, or nothing is, and
//! no descriptor is left over.

#![no_main]
#![expect(clippy::expect_used, reason = "a panic is how a target reports")]

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use liblu::passing::{self, PassingError};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc").count()
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [kind, count, room, bytes @ ..] = input else { return };
    let kind = if kind % 2 == 0 { SocketType::STREAM } else { SocketType::SEQPACKET };
    let before = open_files();
    {
        let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        let (here, there) = pair.expect("a pair of sockets");
        let fds: Vec<BorrowedFd<'_>> = (0..*count).map(|_| here.as_fd()).collect();
        // More would wait for the receiver.
        let bytes = &bytes[..bytes.len().min(4096)];
        let room = usize::from(*room) * 32 + 1;
        let sent = passing::send(&here, bytes, &fds);
        match &sent {
            Err(PassingError::Empty) => assert!(bytes.is_empty()),
            Err(PassingError::TooMany(number)) => assert!(*number > passing::MAX_FDS),
            Err(error) => panic!("{error}"),
            Ok(()) => {}
        }
        let count = fds.len();
        drop(fds);
        drop(here);
        match passing::receive(&there, room) {
            Ok(Some(message)) => {
                assert!(sent.is_ok() && bytes.starts_with(&message.bytes));
                assert!(message.bytes.len() == bytes.len().min(room));
                assert_eq!(message.fds.len(), count);
            }
            Ok(None) => assert!(sent.is_err()),
            Err(PassingError::TooLong(_)) => {
                assert!(kind == SocketType::SEQPACKET && bytes.len() > room);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(open_files(), before);
});
