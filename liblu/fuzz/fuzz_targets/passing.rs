// SPDX-License-Identifier: MIT OR Apache-2.0

//! Arbitrary messages, to a receiver with arbitrary room: a message arrives as it was sent, or not at all,
//! and no descriptor is left over.

#![no_main]
#![expect(clippy::expect_used, reason = "a panic is how a target reports")]

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use liblu::{ErrorKind, passing};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc").count()
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [kind, count, room, most, bytes @ ..] = input else { return };
    let kind = if kind % 2 == 0 { SocketType::STREAM } else { SocketType::SEQPACKET };
    let before = open_files();
    {
        let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        let (here, there) = pair.expect("a pair of sockets");
        let fds: Vec<BorrowedFd<'_>> = (0..*count).map(|_| here.as_fd()).collect();
        // More would wait for the receiver.
        let bytes = &bytes[..bytes.len().min(4096)];
        let room = usize::from(*room) * 32 + 1;
        let sent = passing::send(&here, bytes, &fds, None);
        match sent.as_ref().map_err(liblu::Error::kind) {
            Err(ErrorKind::InvalidArgument) => assert!(bytes.is_empty()),
            Err(ErrorKind::TooLarge) => assert!(fds.len() > passing::MAX_FDS),
            Err(kind) => panic!("{kind:?}"),
            Ok(()) => {}
        }
        let count = fds.len();
        drop(fds);
        drop(here);
        match passing::receive(&there, room, usize::from(*most), None) {
            Ok(Some(message)) => {
                assert!(sent.is_ok() && bytes.starts_with(&message.bytes));
                assert!(message.bytes.len() == bytes.len().min(room));
                assert!(message.fds.len() == count && count <= usize::from(*most));
            }
            Ok(None) => assert!(sent.is_err()),
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                let is_long = kind == SocketType::SEQPACKET && bytes.len() > room;
                assert!(is_long || count > usize::from(*most));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(open_files(), before);
});
