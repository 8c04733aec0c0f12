// SPDX-License-Identifier: MIT OR Apache-2.0

//! Failures, and the descriptors that they leave.

use super::*;
use crate::{Handover, Manifest, passing};

/// Descriptors that this process has open.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs alone: other tests open files too.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn no_failure_leaks_a_descriptor() {
    if std::env::var_os("LIBLU_TEST_ALONE").is_none() {
        let this = std::env::current_exe().unwrap();
        let name = "session::tests::leaks::no_failure_leaks_a_descriptor";
        let mut alone = std::process::Command::new(this);
        alone.args(["--exact", name, "--test-threads=1"]).env("LIBLU_TEST_ALONE", "1");
        assert!(alone.status().unwrap().success());
        return;
    }
    let kernel = FakeKernel::new();
    // The fake kernel closes its ends when it notices.
    let open_files = || {
        kernel.sessions();
        open_files()
    };
    let session = outgoing(&kernel);
    let (file, null) = (memfd(), File::open("/dev/null").unwrap());
    session.preserve(token(1), &file).unwrap();
    let before = open_files();
    for operation in [Operation::Create, Operation::Retrieve, Operation::PreserveFd] {
        kernel.fail_next(operation, Errno::NOMEM);
    }
    let device = device(&kernel);
    assert!(device.create(&"x".parse().unwrap()).is_err());
    assert!(device.create(&name()).is_err());
    assert!(device.retrieve(&"y".parse().unwrap()).is_err());
    assert!(device.retrieve(&"y".parse().unwrap()).is_err());
    assert!(session.preserve(token(2), &file).is_err());
    assert!(session.preserve(token(2), &null).is_err());
    drop(OutgoingSession::try_from(memfd()).unwrap_err());
    drop(IncomingSession::try_from(memfd()).unwrap_err());
    let copy = session.as_fd().try_clone_to_owned().unwrap();
    drop(OutgoingSession::from_fd(copy, &"z".parse().unwrap()).unwrap_err().into_fd());
    assert_eq!(open_files(), before);

    kernel.fail_next(Operation::PreserveFd, Errno::NOMEM);
    assert!(Handover::new(device.create(&"x".parse().unwrap()).unwrap()).is_err());
    let (here, there) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let sent = [file.as_fd(), null.as_fd()];
    passing::send(&here, b"long", &sent, None).unwrap();
    passing::send(&here, b"x", &sent, None).unwrap();
    let before_passing = open_files();
    assert!(passing::receive(&there, 3, 2, None).is_err());
    assert!(passing::receive(&there, 3, 1, None).is_err());
    assert_eq!((open_files(), before_passing), (before + 2, before + 2));
    drop((here, there));
    assert_eq!(open_files(), before);

    session.preserve(Token::MANIFEST, memfd()).unwrap();
    kernel.kexec();
    drop(session);
    let session = device.retrieve(&name()).unwrap();
    let before = open_files();
    assert!(Manifest::of(&session).is_err());
    assert!(session.retrieve(token(9)).is_err());
    kernel.fail_next(Operation::RetrieveFd, Errno::NOMEM);
    assert!(session.retrieve(token(1)).is_err());
    (0..2).for_each(|_| kernel.fail_next(Operation::Finish, Errno::BUSY));
    let session = session.finish().unwrap_err().into_value();
    assert_eq!(open_files(), before);
    session.finish().unwrap();
}
