// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions over crashes of luod, and over kernels.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use liblu::testing::{Implementation, Operation};
use liblu::{ErrorKind, Provider};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use crate::host::{Host, soon};

fn memfd(text: &[u8]) -> std::os::fd::OwnedFd {
    let memfd = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
    rustix::io::pwrite(&memfd, text, 0).unwrap();
    memfd
}

fn text(fd: impl std::os::fd::AsFd) -> Vec<u8> {
    let mut bytes = [0; 64];
    let length = rustix::io::pread(fd, &mut bytes, 0).unwrap();
    bytes[..length].to_vec()
}

/// The client has all that it needs of a session that it has claimed.
pub(crate) fn restore(agent: &liblu::Agent, label: &str, session: liblu::IncomingSession) {
    drop(session.finish().unwrap());
    agent.restored(label, soon()).unwrap();
}

/// Waits until something is true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_true() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_session_is_opened_crosses_and_is_claimed() {
    for implementation in [Implementation::C, Implementation::Rust] {
        let mut host = Host::managed(100);
        host.kernel.set_implementation(implementation);
        let agent = host.agent();
        assert_eq!(agent.claim("vm", soon()).unwrap_err().kind(), ErrorKind::NoSession);
        let session = agent.open("vm", soon()).unwrap();
        session.preserve(7.into(), memfd(b"guest")).unwrap();
        let again = agent.open("vm", soon()).unwrap();
        assert_eq!(again.name().unwrap(), session.name().unwrap());
        assert_eq!(session.name().unwrap().as_bytes(), b"user:0/vm");
        until("the session and the registry are stored", || host.stored().len() == 2);
        host.kexec();
        drop((session, again));
        host.start();
        let session = agent.claim("vm", soon()).unwrap();
        assert_eq!(text(session.retrieve(7.into()).unwrap()), b"guest");
        drop(session);
        let session = agent.claim("vm", soon()).unwrap();
        assert_eq!(text(session.retrieve(7.into()).unwrap()), b"guest");
        restore(&agent, "vm", session);
        assert_eq!(agent.claim("vm", soon()).unwrap_err().kind(), ErrorKind::NoSession);
        assert_eq!(agent.restored("vm", soon()).unwrap_err().kind(), ErrorKind::NoSession);
        until("only the registry is stored", || host.stored().len() == 1);
        assert!(host.kernel.sessions().is_empty());
    }
}

#[test]
fn nothing_is_lost_when_luod_is_killed() {
    let mut host = Host::managed(100);
    let agent = host.agent();
    let session = agent.open("vm", soon()).unwrap();
    session.preserve(7.into(), memfd(b"guest")).unwrap();
    host.restart();
    assert_eq!(agent.open("vm", soon()).unwrap().name().unwrap(), session.name().unwrap());
    host.kexec();
    drop(session);
    host.start();
    for _ in 0..3 {
        let session = agent.claim("vm", soon()).unwrap();
        assert_eq!(text(session.retrieve(7.into()).unwrap()), b"guest");
        drop(session);
        host.restart();
    }
    // The registry is lost as well, and the name of the session says whose it is.
    let session = agent.claim("vm", soon()).unwrap();
    restore(&agent, "vm", session);
}

#[test]
fn a_session_whose_registry_entry_was_not_written_is_found_by_its_name() {
    let mut host = Host::managed(100);
    let agent = host.agent();
    let session = agent.open("vm", soon()).unwrap();
    session.preserve(7.into(), memfd(b"guest")).unwrap();
    host.kill();
    host.lose_registry();
    host.start();
    assert_eq!(agent.open("vm", soon()).unwrap().name().unwrap(), session.name().unwrap());
    host.kill();
    host.lose_registry();
    host.kexec();
    drop(session);
    host.start();
    let session = agent.claim("vm", soon()).unwrap();
    assert_eq!(text(session.retrieve(7.into()).unwrap()), b"guest");
    restore(&agent, "vm", session);
    until("only the registry is stored", || host.stored().len() == 1);
}

#[test]
fn a_client_that_finishes_and_dies_before_it_says_so_begins_anew() {
    for implementation in [Implementation::C, Implementation::Rust] {
        let mut host = Host::managed(100);
        host.kernel.set_implementation(implementation);
        let provider = Provider::agent(host.agent());
        let handover = provider.open("vm", soon()).unwrap();
        handover.preserve("memory", memfd(b"guest")).unwrap();
        let ready = handover.ready().unwrap();
        host.kexec();
        drop(ready);
        host.start();
        let session = host.agent().claim("vm", soon()).unwrap();
        drop(session.finish().unwrap());
        let error = host.agent().claim("vm", soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSession, "{implementation:?}");
    }
}

