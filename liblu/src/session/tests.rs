// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions on a kernel that is told how to behave.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use liveupdate_uapi::{Command, CreateSession, Finish, GetName, PreserveFd, RetrieveFd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_getfd};

use crate::fake::{self, Fake};
use crate::{
    Backoff, Error, IncomingSession, LiveUpdate, Manifest, OutgoingSession, SessionName, Token,
    passing, set_loss_hook,
};

mod lost;

fn device() -> LiveUpdate {
    let quick = Backoff { first: Duration::from_micros(1), ..Backoff::default() };
    LiveUpdate::at(fake::DEVICE).with_backoff(quick)
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

/// An incoming session with one file, number 1.
fn incoming() -> IncomingSession {
    let session = device().create(&name()).unwrap();
    session.preserve(token(1), memfd()).unwrap();
    fake::kexec();
    device().retrieve(&name()).unwrap()
}

/// Descriptors that this process has open.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_file_goes_from_kernel_to_kernel() {
    let _fake = fake::install(Fake { is_rust: true, ..Fake::default() });
    let session = incoming();
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
        let _fake = fake::install(Fake { release: Some(release), ..Fake::default() });
        let before = incoming();
        assert!(before.finish().unwrap().is_none());
        device().create(&name()).unwrap().preserve(token(1), memfd()).unwrap();
    }
    let _fake = fake::install(Fake { is_rust: true, ..Fake::default() });
    assert!(incoming().finish().unwrap().is_some());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_busy_device_is_waited_for() {
    let _fake = fake::install(Fake { busy: 5, ..Fake::default() });
    device().check().unwrap();
    fake::with(|fake| fake.busy = 1);
    let impatient = device().with_backoff(Backoff::NONE);
    assert!(matches!(impatient.check(), Err(Error::Busy { waited: Duration::ZERO })));
    device().check().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_device_that_cannot_be_opened_is_explained() {
    let _fake = fake::install(Fake::default());
    let opened = |errno| {
        fake::with(|fake| fake.open = Some(errno));
        device().check().unwrap_err()
    };
    assert!(matches!(opened(Errno::IO), Error::Damaged));
    assert!(matches!(
        opened(Errno::ACCESS),
        Error::Unavailable(crate::Unavailable::NoPermission(_))
    ));
    assert!(matches!(opened(Errno::NXIO), Error::Unavailable(_)));
    let odd = opened(Errno::NOMEM);
    assert_eq!((odd.to_string().as_str(), odd.errno()), ("cannot open the device", Errno::NOMEM));
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn errors_of_the_device_are_named() {
    let _fake = fake::install(Fake::default());
    let session = device().create(&name()).unwrap();
    let taken = device().create(&name()).unwrap_err();
    assert_eq!(taken.to_string(), "there is an outgoing session \"vm-17\" already");
    assert_eq!(taken.errno(), Errno::EXIST);
    assert!(matches!(device().retrieve(&name()), Err(Error::NoSession(_))));
    drop(session);
    fake::kexec();
    let _held = device().retrieve(&name()).unwrap().into_custody();
    assert!(matches!(device().retrieve(&name()), Err(Error::Held(_))));
    fake::with(|fake| fake.fails.push((CreateSession::NR, Errno::NOSPC)));
    assert_eq!(device().create(&"x".parse().unwrap()).unwrap_err().errno(), Errno::NOSPC);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn errors_of_preserve_are_named() {
    let _fake = fake::install(Fake::default());
    let session = device().create(&name()).unwrap();
    let file = memfd();
    session.preserve(token(1), &file).unwrap();
    assert!(matches!(session.preserve(token(1), memfd()), Err(Error::TokenTaken(_))));
    assert!(matches!(session.preserve(token(2), &file), Err(Error::AlreadyPreserved(_))));
    let null = File::open("/dev/null").unwrap();
    assert!(matches!(session.preserve(token(2), &null), Err(Error::NotPreservable(_))));
    fake::with(|fake| fake.fails.push((PreserveFd::NR, Errno::NOMEM)));
    assert_eq!(session.preserve(token(2), memfd()).unwrap_err().errno(), Errno::NOMEM);
    session.preserve(token(2), memfd()).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn two_may_ask_for_the_direction_at_once() {
    let _fake = fake::install(Fake { is_rust: true, ..Fake::default() });
    for answer in [Errno::EXIST, Errno::NOMEM, Errno::NOSPC, Errno::BUSY] {
        fake::with(|fake| fake.fails.push((PreserveFd::NR, answer)));
        let session =
            device().create(&format!("{}", answer.raw_os_error()).parse().unwrap()).unwrap();
        OutgoingSession::try_from(OwnedFd::from(session)).unwrap();
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_name_may_be_too_long_for_the_link() {
    let fake = Fake { has_short_links: true, ..Fake::default() };
    let fake = fake::install(fake);
    for length in [38, 39, 63] {
        let name: SessionName = "x".repeat(length).parse().unwrap();
        let session = device().create(&name).unwrap();
        assert_eq!(session.name().unwrap(), name);
        OutgoingSession::from_fd(session.into(), &name).unwrap();
    }
    // What is no session is none, whatever its link looks like.
    assert!(OutgoingSession::try_from(memfd()).is_err());
    drop(fake);
    // Without GET_NAME, only the name is not to be had.
    let fake =
        Fake { has_short_links: true, is_old: true, release: Some("7.0.9"), ..Fake::default() };
    let _fake = fake::install(fake);
    let name: SessionName = "x".repeat(39).parse().unwrap();
    let session = device().create(&name).unwrap();
    assert_eq!(session.name().unwrap_err().errno(), Errno::NAMETOOLONG);
    // Whoever sends it must be right, as far as it can be told.
    let session = OutgoingSession::from_fd(OwnedFd::from(session), &name).unwrap();
    let error = OutgoingSession::from_fd(session.into(), &self::name()).unwrap_err();
    assert_eq!(error.source.errno(), Errno::NAMETOOLONG);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn an_error_that_hands_something_back_says_its_reason_once() {
    let _fake = fake::install(Fake::default());
    let session = incoming();
    fake::with(|fake| fake.fails.push((Finish::NR, Errno::NOMEM)));
    let error = session.finish().unwrap_err();
    assert_eq!(error.to_string(), error.source.to_string());
    let below = std::error::Error::source(&error).unwrap();
    assert_eq!(below.to_string(), Errno::NOMEM.to_string());
    error.session.finish().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_that_cannot_be_finished_comes_back() {
    let _fake = fake::install(Fake::default());
    let session = incoming();
    fake::with(|fake| fake.fails.push((Finish::NR, Errno::BUSY)));
    let error = session.finish().unwrap_err();
    assert!(matches!(error.source, Error::NotReady));
    error.session.retrieve(token(1)).unwrap();
    error.session.finish().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn descriptors_are_checked_for_direction_and_name() {
    let _fake = fake::install(Fake::default());
    let outgoing = OwnedFd::from(device().create(&name()).unwrap());
    let wrong = IncomingSession::try_from(outgoing).unwrap_err();
    assert_eq!(wrong.to_string(), "this is no incoming session");
    let outgoing = OutgoingSession::from_fd(wrong.fd, &name()).unwrap();
    let other = OutgoingSession::from_fd(outgoing.into(), &"other".parse().unwrap()).unwrap_err();
    assert_eq!(other.to_string(), "this is the session \"vm-17\", not \"other\"");
    drop(other);
    fake::kexec();

    let incoming = device().retrieve(&name()).unwrap().into_custody();
    let wrong = OutgoingSession::try_from(incoming).unwrap_err();
    let incoming = IncomingSession::from_fd(wrong.fd, &name()).unwrap();
    incoming.finish().unwrap();
    // What is no session is asked nothing.
    let asked = fake::with(|fake| fake.asked.len());
    assert!(OutgoingSession::try_from(memfd()).is_err());
    assert_eq!(fake::with(|fake| fake.asked.len()), asked);
}

/// They do not know it.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn old_kernels_are_not_asked_for_the_direction() {
    let _fake = fake::install(Fake { release: Some("7.1.9"), ..Fake::default() });
    let session = OwnedFd::from(device().create(&name()).unwrap());
    let session = OutgoingSession::from_fd(session, &name()).unwrap();
    assert!(!fake::with(|fake| fake.asked.contains(&PreserveFd::NR)));
    drop(session);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn kernels_that_take_a_file_twice_are_not_given_it_twice() {
    let _fake = fake::install(Fake { release: Some("7.0.9"), ..Fake::default() });
    let session = device().create(&name()).unwrap();
    let file = memfd();
    session.preserve(token(1), &file).unwrap();
    let again = session.preserve(token(2), file.try_clone().unwrap()).unwrap_err();
    assert!(matches!(again, Error::AlreadyPreserved(number) if number == token(2)));
    // What was refused for another reason may be tried again.
    let other = memfd();
    assert!(matches!(session.preserve(token(1), &other), Err(Error::TokenTaken(_))));
    session.preserve(token(2), &other).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn preserving_and_retrieving_allocate_nothing() {
    let fake = Fake { is_idle: true, ..Fake::default() };
    let _fake = fake::install(fake);
    let (session, file) = (device().create(&name()).unwrap(), memfd());
    let preserved = allocation_counter::measure(|| session.preserve(token(1), &file).unwrap());
    assert_eq!(preserved.count_total, 0);
    drop(session);
    fake::kexec();
    let session = device().retrieve(&name()).unwrap();
    let retrieved = allocation_counter::measure(|| drop(session.retrieve(token(1)).unwrap()));
    assert_eq!(retrieved.count_total, 0);
    session.finish().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn without_get_name_the_link_has_it() {
    let _fake = fake::install(Fake { is_old: true, ..Fake::default() });
    let session = device().create(&name()).unwrap();
    assert_eq!(session.name().unwrap(), name());
    fake::with(|fake| fake.is_old = false);
    fake::with(|fake| fake.fails.push((GetName::NR, Errno::NOMEM)));
    assert_eq!(session.name().unwrap_err().errno(), Errno::NOMEM);
}

/// The only test that sets the hook, which belongs to the process.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_that_is_dropped_unfinished_is_loud_where_that_destroys_it() {
    static LOST: AtomicUsize = AtomicUsize::new(0);
    let expected = |count| assert_eq!(LOST.load(Ordering::SeqCst), count);
    set_loss_hook(|lost| {
        // Other tests may lose sessions too.
        if lost.is_some_and(|lost| lost.as_bytes() == b"lost") {
            LOST.fetch_add(1, Ordering::SeqCst);
        }
    });
    let lost = "lost".parse().unwrap();
    let incoming = |is_rust| {
        let fake = fake::install(Fake { is_rust, ..Fake::default() });
        drop(device().create(&lost).unwrap());
        fake::kexec();
        (device().retrieve(&lost).unwrap(), fake)
    };
    let (session, fake) = incoming(false);
    drop(session);
    expected(1);
    drop(fake);
    let (session, fake) = incoming(true);
    drop(session);
    expected(1);
    drop(fake);
    let (session, fake) = incoming(false);
    drop(session.into_custody());
    expected(1);
    drop(fake);
    let (session, _fake) = incoming(false);
    session.finish().unwrap();
    expected(1);
}

/// Runs alone: other tests open files too.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn no_failure_leaks_a_descriptor() {
    if std::env::var_os("LIBLU_TEST_ALONE").is_none() {
        let this = std::env::current_exe().unwrap();
        let name = "session::tests::no_failure_leaks_a_descriptor";
        let mut alone = std::process::Command::new(this);
        alone.args(["--exact", name, "--test-threads=1"]).env("LIBLU_TEST_ALONE", "1");
        assert!(alone.status().unwrap().success());
        return;
    }
    let _fake = fake::install(Fake::default());
    let outgoing = device().create(&name()).unwrap();
    let (file, null) = (memfd(), File::open("/dev/null").unwrap());
    outgoing.preserve(token(1), &file).unwrap();
    let before = open_files();
    for nr in [0x00, 0x01, 0x40] {
        fake::with(|fake| fake.fails.push((nr, Errno::NOMEM)));
    }
    assert!(device().create(&"x".parse().unwrap()).is_err());
    assert!(device().create(&name()).is_err());
    assert!(device().retrieve(&"y".parse().unwrap()).is_err());
    assert!(device().retrieve(&"y".parse().unwrap()).is_err());
    assert!(outgoing.preserve(token(2), &file).is_err());
    assert!(outgoing.preserve(token(2), &null).is_err());
    drop(OutgoingSession::try_from(memfd()).unwrap_err());
    drop(IncomingSession::try_from(memfd()).unwrap_err());
    let copy = outgoing.as_fd().try_clone_to_owned().unwrap();
    drop(OutgoingSession::from_fd(copy, &"z".parse().unwrap()).unwrap_err());
    assert_eq!(open_files(), before);

    fake::with(|fake| fake.fails.push((PreserveFd::NR, Errno::NOMEM)));
    assert!(Manifest::new().seal(&outgoing).is_err());
    let (here, there) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let sent = [file.as_fd(), null.as_fd()];
    passing::send(&here, b"long", &sent).unwrap();
    let before_passing = open_files();
    assert!(passing::receive(&there, 3).is_err());
    assert_eq!((open_files(), before_passing), (before + 2, before + 2));
    drop((here, there));
    assert_eq!(open_files(), before);

    outgoing.preserve(Token::MANIFEST, memfd()).unwrap();
    drop(outgoing);
    fake::kexec();
    let incoming = device().retrieve(&name()).unwrap();
    let before = open_files();
    assert!(Manifest::of(&incoming).is_err());
    assert!(incoming.retrieve(token(9)).is_err());
    fake::with(|fake| fake.fails.push((RetrieveFd::NR, Errno::NOMEM)));
    assert!(incoming.retrieve(token(1)).is_err());
    fake::with(|fake| fake.fails.push((Finish::NR, Errno::BUSY)));
    let incoming = incoming.finish().unwrap_err().session;
    assert_eq!(open_files(), before);
    incoming.finish().unwrap();
}
