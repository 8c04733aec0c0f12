// SPDX-License-Identifier: MIT OR Apache-2.0

//! A client of the fake agent.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{MemfdFlags, memfd_create};

use super::*;
use crate::testing::{Answer as Said, FakeAgent, FakeKernel};
use crate::{Handover, passing};

#[expect(clippy::unnecessary_wraps, reason = "as calls take it")]
fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_is_opened_and_claimed_by_label() {
    let kernel = FakeKernel::new();
    let fake = FakeAgent::new(&kernel).unwrap();
    let agent = fake.agent();
    let none = agent.claim("vm-17", soon()).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NoSession);
    let memory = memfd_create("memory", MemfdFlags::CLOEXEC).unwrap();
    let handover = Handover::new(agent.open("vm-17", soon()).unwrap()).unwrap();
    handover.preserve("memory", &memory).unwrap();
    // The agent holds it too.
    drop(handover.ready().unwrap());
    fake.kexec();

    let session = agent.claim("vm-17", soon()).unwrap();
    assert_eq!(agent.claim("vm-17", soon()).unwrap_err().kind(), ErrorKind::Held);
    // The client crashes, and is started again.
    drop(session);
    fake.client_died("vm-17");
    let session = agent.claim("vm-17", soon()).unwrap();
    session.retrieve(1.into()).unwrap();
    session.finish().unwrap();
    agent.restored("vm-17", soon()).unwrap();
    assert_eq!(agent.claim("vm-17", soon()).unwrap_err().kind(), ErrorKind::NoSession);
    assert!(kernel.sessions().is_empty());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_that_is_discarded_is_gone() {
    let kernel = FakeKernel::new();
    let fake = FakeAgent::new(&kernel).unwrap();
    let agent = fake.agent();
    drop(agent.open("vm-17", soon()).unwrap());
    assert_eq!(kernel.sessions().len(), 1);
    agent.discard("vm-17", soon()).unwrap();
    assert!(kernel.sessions().is_empty());
    assert_eq!(agent.discard("vm-17", soon()).unwrap_err().kind(), ErrorKind::NoFile);
    drop(agent.open(&"x".repeat(200), soon()).unwrap());
    let error = agent.open("a\0b", soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidName);
}

/// Each call has a connection, and so a thread of the fake agent, of its own.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_that_is_discarded_by_another_connection_is_gone() {
    let kernel = FakeKernel::new();
    let fake = FakeAgent::new(&kernel).unwrap();
    for _ in 0..200 {
        drop(fake.agent().open("vm-17", soon()).unwrap());
        fake.agent().discard("vm-17", soon()).unwrap();
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no sockets with names")]
fn events_come_by_a_descriptor_that_can_be_polled() {
    let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
    let mut participant = fake.agent().participate(&["vm-17"], soon()).unwrap();
    assert_eq!(participant.next().unwrap(), None);
    fake.await_participants(1);
    let generation = fake.prepare(Duration::from_secs(5));
    passing::wait(participant.as_fd(), PollFlags::IN, soon()).unwrap();
    let Some(Event::Prepare { generation: there, deadline }) = participant.next().unwrap() else {
        panic!("no update begins");
    };
    assert_eq!(there, generation);
    assert!(deadline > Instant::now() && deadline < Instant::now() + Duration::from_secs(6));
    let left = participant.extend(generation, Duration::from_secs(9), soon()).unwrap();
    assert_eq!(left, Duration::from_secs(9));
    participant.ready(generation, soon()).unwrap();
    assert_eq!(fake.answers(1), [Said::Ready]);
    fake.abort("no");
    passing::wait(participant.as_fd(), PollFlags::IN, soon()).unwrap();
    let abort = Event::Abort { generation, reason: "no".into() };
    assert_eq!(participant.next().unwrap(), Some(abort));
    // Too late, which is no error.
    participant.ready(generation, soon()).unwrap();
    participant.refuse(generation, "late", soon()).unwrap();
    let stale = participant.extend(generation, Duration::from_secs(9), soon()).unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Stale);

    let generation = fake.prepare(Duration::from_secs(5));
    participant.refuse(generation, "busy", soon()).unwrap();
    assert_eq!(fake.answers(1), [Said::Refused("busy".into())]);
    fake.commit();
    passing::wait(participant.as_fd(), PollFlags::IN, soon()).unwrap();
    assert!(matches!(participant.next().unwrap(), Some(Event::Prepare { .. })));
    assert_eq!(participant.next().unwrap(), Some(Event::Commit { generation }));
}