#[test]
fn errors_of_the_kernel_are_told_and_a_busy_device_is_waited_for() {
    let host = Host::managed(100);
    let agent = host.agent();
    for _ in 0..3 {
        host.kernel.fail_next(Operation::Open, Errno::BUSY);
    }
    agent.open("busy", soon()).unwrap();
    host.kernel.fail_next(Operation::Create, Errno::NOSPC);
    let error = agent.open("vm", soon()).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::NoResources, Errno::NOSPC));
    host.kernel.fail_next(Operation::Retrieve, Errno::IO);
    let error = agent.claim("vm", soon()).unwrap_err();
    assert!(!error.is_cold_start(), "{error}");
    host.kernel.set_leaving(true);
    assert_eq!(agent.open("vm", soon()).unwrap_err().kind(), ErrorKind::Leaving);
    assert!(!agent.claim("vm", soon()).unwrap_err().is_cold_start());
}

#[test]
fn policy_and_store_have_bounds() {
    let host = Host::managed(6);
    let agent = host.agent();
    let kept: Vec<_> = (0..4).map(|at| agent.open(&format!("vm-{at}"), soon()).unwrap()).collect();
    let error = agent.open("one more", soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoResources, "{error}");
    agent.discard("vm-0", soon()).unwrap();
    agent.open("one more", soon()).unwrap();
    drop(kept);
    for label in ["", "a\nb", &"x".repeat(201)] {
        assert_eq!(agent.open(label, soon()).unwrap_err().kind(), ErrorKind::InvalidName);
    }
}

#[test]
fn a_discarded_session_is_closed_everywhere() {
    let host = Host::managed(100);
    let agent = host.agent();
    let session = agent.open("vm", soon()).unwrap();
    assert_eq!(host.kernel.sessions().len(), 1);
    agent.discard("vm", soon()).unwrap();
    drop(session);
    until("the kernel has no session", || host.kernel.sessions().is_empty());
    assert_eq!(agent.discard("vm", soon()).unwrap_err().kind(), ErrorKind::NoFile);
}

#[test]
fn without_a_service_manager_luod_hands_over_itself() {
    let mut host = Host::standalone();
    let agent = host.agent();
    let session = agent.open("vm", soon()).unwrap();
    session.preserve(7.into(), memfd(b"guest")).unwrap();
    let _ = session.as_fd();
    host.boot.set_loaded();
    let mut client = agent.participate(&["vm"], soon()).unwrap();
    let update = crate::updates::update(&host, r#"{"acceptUnknown":true}"#);
    let generation = crate::updates::prepare(&mut client);
    client.ready(generation, soon()).unwrap();
    host.boot.await_left();
    drop(update);
    host.kexec_at_once();
    drop(session);
    host.start();
    let session = agent.claim("vm", soon()).unwrap();
    assert_eq!(text(session.retrieve(7.into()).unwrap()), b"guest");
    restore(&agent, "vm", session);
    until("the kernel has no session", || host.kernel.sessions().is_empty());
}

#[test]
fn an_update_stops_for_a_session_that_is_to_be_carried() {
    for (policy, id) in [("", "unclaimed-session"), ("[[rule]]\ncarry = true\n", "cannot-carry")] {
        let mut host = Host::with_policy(policy);
        let session = host.agent().open("vm", soon()).unwrap();
        // Without it luod knows neither the owner nor its policy, until a client comes.
        until("the registry is written", || host.stored().contains(&"registry-2".into()));
        host.kexec();
        drop(session);
        host.start();
        host.boot.set_loaded();
        let order = r#"{"acceptUnknown":true,"dryRun":true}"#;
        let answer = crate::updates::update(&host, order).next();
        assert_eq!(answer.get("error").is_some(), id == "cannot-carry", "{answer}");
        let findings = answer["parameters"]["findings"].as_array().unwrap();
        assert!(findings.iter().any(|it| it["id"] == id), "{answer}");
    }
}

#[test]
fn a_claim_of_another_kernel_holds_nothing() {
    let mut host = Host::managed(100);
    let agent = host.agent();
    for round in 0..4 {
        // This process has claimed the session and not restored it, and hands over another one of the label.
        let session = agent.open("vm", soon()).unwrap();
        session.preserve(7.into(), memfd(format!("round {round}").as_bytes())).unwrap();
        host.kexec();
        drop(session);
        host.start();
        let session = agent.claim("vm", soon()).unwrap();
        let there = text(session.retrieve(7.into()).unwrap());
        assert_eq!(there, format!("round {round}").as_bytes());
        let listed = crate::updates::call(&host, "List", "{}", false).next();
        assert_eq!(listed["parameters"]["sessions"].as_array().unwrap().len(), 1, "{listed}");
    }
}
