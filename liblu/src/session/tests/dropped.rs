// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions that are dropped: nothing is destroyed.

use std::sync::Mutex;

use super::*;
use crate::{Error, set_loss_hook};

static DROPPED: Mutex<Vec<SessionName>> = Mutex::new(Vec::new());

/// How often a session of this name was dropped where closing would destroy it. All tests set the same
/// hook, which belongs to the process.
fn complaints(name: &SessionName) -> usize {
    DROPPED.lock().unwrap().iter().filter(|dropped| *dropped == name).count()
}

fn listen() {
    set_loss_hook(|name| DROPPED.lock().unwrap().extend(name));
}

/// An incoming session of this name.
fn named(kernel: &FakeKernel, name: &SessionName) -> IncomingSession {
    let session = device(kernel).create(name).unwrap();
    session.preserve(token(1), memfd()).unwrap();
    kernel.kexec();
    drop(session);
    device(kernel).retrieve(name).unwrap()
}

fn unique(text: &str) -> SessionName {
    format!("dropped-{text}").parse().unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_dropped_session_stays_open_where_closing_destroys_it() {
    listen();
    let name = unique("c");
    let kernel = FakeKernel::new();
    drop(named(&kernel, &name));
    assert_eq!(complaints(&name), 1);
    assert_eq!(kernel.sessions(), [name]);
    // With the implementation in Rust it is closed, and can be retrieved again.
    let (name, kernel) = (unique("rust"), rust_kernel());
    drop(named(&kernel, &name));
    let session = device(&kernel).retrieve(&name).unwrap();
    session.retrieve(token(1)).unwrap();
    session.finish().unwrap();
    assert_eq!(complaints(&name), 0);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_of_a_custodian_is_no_complaint() {
    listen();
    let (name, kernel) = (unique("held"), FakeKernel::new());
    let session = named(&kernel, &name);
    let custodian = session.as_fd().try_clone_to_owned().unwrap();
    drop(session.held_elsewhere());
    // The custodian may end: what is left must not be the last descriptor.
    drop(custodian);
    assert_eq!((complaints(&name), kernel.sessions()), (0, vec![name]));
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_that_is_given_away_or_finished_is_no_complaint() {
    listen();
    let (name, kernel) = (unique("given"), FakeKernel::new());
    drop(named(&kernel, &name).into_fd());
    named(&kernel, &name).finish().unwrap();
    assert_eq!((complaints(&name), kernel.sessions().len()), (0, 0));
}

/// In 0.1 the error owned the last descriptor, and `?` closed it without a sound.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_question_mark_destroys_nothing() {
    fn wrong_name(fd: OwnedFd) -> crate::Result<IncomingSession> {
        Ok(IncomingSession::from_fd(fd, &"other".parse()?)?)
    }
    fn wrong_direction(fd: OwnedFd) -> crate::Result<OutgoingSession> {
        Ok(OutgoingSession::try_from(fd)?)
    }
    fn not_ready(session: IncomingSession) -> crate::Result<()> {
        session.finish()?;
        Ok(())
    }
    listen();
    let claim = |text: &str| {
        let kernel = FakeKernel::new();
        let name = unique(text);
        (named(&kernel, &name), name, kernel)
    };
    let check = |error: Error, kind, name, kernel: &FakeKernel| {
        assert_eq!(error.kind(), kind);
        assert_eq!((complaints(&name), kernel.sessions()), (1, vec![name]));
    };
    let (session, name, kernel) = claim("name");
    let error = wrong_name(session.into_fd()).unwrap_err();
    check(error, ErrorKind::WrongName, name, &kernel);
    let (session, name, kernel) = claim("direction");
    let error = wrong_direction(session.into_fd()).unwrap_err();
    check(error, ErrorKind::WrongDirection, name, &kernel);
    let (session, name, kernel) = claim("finish");
    (0..2).for_each(|_| kernel.fail_next(Operation::Finish, Errno::BUSY));
    check(not_ready(session).unwrap_err(), ErrorKind::NotReady, name, &kernel);
    // A kernel that fails to answer is taken for one that destroys.
    let (session, name, kernel) = claim("proc");
    kernel.set_release("7.1.9".parse().unwrap());
    kernel.set_no_proc();
    let fd = session.into_fd();
    assert!(wrong_name(fd).is_err());
    assert_eq!(kernel.sessions(), [name]);
}
