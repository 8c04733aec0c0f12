// SPDX-License-Identifier: MIT OR Apache-2.0

//! Claims from each source.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use super::*;
use crate::testing::{FakeAgent, FakeKernel, Implementation, Operation};
use crate::{Backoff, SessionName};

#[expect(clippy::unnecessary_wraps, reason = "as calls take it")]
fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

fn memfd() -> OwnedFd {
    memfd_create("memory", MemfdFlags::CLOEXEC).unwrap()
}

fn claimed(provider: &Provider) -> Claimed {
    match provider.claim("vm-17", soon()).unwrap() {
        Claim::Session(session) => session,
        Claim::ColdStart => panic!("nothing came"),
    }
}

fn is_cold(provider: &Provider) -> bool {
    matches!(provider.claim("vm-17", soon()).unwrap(), Claim::ColdStart)
}

/// Goes through an update and into the one after it.
fn go(provider: &Provider, kexec: impl Fn()) {
    assert!(is_cold(provider));
    let handover = provider.open("vm-17", soon()).unwrap();
    handover.preserve("memory", memfd()).unwrap();
    handover.set_state("memory", b"now").unwrap();
    let ready = handover.ready().unwrap();
    kexec();
    drop(ready);
    let session = claimed(provider);
    session.retrieve("memory").unwrap();
    assert_eq!(session.state("memory").unwrap(), b"now");
    assert_eq!(session.retrieve("disk").unwrap_err().kind(), ErrorKind::NoFile);
    let finished = session.finish(soon()).unwrap();
    finished.custody.unwrap();
    assert!(is_cold(provider));
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_goes_over_an_update_by_the_device() {
    for implementation in [Implementation::C, Implementation::Rust] {
        let kernel = FakeKernel::new();
        kernel.set_implementation(implementation);
        go(&Provider::device(kernel.device()), || kernel.kexec());
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_goes_over_an_update_by_the_agent() {
    for implementation in [Implementation::C, Implementation::Rust] {
        let kernel = FakeKernel::new();
        kernel.set_implementation(implementation);
        let agent = FakeAgent::new(&kernel).unwrap();
        go(&Provider::agent(agent.agent()), || agent.kexec());
    }
}

/// What the service manager passes to a service with `LUOSession=vm-17`.
fn manager(kernel: &FakeKernel, session: &OwnedFd) -> Provider {
    let sessions = vec![("vm-17".to_owned(), session.try_clone().unwrap())];
    Provider(vec![Source::FdStore(FdStore::of(sessions).unwrap(), kernel.device())])
}

/// The name that the service manager makes.
fn hashed() -> SessionName {
    "hash-of-the-unit".parse().unwrap()
}

/// As `LUOSession=`: the service manager creates the session at the first start, and passes the same one
/// after the update.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_goes_over_an_update_by_the_fd_store() {
    for implementation in [Implementation::C, Implementation::Rust] {
        let kernel = FakeKernel::new();
        kernel.set_implementation(implementation);
        let created = kernel.device().create(&hashed()).unwrap().into_fd();
        let provider = manager(&kernel, &created);
        assert!(is_cold(&provider));
        assert!(matches!(provider.claim("other", soon()).unwrap(), Claim::ColdStart));
        assert_eq!(provider.open("other", soon()).unwrap_err().kind(), ErrorKind::Unsupported);
        let handover = provider.open("vm-17", soon()).unwrap();
        handover.preserve("memory", memfd()).unwrap();
        let ready = handover.ready().unwrap();
        kernel.kexec();
        drop(ready);
        let retrieved = kernel.device().retrieve(&hashed()).unwrap().into_fd();
        let provider = manager(&kernel, &retrieved);
        let session = claimed(&provider);
        assert_eq!(provider.open("vm-17", soon()).unwrap_err().kind(), ErrorKind::NameTaken);
        session.retrieve("memory").unwrap();
        let finished = session.finish(soon()).unwrap();
        // There is no service manager, and on C it would have to be told.
        let is_told = implementation == Implementation::Rust;
        assert_eq!(finished.custody.is_ok(), is_told, "{:?}", finished.custody);
        drop(finished.next);
        assert!(is_cold(&provider));
        let again = provider.open("vm-17", soon());
        assert_eq!(again.is_ok(), is_told, "{again:?}");
    }
}

/// The service manager could not retrieve the session when it booted, and has created another one.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_fresh_session_of_the_service_manager_is_checked_at_the_device() {
    let kernel = FakeKernel::new();
    let handover = Handover::new(kernel.device().create(&hashed()).unwrap()).unwrap();
    handover.preserve("memory", memfd()).unwrap();
    let ready = handover.ready().unwrap();
    kernel.kexec();
    drop(ready);
    let created = kernel.device().create(&hashed()).unwrap().into_fd();
    let provider = manager(&kernel, &created);
    claimed(&provider).retrieve("memory").unwrap();
    // Without the right to open the device, its word counts.
    kernel.fail_next(Operation::Open, Errno::ACCESS);
    assert!(is_cold(&provider));
    kernel.fail_next(Operation::Open, Errno::IO);
    assert_eq!(provider.claim("vm-17", soon()).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn an_fd_store_that_cannot_be_understood_is_an_error() {
    let kernel = FakeKernel::new();
    let session = || {
        let name = format!("x-{}", kernel.asked().len());
        kernel.device().create(&name.parse().unwrap()).unwrap().into_fd()
    };
    let twice = vec![("x".to_owned(), session()), ("x".to_owned(), session())];
    assert_eq!(FdStore::of(twice).unwrap_err().kind(), ErrorKind::Protocol);
    kernel.set_release("7.1.9".parse().unwrap());
    let old = vec![("x".to_owned(), session())];
    assert_eq!(FdStore::of(old).unwrap_err().kind(), ErrorKind::Unsupported);
}

/// The program has opened the session, and starts again: after a crash, or after it was dropped.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_that_an_earlier_run_has_left_is_opened_again() {
    let kernel = FakeKernel::new();
    let agent = FakeAgent::new(&kernel).unwrap();
    let provider = Provider::agent(agent.agent());
    let memory = memfd();
    for _ in 0..3 {
        let handover = provider.open("vm-17", soon()).unwrap();
        handover.preserve("memory", &memory).unwrap();
        drop(handover.ready().unwrap());
    }
    // While another instance runs, it is not taken away.
    let first = provider.open("vm-17", soon()).unwrap();
    assert!(provider.open("vm-17", soon()).is_err());
    assert_eq!(kernel.sessions().len(), 1);
    drop(first);

    let device = Provider::device(kernel.device());
    (0..3).for_each(|_| drop(device.open("vm-17", soon()).unwrap()));

    let created = kernel.device().create(&hashed()).unwrap().into_fd();
    let manager = manager(&kernel, &created);
    drop(manager.open("vm-17", soon()).unwrap());
    // Without a service manager, the session cannot be given up.
    assert_eq!(manager.open("vm-17", soon()).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_that_is_discarded_is_undone() {
    let kernel = FakeKernel::new();
    let agent = FakeAgent::new(&kernel).unwrap();
    let provider = Provider::agent(agent.agent());
    provider.discard("vm-17", soon()).unwrap();
    let memory = memfd();
    let handover = provider.open("vm-17", soon()).unwrap();
    handover.preserve("memory", &memory).unwrap();
    drop(handover);
    // The agent still holds it.
    assert_eq!(kernel.sessions().len(), 1);
    provider.discard("vm-17", soon()).unwrap();
    assert!(kernel.sessions().is_empty());
    provider.open("vm-17", soon()).unwrap().preserve("memory", &memory).unwrap();
}

/// The client has ended between FINISH and Restored, or the agent could not be told.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_finished_session_of_which_the_agent_does_not_know_is_a_cold_start() {
    let kernel = FakeKernel::new();
    kernel.set_implementation(Implementation::Rust);
    let agent = FakeAgent::new(&kernel).unwrap();
    let provider = Provider::agent(agent.agent());
    let ready = provider.open("vm-17", soon()).unwrap().ready().unwrap();
    agent.kexec();
    drop(ready);
    let session = agent.agent().claim("vm-17", soon()).unwrap();
    session.finish().unwrap();
    agent.client_died("vm-17");
    assert!(is_cold(&provider));
    let unknown = agent.agent().restored("vm-17", soon()).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NoSession);
    provider.restored("vm-17", soon()).unwrap();
}

/// The agent was removed, or its socket is not in this mount namespace.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_of_an_agent_is_found_without_it() {
    let kernel = FakeKernel::new();
    let owner = format!("user:{}", rustix::process::getuid().as_raw());
    let name = SessionName::in_namespace(&owner, "vm-17").unwrap();
    let ready = Handover::new(kernel.device().create(&name).unwrap()).unwrap().ready().unwrap();
    kernel.kexec();
    drop(ready);
    let provider = Provider::of(Agent::at("/nonexistent/agent"), None, kernel.device());
    assert_eq!(claimed(&provider).session().name().unwrap(), name);
    // Where there should be an agent, nothing is a cold start without it.
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::at(folder.path().join("agent"));
    let provider = Provider::of(agent, None, kernel.device());
    assert_eq!(provider.sources(), [SourceKind::Agent]);
    assert_eq!(provider.claim("vm-17", soon()).unwrap_err().kind(), ErrorKind::NoAgent);
}

/// In 0.1, the example on the first page took these for a cold start.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn an_error_is_no_cold_start() {
    let kernel = FakeKernel::new();
    let provider = Provider::device(kernel.device().with_backoff(Backoff::NONE));
    for errno in [Errno::ACCESS, Errno::PERM, Errno::IO, Errno::BUSY, Errno::MFILE, Errno::NOMEM] {
        kernel.fail_next(Operation::Open, errno);
        assert!(provider.claim("vm-17", soon()).is_err(), "{errno:?}");
    }
    for errno in [Errno::INVAL, Errno::BUSY, Errno::NOMEM] {
        kernel.fail_next(Operation::Retrieve, errno);
        assert!(provider.claim("vm-17", soon()).is_err(), "{errno:?}");
    }
    assert!(is_cold(&provider));
    let nowhere = Provider::agent(Agent::at("/nonexistent/agent"));
    assert_eq!(nowhere.claim("vm-17", soon()).unwrap_err().kind(), ErrorKind::NoAgent);
}

