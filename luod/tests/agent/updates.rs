// SPDX-License-Identifier: MIT OR Apache-2.0

//! Updates with real clients.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use liblu::{ErrorKind, Event, Participant, Provider};
use luod::update::Method;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::host::{Host, soon};

/// A call of the manager's interface; replies are read one by one.
pub(crate) struct Call(BufReader<UnixStream>);

impl Call {
    pub(crate) fn next(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.0.read_until(0, &mut bytes).unwrap();
        bytes.pop();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Reads replies until one is as wanted.
    pub(crate) fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let reply = self.next();
            if is_it(&reply) {
                return reply;
            }
        }
    }
}

/// Calls a method of the manager's interface.
pub(crate) fn call(host: &Host, method: &str, parameters: &str, more: bool) -> Call {
    let mut stream = UnixStream::connect(host.manager_path()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let call = format!(
        "{{\"method\":\"io.liveupdate.Manager.{method}\",\"parameters\":{parameters},\"more\":{more}}}\0"
    );
    stream.write_all(call.as_bytes()).unwrap();
    Call(BufReader::new(stream))
}

pub(crate) fn update(host: &Host, parameters: &str) -> Call {
    call(host, "Update", parameters, true)
}

/// The next event of a participant.
fn event(participant: &mut Participant) -> Event {
    loop {
        if let Some(event) = participant.next().unwrap() {
            return event;
        }
        let time = Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut polled = [PollFd::new(&*participant, PollFlags::IN)];
        assert_eq!(poll(&mut polled, Some(&time)).unwrap(), 1, "an event comes");
    }
}

pub(crate) fn prepare(participant: &mut Participant) -> u64 {
    match event(participant) {
        Event::Prepare { generation, .. } => generation,
        other => panic!("{other:?}"),
    }
}

const ACCEPT: &str = r#"{"acceptUnknown":true}"#;

#[test]
fn an_update_waits_for_all_and_tells_all() {
    let host = Host::managed(100);
    host.boot.set_loaded();
    let provider = Provider::agent(host.agent());
    let _sessions = ["one", "two"].map(|label| host.agent().open(label, soon()).unwrap());
    let mut one = provider.participate(&["one"], soon()).unwrap();
    let mut two = provider.participate(&["two"], soon()).unwrap();
    let mut update = update(&host, ACCEPT);
    let generation = prepare(&mut one);
    assert_eq!(prepare(&mut two), generation);
    one.ready(generation, soon()).unwrap();
    let awaited =
        update.until(|it| it["parameters"]["awaited"].as_array().is_some_and(|it| it.len() == 1));
    assert_eq!(awaited["parameters"]["awaited"][0]["labels"][0], "two");
    assert_eq!(awaited["parameters"]["phase"], "preparing");
    let left = two.extend(generation, Duration::from_secs(90), soon()).unwrap();
    assert!(left > Duration::from_mins(1), "{left:?}");
    two.ready(generation, soon()).unwrap();
    for participant in [&mut one, &mut two] {
        assert!(matches!(event(participant), Event::Commit { generation: it } if it == generation));
    }
    assert_eq!(host.boot.await_left(), Method::Systemctl);
}

#[test]
fn a_refusal_a_crash_and_a_cancel_call_the_update_off_for_all() {
    let host = Host::managed(100);
    host.boot.set_loaded();
    let provider = Provider::agent(host.agent());
    let mut stays = provider.participate(&["made for it"], soon()).unwrap();
    for way in ["refuse", "crash", "cancel"] {
        let mut other = provider.participate(&[], soon()).unwrap();
        let mut update = update(&host, ACCEPT);
        let generation = prepare(&mut stays);
        assert_eq!(prepare(&mut other), generation);
        let session = host.agent().open("made for it", soon()).unwrap();
        match way {
            "refuse" => other.refuse(generation, "no disk", soon()).unwrap(),
            "crash" => drop(other),
            _ => drop(call(&host, "Cancel", "{}", false).next()),
        }
        let Event::Abort { generation: aborted, reason } = event(&mut stays) else { panic!() };
        assert_eq!(aborted, generation);
        let end = update.until(|it| it.get("error").is_some());
        assert_eq!(end["error"], "io.liveupdate.Manager.Aborted", "{end}");
        assert_eq!(end["parameters"]["message"], *reason);
        let expected = match way {
            "refuse" => "user:0: the client cannot take part: no disk",
            "crash" => "user:0: the client has ended before it was ready",
            _ => "an administrator has called the update off",
        };
        assert_eq!(reason, expected);
        drop(session);
    }
    let status = call(&host, "Status", "{}", false).next();
    assert_eq!(status["parameters"]["phase"], "loaded");
    assert_eq!(status["parameters"]["sessions"], 1, "its client lives");
}

#[test]
fn a_kernel_that_is_not_left_calls_the_update_off() {
    let host = Host::managed(100);
    host.boot.set_loaded();
    host.boot.fail("a block inhibitor");
    let provider = Provider::agent(host.agent());
    let _session = host.agent().open("one", soon()).unwrap();
    let mut one = provider.participate(&["one"], soon()).unwrap();
    let mut update = update(&host, r#"{"acceptUnknown":true,"method":"now"}"#);
    let generation = prepare(&mut one);
    one.ready(generation, soon()).unwrap();
    assert!(matches!(event(&mut one), Event::Commit { .. }));
    let Event::Abort { reason, .. } = event(&mut one) else { panic!() };
    assert_eq!(reason, "the kernel could not be left: a block inhibitor");
    update.until(|it| it.get("error").is_some());
    until_no_handover(&host);
}

#[test]
fn no_client_joins_while_the_kernel_is_left() {
    let mut host = Host::managed(100);
    host.boot.set_loaded();
    let provider = Provider::agent(host.agent());
    let _session = host.agent().open("one", soon()).unwrap();
    let mut one = provider.participate(&["one"], soon()).unwrap();
    let _update = update(&host, ACCEPT);
    let generation = prepare(&mut one);
    one.ready(generation, soon()).unwrap();
    host.boot.await_left();
    let join = || provider.participate(&["one"], soon());
    assert_eq!(join().unwrap_err().kind(), ErrorKind::Leaving);
    // Killed on the way, luod knows of no update any more; but it knows that the machine shuts down.
    host.restart();
    host.shuts_down(true);
    let is_refused = || matches!(join(), Err(error) if error.kind() == ErrorKind::Leaving);
    crate::sessions::until("no client may join in a shutdown", is_refused);
    host.shuts_down(false);
    crate::sessions::until("the shutdown was called off", || join().is_ok());
}

#[test]
fn an_open_session_whose_client_is_not_there_stops_an_update() {
    let host = Host::managed(100);
    host.boot.set_loaded();
    let _session = host.agent().open("vm", soon()).unwrap();
    let error = update(&host, ACCEPT).next();
    assert_eq!(error["error"], "io.liveupdate.Manager.CheckFailed", "{error}");
    let findings = error["parameters"]["findings"].as_array().unwrap();
    assert!(findings.iter().any(|it| it["id"] == "unattended-session"), "{error}");
    let provider = Provider::agent(host.agent());
    let mut client = provider.participate(&["vm"], soon()).unwrap();
    let begun = update(&host, ACCEPT);
    prepare(&mut client);
    drop(begun);
}

#[test]
fn a_client_is_not_ready_for_a_session_that_luod_does_not_have() {
    let host = Host::managed(100);
    host.boot.set_loaded();
    let mut client = Provider::agent(host.agent()).participate(&["vm"], soon()).unwrap();
    let begun = update(&host, ACCEPT);
    let generation = prepare(&mut client);
    let error = client.ready(generation, soon()).unwrap_err();
    assert_eq!(error.kind(), liblu::ErrorKind::NoFile);
    let _session = host.agent().open("vm", soon()).unwrap();
    client.ready(generation, soon()).unwrap();
    host.boot.await_left();
    drop(begun);
}

#[test]
fn a_command_line_without_live_updates_is_found() {
    let host = Host::managed(100);
    for (cmdline, is_found) in [("quiet", true), ("quiet liveupdate=on", false)] {
        let parameters = format!("{{\"cmdline\":\"{cmdline}\"}}");
        let reply = call(&host, "Check", &parameters, false).next();
        let findings = reply["parameters"]["findings"].as_array().unwrap();
        assert_eq!(findings.iter().any(|it| it["id"] == "target-cmdline"), is_found, "{reply}");
    }
}

fn until_no_handover(host: &Host) {
    crate::sessions::until("the session for the next luod is gone", || {
        host.kernel.sessions().iter().all(|name| name.as_bytes() != b"io.liveupdate.luod")
    });
}

#[test]
fn checks_stop_an_update_before_anybody_is_asked() {
    let host = Host::managed(100);
    let mut refused = update(&host, "{}");
    let error = refused.next();
    assert_eq!(error["error"], "io.liveupdate.Manager.CheckFailed");
    let ids = |value: &Value| {
        let findings = value["parameters"]["findings"].as_array().unwrap();
        findings.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(ids(&error).contains(&"target-missing".into()), "{error}");
    host.boot.set_loaded();
    let error = update(&host, "{}").next();
    assert!(ids(&error).contains(&"target-foreign".into()), "{error}");
    let dry = update(&host, r#"{"acceptUnknown":true,"dryRun":true}"#).next();
    assert!(dry.get("error").is_none() && dry.get("continues").is_none(), "{dry}");
    let overridden = update(&host, r#"{"override":["target-foreign"],"dryRun":true}"#).next();
    assert!(overridden.get("error").is_none(), "{overridden}");
}

/// The phases of an update in which luod is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Killed {
    Idle,
    Loaded,
    Preparing,
    OneReady,
    Committing,
}

#[test]
fn luod_may_be_killed_in_every_phase() {
    for killed in
        [Killed::Idle, Killed::Loaded, Killed::Preparing, Killed::OneReady, Killed::Committing]
    {
        let mut host = Host::managed(100);
        let provider = Provider::agent(host.agent());
        let sessions = ["one", "two"].map(|label| host.agent().open(label, soon()).unwrap());
        if killed != Killed::Idle {
            host.boot.set_loaded();
        }
        let mut one = provider.participate(&["one"], soon()).unwrap();
        let mut two = provider.participate(&["two"], soon()).unwrap();
        if !matches!(killed, Killed::Idle | Killed::Loaded) {
            let begun = update(&host, ACCEPT);
            let generation = prepare(&mut one);
            assert_eq!(prepare(&mut two), generation);
            if killed != Killed::Preparing {
                one.ready(generation, soon()).unwrap();
            }
            if killed == Killed::Committing {
                two.ready(generation, soon()).unwrap();
                host.boot.await_left();
            }
            drop(begun);
        }
        host.restart();
        // Clients see that it has gone, and come back.
        assert!(until_gone(&mut one) && until_gone(&mut two), "{killed:?}");
        host.boot.forget();
        host.boot.set_loaded();
        let mut one = provider.participate(&["one"], soon()).unwrap();
        let mut two = provider.participate(&["two"], soon()).unwrap();
        let listed = call(&host, "List", "{}", false).next();
        assert_eq!(listed["parameters"]["sessions"].as_array().unwrap().len(), 2, "{killed:?}");
        let begun = update(&host, ACCEPT);
        let generation = prepare(&mut one);
        assert_eq!(prepare(&mut two), generation);
        one.ready(generation, soon()).unwrap();
        two.ready(generation, soon()).unwrap();
        host.boot.await_left();
        drop(begun);
        host.kexec();
        drop(sessions);
        host.start();
        for label in ["one", "two"] {
            let session = host.agent().claim(label, soon()).unwrap();
            crate::sessions::restore(&host.agent(), label, session);
        }
    }
}

/// Whether the connection of a participant ends.
fn until_gone(participant: &mut Participant) -> bool {
    for _ in 0..100 {
        if participant.next().is_err() {
            return true;
        }
        let time = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&*participant, PollFlags::IN)], Some(&time));
    }
    false
}

#[test]
fn a_generation_is_never_used_again() {
    let mut host = Host::managed(100);
    let mut last = 0;
    for round in 0..6 {
        host.boot.set_loaded();
        let provider = Provider::agent(host.agent());
        let _session = host.agent().open("one", soon()).unwrap();
        let mut one = provider.participate(&["one"], soon()).unwrap();
        let begun = update(&host, ACCEPT);
        let generation = prepare(&mut one);
        assert!(generation > last, "{generation} after {last}");
        last = generation;
        match round % 3 {
            0 => host.restart(),
            1 => {
                one.ready(generation, soon()).unwrap();
                host.boot.await_left();
                host.kexec();
                host.start();
            }
            _ => drop(call(&host, "Cancel", "{}", false).next()),
        }
        drop((begun, one));
    }
}
