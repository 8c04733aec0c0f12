// SPDX-License-Identifier: MIT OR Apache-2.0

//! The server of the fake agent: a thread for each connection, which is enough for tests.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use rustix::io::Errno;
use serde_json::{Value, json};

use super::{Answer, Shared, State};
use crate::agent::protocol::{Call, EventReply, INTERFACE, Prepare, SessionReply};
use crate::agent::wire::{Inbox, MAX_FRAME};
use crate::{Error, ErrorKind, OutgoingSession, Result, SessionName, passing};

/// A reply: its parameters, and the session that comes along.
type Reply = std::result::Result<(Value, Option<std::os::fd::OwnedFd>), Refusal>;

/// The name of an error, and its parameters.
struct Refusal(String, Value);

impl Refusal {
    /// An error of the agent's interface.
    fn own(name: &str, parameters: Value) -> Self {
        Self(format!("{INTERFACE}.{name}"), parameters)
    }
}

pub(super) fn serve(listener: &UnixListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.lock().is_ended {
            return;
        }
        if let Ok(client) = client {
            let shared = shared.clone();
            std::thread::spawn(move || serve_client(&client, &shared));
        }
    }
}

/// Serves a client until it hangs up or breaks the rules.
fn serve_client(client: &UnixStream, shared: &Shared) {
    let mut inbox = Inbox::default();
    while let Ok(Some(message)) = passing::receive(client, MAX_FRAME, 0, None) {
        if inbox.push(&message.bytes, message.fds).is_err() {
            return;
        }
        while let Ok(Some(frame)) = inbox.next() {
            if answer(client, &frame.json, shared).is_err() {
                return;
            }
        }
    }
}

fn answer(client: &UnixStream, json: &[u8], shared: &Shared) -> Result<()> {
    let _one_at_a_time = shared.answering.lock().unwrap_or_else(PoisonError::into_inner);
    let broken = |_| Error::new(ErrorKind::Protocol, "no call");
    let call: Call<Value> = serde_json::from_slice(json).map_err(broken)?;
    let method = call.method.strip_prefix(INTERFACE).and_then(|it| it.strip_prefix('.'));
    let method = method.unwrap_or_default();
    let fails = fails(method, shared);
    if fails.is_none() && method == "Participate" && call.more {
        return participate(client, shared);
    }
    match fails.map_or_else(|| run(method, &call.parameters, shared), Err) {
        Ok((parameters, session)) => {
            let fds: Vec<_> = session.iter().map(AsFd::as_fd).collect();
            reply(client, &parameters, false, &fds, None)
        }
        Err(refusal) => refuse(client, refusal),
    }
}

fn refuse(client: &UnixStream, Refusal(name, parameters): Refusal) -> Result<()> {
    send(client, &json!({"error": name, "parameters": parameters}), &[], None)
}