#[test]
fn only_some_reasons_for_no_live_updates_are_a_cold_start() {
    use crate::Unavailable::{Failed, KhoOff, NoNode, NotBuilt, NotEnabled, TooOld, Unknown};

    let is_cold = |why| Error::from(why).is_cold_start();
    for why in [TooOld("6.1".parse().unwrap()), NotBuilt("LIVEUPDATE"), NotEnabled, KhoOff] {
        assert!(is_cold(why));
    }
    for why in [Failed, NoNode("/dev/x".into()), Unknown("/dev/x".into())] {
        assert!(!is_cold(why));
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn the_agent_is_asked_first_and_the_device_only_without_one() {
    let kernel = FakeKernel::new();
    let agent = FakeAgent::new(&kernel).unwrap();
    let store = || Some(FdStore::of(Vec::new()).unwrap());
    let (fd_store, device) = (SourceKind::FdStore, SourceKind::Device);
    let with = Provider::of(agent.agent(), store(), kernel.device());
    assert_eq!(with.sources(), [SourceKind::Agent, fd_store]);
    let without = Provider::of(Agent::at("/nonexistent/agent"), store(), kernel.device());
    assert_eq!(without.sources(), [fd_store, device]);
    let none = without.participate(&["vm-17"], soon()).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Unsupported);
    with.participate(&["vm-17"], soon()).unwrap();
}

/// The client crashes after it has claimed the session, and is started again.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_claimed_session_that_is_dropped_can_be_claimed_again() {
    let kernel = FakeKernel::new();
    let agent = FakeAgent::new(&kernel).unwrap();
    let provider = Provider::agent(agent.agent());
    let handover = provider.open("vm-17", soon()).unwrap();
    handover.preserve("memory", memfd()).unwrap();
    let ready = handover.ready().unwrap();
    agent.kexec();
    drop(ready);
    for _ in 0..3 {
        claimed(&provider).retrieve("memory").unwrap();
        agent.client_died("vm-17");
    }
    let session = claimed(&provider);
    (0..2).for_each(|_| kernel.fail_next(Operation::Finish, Errno::BUSY));
    let failed = session.finish(soon()).unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::NotReady);
    failed.into_value().finish(soon()).unwrap().custody.unwrap();
}
