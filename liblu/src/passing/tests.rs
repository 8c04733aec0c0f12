// SPDX-License-Identifier: MIT OR Apache-2.0

//! Both ends in one process.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::time::Duration;

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
    send(&here, b"two", &files.each_ref().map(AsFd::as_fd), None).unwrap();
    let message = receive(&there, 3, 2, None).unwrap().unwrap();
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
    send(&here, b"x", &many, None).unwrap();
    assert_eq!(receive(&there, 1, MAX_FDS, None).unwrap().unwrap().fds.len(), MAX_FDS);
    let error = send(&here, b"x", &vec![file.as_fd(); MAX_FDS + 1], None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
#[cfg_attr(miri, ignore = "Miri sends no descriptors")]
fn what_does_not_fit_is_refused() {
    let (here, there) = packets();
    let file = File::open("/dev/null").unwrap();
    let refused = |max_fds| receive(&there, 3, max_fds, None).unwrap_err().kind();
    send(&here, b"too long", &[file.as_fd()], None).unwrap();
    assert_eq!(refused(1), ErrorKind::TooLarge);
    send(&here, b"two", &[file.as_fd(), file.as_fd()], None).unwrap();
    assert_eq!(refused(1), ErrorKind::TooLarge);
    send(&here, b"fit", &[], None).unwrap();
    assert_eq!(receive(&there, 3, 0, None).unwrap().unwrap().bytes, b"fit");
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
    assert_eq!(receive(&there, 8, 1, None).unwrap_err().kind(), ErrorKind::Protocol);
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
        move || send(&here, &long, &[file.as_fd()], None)
    });
    let first = receive(&there, 4096, 1, None).unwrap().unwrap();
    assert_eq!(first.fds.len(), 1);
    let mut all = first.bytes;
    while let Some(more) = receive(&there, 65536, 0, None).unwrap() {
        assert!(more.fds.is_empty());
        all.extend(more.bytes);
    }
    sender.join().unwrap().unwrap();
    assert!(all == long);
}

#[test]
#[cfg_attr(miri, ignore = "Miri sends no descriptors")]
fn a_hang_up_is_told_apart() {
    let (here, there) = UnixStream::pair().unwrap();
    drop(there);
    let error = send(&here, b"x", &[], None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(receive(&here, 1, 0, None).unwrap().is_none());
}

#[test]
#[cfg_attr(miri, ignore = "Miri sends no descriptors")]
fn a_side_that_is_silent_or_does_not_read_is_not_waited_for() {
    let (here, there) = UnixStream::pair().unwrap();
    let soon = || Some(Instant::now() + Duration::from_millis(20));
    for deadline in [Some(Instant::now()), soon()] {
        let error = receive(&there, 1, 0, deadline).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
    let error = send(&here, &vec![0; 16 << 20], &[], soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
#[cfg_attr(miri, ignore = "Miri sends no descriptors")]
fn a_pending_message_goes_in_parts_with_its_file() {
    let (here, there) = UnixStream::pair().unwrap();
    let (mut end, sent) = UnixStream::pair().unwrap();
    let long: Vec<u8> = (0..4 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
    let mut pending = Pending::new(long.clone(), vec![sent.into()]).unwrap();
    let (mut all, mut fds) = (Vec::new(), Vec::new());
    loop {
        let is_gone = pending.send(&here).unwrap();
        while let Ok(Some(message)) = receive(&there, 65536, 1, Some(Instant::now())) {
            all.extend(message.bytes);
            fds.extend(message.fds);
        }
        if is_gone {
            break;
        }
    }
    assert!(all == long);
    assert_eq!(fds.len(), 1);
    // The sender has closed its own.
    drop(fds);
    assert_eq!(std::io::Read::read(&mut end, &mut [0]).unwrap(), 0);
}