/// The agent asks at once, and the first event may come together with the first reply.
#[test]
#[cfg_attr(miri, ignore = "Miri has no sockets with names")]
fn a_client_that_joins_while_an_update_is_prepared_can_poll_for_it() {
    let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
    let generation = fake.prepare(Duration::from_secs(5));
    let mut participant = fake.agent().participate(&["vm-17"], soon()).unwrap();
    passing::wait(participant.as_fd(), PollFlags::IN, soon()).unwrap();
    let event = participant.next().unwrap();
    assert!(matches!(event, Some(Event::Prepare { generation: there, .. }) if there == generation));
    let now = Some(Instant::now());
    let waited = passing::wait(participant.as_fd(), PollFlags::IN, now).unwrap_err();
    assert_eq!(waited.kind(), ErrorKind::TimedOut);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no sockets with names")]
fn an_agent_with_many_clients_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent");
    let _listener = UnixListener::bind(&path).unwrap();
    let mut clients = Vec::new();
    let error = loop {
        let moment = Some(Instant::now() + Duration::from_millis(30));
        match Connection::open(&path, moment) {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no sockets with names")]
fn an_agent_that_is_not_there_or_silent_is_no_cold_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent");
    let agent = Agent::at(&path);
    assert_eq!(agent.claim("x", soon()).unwrap_err().kind(), ErrorKind::NoAgent);
    let listener = UnixListener::bind(&path).unwrap();
    let moment = || Some(Instant::now() + Duration::from_millis(20));
    assert_eq!(agent.claim("x", moment()).unwrap_err().kind(), ErrorKind::TimedOut);
    drop(listener);
    assert_eq!(agent.claim("x", soon()).unwrap_err().kind(), ErrorKind::NoAgent);
}

/// An agent that says these bytes to each client.
fn saying(bytes: Vec<u8>) -> ErrorKind {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        passing::receive(&client, 4096, 0, soon()).unwrap();
        passing::send(&client, &bytes, &[], soon()).unwrap();
    });
    let kind = Agent::at(&path).claim("x", soon()).unwrap_err().kind();
    server.join().unwrap();
    kind
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no sockets with names")]
fn an_agent_that_breaks_the_protocol_is_no_cold_start() {
    assert_eq!(saying(b"{".to_vec()), ErrorKind::Disconnected);
    assert_eq!(saying(b"{\0".to_vec()), ErrorKind::Protocol);
    assert_eq!(saying(b"{\"parameters\":{}}\0".to_vec()), ErrorKind::Protocol);
    let without_fd = b"{\"parameters\":{\"sessionFileDescriptor\":0,\"sessionName\":\"x\"}}\0";
    assert_eq!(saying(without_fd.to_vec()), ErrorKind::Protocol);
    assert_eq!(saying(vec![b' '; 70_000]), ErrorKind::Protocol);
}

/// Answers each call with an error, and counts connections; the first is closed after two calls.
#[test]
#[cfg_attr(miri, ignore = "Miri has no sockets with names")]
fn a_connection_is_used_again_until_the_agent_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    let (closed, is_closed) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        for calls in [2, 1] {
            let (client, _) = listener.accept().unwrap();
            for _ in 0..calls {
                passing::receive(&client, 4096, 0, soon()).unwrap();
                let reply = b"{\"error\":\"io.liveupdate.Agent.NoSession\",\"parameters\":{}}\0";
                passing::send(&client, reply, &[], soon()).unwrap();
            }
            drop(client);
            closed.send(()).unwrap();
        }
    });
    let agent = Agent::at(&path);
    let kind = || agent.claim("x", soon()).unwrap_err().kind();
    assert_eq!([kind(), kind()], [ErrorKind::NoSession; 2]);
    is_closed.recv().unwrap();
    assert_eq!(kind(), ErrorKind::NoSession);
    server.join().unwrap();
}