/// Sends a reply.
pub(super) fn reply(
    client: &UnixStream,
    parameters: &Value,
    continues: bool,
    fds: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> Result<()> {
    let mut reply = json!({"parameters": parameters});
    if let (true, Some(members)) = (continues, reply.as_object_mut()) {
        members.insert("continues".into(), Value::Bool(true));
    }
    send(client, &reply, fds, deadline)
}

fn send(
    client: &UnixStream,
    reply: &Value,
    fds: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> Result<()> {
    let mut bytes = reply.to_string().into_bytes();
    bytes.push(0);
    passing::send(client, &bytes, fds, deadline)
}

/// The error of a call that is to fail.
fn fails(method: &str, shared: &Shared) -> Option<Refusal> {
    let mut state = shared.lock();
    let at = state.failing.iter().position(|(failing, _)| failing == method)?;
    let (_, error) = state.failing.remove(at);
    Some(Refusal::own(&error, json!({"message": "it is to fail"})))
}

fn participate(client: &UnixStream, shared: &Shared) -> Result<()> {
    let copy = client.try_clone().map_err(|_| Error::new(ErrorKind::NoResources, "no socket"))?;
    let mut state = shared.lock();
    if state.is_committed {
        let parameters = json!({"message": "the kernel is being left"});
        return refuse(client, Refusal::own("Committing", parameters));
    }
    state.next += 1;
    let number = state.next;
    let first = EventReply { participant: Some(number), ..EventReply::default() };
    let mut bytes = json!({"parameters": first, "continues": true}).to_string() + "\0";
    if let Some((_, deadline)) = state.preparing() {
        // Both may come with one read.
        let prepare = Some(Prepare { generation: state.generation, deadline });
        let late = EventReply { prepare, ..EventReply::default() };
        bytes += &(json!({"parameters": late, "continues": true}).to_string() + "\0");
    }
    passing::send(client, bytes.as_bytes(), &[], None)?;
    state.participants.insert(number, copy);
    shared.changed.notify_all();
    Ok(())
}

fn run(method: &str, parameters: &Value, shared: &Shared) -> Reply {
    let label = parameters.get("label").and_then(Value::as_str).unwrap_or_default();
    match method {
        "Open" => open(label, shared),
        "Claim" => claim(label, &mut shared.lock()),
        "Restored" => {
            let mut state = shared.lock();
            state.claimed.remove(label);
            let there = state.incoming.remove(label);
            there.map(|_| (json!({}), None)).ok_or_else(|| refusal("NoSession", label))
        }
        "Keep" => {
            let is_there = shared.lock().outgoing.contains_key(label);
            is_there.then(|| (json!({}), None)).ok_or_else(|| refusal("NotOpen", label))
        }
        "Discard" => {
            let there = shared.lock().outgoing.remove(label);
            there.map(|_| (json!({}), None)).ok_or_else(|| refusal("NotOpen", label))
        }
        "Ready" => note(parameters, Answer::Ready, shared),
        "Refuse" => {
            let reason = parameters.get("reason").and_then(Value::as_str).unwrap_or_default();
            note(parameters, Answer::Refused(reason.to_owned()), shared)
        }
        "Extend" => {
            check(parameters, &shared.lock())?;
            let time = parameters.get("timeMSec").and_then(Value::as_u64).unwrap_or_default();
            Ok((json!({"deadlineMSec": time}), None))
        }
        _ => Err(Refusal("org.varlink.service.MethodNotFound".into(), json!({"method": method}))),
    }
}

fn refusal(name: &str, label: &str) -> Refusal {
    let (name, message) = match name {
        "NoSession" => ("NoSession", "no such session came"),
        "NotOpen" => ("NotOpen", "no such session is open"),
        "Held" => ("Held", "another process has claimed the session"),
        _ => ("InvalidLabel", "this is no label"),
    };
    Refusal::own(name, json!({"message": message, "label": label, "pid": 1, "sinceMSec": 0}))
}

/// The name of the session with this label: an agent makes it of the owner too.
pub(super) fn name(label: &str) -> Result<SessionName> {
    SessionName::in_namespace("fake", label)
}

fn session(label: &str, fd: &std::os::fd::OwnedFd, source: Option<&str>) -> Reply {
    let parameters = SessionReply {
        session_file_descriptor: 0,
        session_name: name(label).map_err(|_| refusal("", label))?.to_string(),
        source: source.map(str::to_owned),
    };
    let copy = fd.try_clone().map_err(|_| refusal("", label))?;
    Ok((json!(parameters), Some(copy)))
}

fn open(label: &str, shared: &Shared) -> Reply {
    let mut state = shared.lock();
    if let Some(fd) = state.outgoing.get(label) {
        return session(label, fd, None);
    }
    let name = name(label).map_err(|_| refusal("", label))?;
    let created = shared.kernel.device().create(&name);
    let fd = created.map(OutgoingSession::into_fd).map_err(|error| {
        let errno = error.kernel_errno().map(Errno::raw_os_error);
        let parameters = json!({"message": error.to_string(), "errno": errno, "errnoName": ""});
        Refusal::own("KernelError", parameters)
    })?;
    let reply = session(label, &fd, None);
    state.outgoing.insert(label.to_owned(), fd);
    reply
}

fn claim(label: &str, state: &mut State) -> Reply {
    if state.claimed.contains(label) {
        return Err(refusal("Held", label));
    }
    let fd = state.incoming.get(label).ok_or_else(|| refusal("NoSession", label))?;
    let reply = session(label, fd, Some("kernel"))?;
    state.claimed.insert(label.to_owned());
    Ok(reply)
}

/// The participant that answers, if it answers the update that is being prepared.
fn check(parameters: &Value, state: &State) -> std::result::Result<u64, Refusal> {
    let number = |name| parameters.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (participant, generation) = (number("participant"), number("generation"));
    if !state.participants.contains_key(&participant) {
        let parameters = json!({"message": "no such participant", "participant": participant});
        return Err(Refusal::own("NoSuchParticipant", parameters));
    }
    let current = state.preparing().map(|(generation, _)| generation);
    if current != Some(generation) {
        let parameters = json!({"message": "that update is over", "current": current});
        return Err(Refusal::own("StaleGeneration", parameters));
    }
    Ok(participant)
}

fn note(parameters: &Value, answer: Answer, shared: &Shared) -> Reply {
    let mut state = shared.lock();
    let participant = check(parameters, &state)?;
    state.answers.insert(participant, answer);
    shared.changed.notify_all();
    Ok((json!({}), None))
}
