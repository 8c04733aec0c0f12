// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions on a kernel that is told how to behave.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_getfd};

use crate::testing::{FakeKernel, Implementation, Operation};
use crate::{Backoff, ErrorKind, IncomingSession, LiveUpdate, OutgoingSession, SessionName, Token};

mod dropped;
mod leaks;
mod lost;

/// The device of a kernel, whose users wait for microseconds.
fn device(kernel: &FakeKernel) -> LiveUpdate {
    kernel.device().with_backoff(Backoff { first: Duration::from_micros(1), ..Backoff::default() })
}

fn kernel_of(release: &str) -> FakeKernel {
    let kernel = FakeKernel::new();
    kernel.set_release(release.parse().unwrap());
    kernel
}

fn rust_kernel() -> FakeKernel {
    let kernel = FakeKernel::new();
    kernel.set_implementation(Implementation::Rust);
    kernel
}

fn name() -> SessionName {
    "vm-17".parse().unwrap()
}

fn memfd() -> OwnedFd {
    memfd_create("test", MemfdFlags::CLOEXEC).unwrap()
}

fn token(number: u32) -> Token {
    number.into()
}

fn outgoing(kernel: &FakeKernel) -> OutgoingSession {
    device(kernel).create(&name()).unwrap()
}

/// An incoming session with one file, number 1.
fn incoming(kernel: &FakeKernel) -> IncomingSession {
    let session = outgoing(kernel);
    session.preserve(token(1), memfd()).unwrap();
    kernel.kexec();
    device(kernel).retrieve(&name()).unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_file_goes_from_kernel_to_kernel() {
    let kernel = rust_kernel();
    let session = incoming(&kernel);
    assert_eq!(session.name().unwrap(), name());
    let file = session.retrieve(token(1)).unwrap();
    assert!(fcntl_getfd(&file).unwrap().contains(FdFlags::CLOEXEC));
    session.retrieve(token(1)).unwrap();
    let next = session.finish().unwrap().unwrap();
    next.preserve(token(1), &file).unwrap();
    assert_eq!(next.name().unwrap(), name());
}

/// Old ones would take files and lose them.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_that_cannot_be_used_again_does_not_come_back() {
    for release in ["6.19.3", "7.1.9", "7.3.4"] {
        let kernel = kernel_of(release);
        assert!(incoming(&kernel).finish().unwrap().is_none());
        outgoing(&kernel).preserve(token(1), memfd()).unwrap();
    }
    assert!(incoming(&rust_kernel()).finish().unwrap().is_some());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_busy_device_is_waited_for() {
    let kernel = FakeKernel::new();
    (0..5).for_each(|_| kernel.fail_next(Operation::Open, Errno::BUSY));
    device(&kernel).check().unwrap();
    kernel.fail_next(Operation::Open, Errno::BUSY);
    let impatient = device(&kernel).with_backoff(Backoff::NONE);
    assert_eq!(impatient.check().unwrap_err().kind(), ErrorKind::Busy);
    impatient.check().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_device_that_cannot_be_opened_is_explained() {
    let kernel = FakeKernel::new();
    let opened = |errno| {
        kernel.fail_next(Operation::Open, errno);
        device(&kernel).check().unwrap_err()
    };
    assert_eq!(opened(Errno::IO).kind(), ErrorKind::Damaged);
    assert_eq!(opened(Errno::ACCESS).kind(), ErrorKind::NoPermission);
    assert!(opened(Errno::NXIO).unavailable().is_some());
    let odd = opened(Errno::NOMEM);
    assert_eq!((odd.kind(), odd.errno()), (ErrorKind::NoResources, Errno::NOMEM));
    assert_eq!(odd.to_string(), "cannot open the device: Cannot allocate memory (os error 12)");
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn errors_of_the_device_are_named() {
    let kernel = FakeKernel::new();
    let session = outgoing(&kernel);
    let taken = device(&kernel).create(&name()).unwrap_err();
    let said = "there is an outgoing session \"vm-17\" already: File exists (os error 17)";
    assert_eq!(taken.to_string(), said);
    assert_eq!(taken.errno(), Errno::EXIST);
    let retrieve = || device(&kernel).retrieve(&name());
    assert_eq!(retrieve().unwrap_err().kind(), ErrorKind::NoSession);
    kernel.kexec();
    drop(session);
    let held = retrieve().unwrap();
    assert_eq!(retrieve().unwrap_err().kind(), ErrorKind::Held);
    held.finish().unwrap();
    kernel.fail_next(Operation::Create, Errno::NOSPC);
    assert_eq!(device(&kernel).create(&name()).unwrap_err().errno(), Errno::NOSPC);
    kernel.set_leaving(true);
    assert_eq!(device(&kernel).create(&name()).unwrap_err().kind(), ErrorKind::Leaving);
    assert_eq!(retrieve().unwrap_err().kind(), ErrorKind::Leaving);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn errors_of_preserve_are_named() {
    let kernel = FakeKernel::new();
    let session = outgoing(&kernel);
    let file = memfd();
    session.preserve(token(1), &file).unwrap();
    let kind = |number, file: OwnedFd| session.preserve(token(number), file).unwrap_err().kind();
    assert_eq!(kind(1, memfd()), ErrorKind::TokenTaken);
    assert_eq!(kind(2, file.try_clone().unwrap()), ErrorKind::AlreadyPreserved);
    assert_eq!(kind(2, File::open("/dev/null").unwrap().into()), ErrorKind::NotPreservable);
    kernel.fail_next(Operation::PreserveFd, Errno::NOMEM);
    assert_eq!(kind(2, memfd()), ErrorKind::NoResources);
    kernel.set_leaving(true);
    assert_eq!(kind(2, file), ErrorKind::Leaving);
    kernel.set_leaving(false);
    session.preserve(token(2), memfd()).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_question_for_the_direction_may_meet_a_lack_of_memory() {
    let kernel = FakeKernel::new();
    let session = outgoing(&kernel).into_fd();
    kernel.fail_next(Operation::PreserveFd, Errno::NOMEM);
    let session = OutgoingSession::try_from(session).unwrap();
    kernel.set_leaving(true);
    OutgoingSession::try_from(session.into_fd()).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_name_may_be_too_long_for_the_link() {
    let kernel = FakeKernel::new();
    kernel.set_short_links();
    for length in [38, 39, 63] {
        let name: SessionName = "x".repeat(length).parse().unwrap();
        let session = device(&kernel).create(&name).unwrap();
        assert_eq!(session.name().unwrap(), name);
        OutgoingSession::from_fd(session.into(), &name).unwrap();
    }
    assert!(OutgoingSession::try_from(memfd()).is_err());
    // Without GET_NAME, a long name cannot be read.
    kernel.set_release("7.0.9".parse().unwrap());
    let long: SessionName = "x".repeat(39).parse().unwrap();
    let session = device(&kernel).create(&long).unwrap();
    assert_eq!(session.name().unwrap_err().errno(), Errno::NAMETOOLONG);
    // The sender must be right, as far as the kernel can say.
    let session = OutgoingSession::from_fd(OwnedFd::from(session), &long).unwrap();
    let error = OutgoingSession::from_fd(session.into(), &name()).unwrap_err();
    assert_eq!(error.error().kernel_errno(), Some(Errno::NAMETOOLONG));
    drop(error.into_fd());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_that_cannot_be_finished_comes_back() {
    let kernel = FakeKernel::new();
    let session = incoming(&kernel);
    (0..2).for_each(|_| kernel.fail_next(Operation::Finish, Errno::BUSY));
    let failed = session.finish().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::NotReady);
    assert_eq!(failed.to_string(), failed.error().to_string());
    let session = failed.into_value();
    session.retrieve(token(1)).unwrap();
    kernel.set_leaving(true);
    let failed = session.finish().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::Leaving);
    kernel.set_leaving(false);
    failed.into_value().finish().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn descriptors_are_checked_for_direction_and_name() {
    for kernel in [FakeKernel::new(), rust_kernel()] {
        let wrong = IncomingSession::try_from(outgoing(&kernel).into_fd()).unwrap_err();
        assert_eq!(wrong.to_string(), "this is no incoming session");
        let session = OutgoingSession::from_fd(wrong.into_fd(), &name()).unwrap();
        let other = OutgoingSession::from_fd(session.into(), &"other".parse().unwrap());
        let other = other.unwrap_err();
        assert_eq!(other.to_string(), "this is the session \"vm-17\", not \"other\"");
        drop(other.into_fd());

        let session = incoming(&kernel).into_fd();
        let wrong = OutgoingSession::try_from(session).unwrap_err();
        let session = IncomingSession::from_fd(wrong.into_fd(), &name()).unwrap();
        session.finish().unwrap();
        // Other files are asked nothing.
        let asked = kernel.asked().len();
        assert!(OutgoingSession::try_from(memfd()).is_err());
        assert_eq!(kernel.asked().len(), asked);
    }
}

/// They do not know it.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn old_kernels_are_not_asked_for_the_direction() {
    let kernel = kernel_of("7.1.9");
    let session = OwnedFd::from(outgoing(&kernel));
    let session = OutgoingSession::from_fd(session, &name()).unwrap();
    assert!(!kernel.asked().contains(&Operation::PreserveFd));
    drop(session);
}

/// In 0.1, each claim in a jail without `/proc` failed.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_is_taken_over_without_proc() {
    for kernel in [FakeKernel::new(), rust_kernel()] {
        kernel.set_no_proc();
        let session = OutgoingSession::from_fd(outgoing(&kernel).into(), &name()).unwrap();
        drop(session);
        let session = IncomingSession::from_fd(incoming(&kernel).into(), &name()).unwrap();
        session.finish().unwrap();
    }
    // Old kernels have nothing but the link.
    let kernel = kernel_of("7.1.9");
    kernel.set_no_proc();
    let error = OutgoingSession::try_from(outgoing(&kernel).into_fd()).unwrap_err();
    assert_eq!(error.error().kernel_errno(), Some(Errno::NOENT));
    drop(error.into_fd());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn kernels_that_take_a_file_twice_are_not_given_it_twice() {
    let kernel = kernel_of("7.0.9");
    let session = outgoing(&kernel);
    let file = memfd();
    session.preserve(token(1), &file).unwrap();
    let again = session.preserve(token(2), file.try_clone().unwrap()).unwrap_err();
    assert_eq!((again.kind(), again.token()), (ErrorKind::AlreadyPreserved, Some(token(2))));
    // A file that was refused for another reason may be tried again.
    let other = memfd();
    assert_eq!(session.preserve(token(1), &other).unwrap_err().kind(), ErrorKind::TokenTaken);
    session.preserve(token(2), &other).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn preserving_and_retrieving_allocate_nothing() {
    let kernel = FakeKernel::new();
    kernel.set_idle();
    let (session, file) = (outgoing(&kernel), memfd());
    let preserved = allocation_counter::measure(|| session.preserve(token(1), &file).unwrap());
    assert_eq!(preserved.count_total, 0);
    kernel.kexec();
    let session = device(&kernel).retrieve(&name()).unwrap();
    let retrieved = allocation_counter::measure(|| drop(session.retrieve(token(1)).unwrap()));
    assert_eq!(retrieved.count_total, 0);
    session.finish().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn without_get_name_the_link_has_it() {
    let kernel = kernel_of("7.1.9");
    let session = outgoing(&kernel);
    assert_eq!(session.name().unwrap(), name());
    kernel.set_release("7.3.4".parse().unwrap());
    kernel.fail_next(Operation::GetName, Errno::NOMEM);
    assert_eq!(session.name().unwrap_err().errno(), Errno::NOMEM);
}
