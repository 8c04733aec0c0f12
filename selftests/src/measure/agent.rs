// SPDX-License-Identifier: MIT OR Apache-2.0

//! The cost of luod: its calls beside the raw commands, and updates with many clients.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use liblu::{Agent, Event, Participant};

use super::{Cost, Measurement, Meter, Place, now};
use crate::abi;
use crate::agent::{Luod, next};
use crate::kernel_log::note;

/// Everything is allowed, and there are as many sessions as are wanted.
const POLICY: &str = "[[rule]]\nuser = 0\nparticipate = true\nsessions = 4096\n";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// The memory of luod that clients take, each with a session.
const MEMORY: &str = "memory of luod";

/// An update with clients that is called off.
pub const CALL_OFF: &str = "call an update off";

/// The line right before the last client says that it is ready, and the kernel is left.
pub const LAST_READY: &str = "the last client is ready";

#[expect(clippy::unnecessary_wraps, reason = "deadlines are optional")]
fn soon() -> Option<Instant> {
    Some(Instant::now() + PATIENCE)
}

fn raw(number: usize) -> String {
    format!("raw-{number:06}")
}

fn label(number: usize) -> String {
    format!("vm-{number:06}")
}

/// Opens sessions, plays an update that is called off, and leaves clients that let the next one go on.
pub(super) fn before(count: usize, place: &mut Place<'_>) -> Result<Vec<Measurement>> {
    let kept = &mut *place.kept;
    let (luod, start) = Meter::all("start luod", 1, || Luod::start(POLICY));
    let luod = luod?;
    let agent = Agent::new();
    // The first call finds nothing in any cache.
    agent.open("first", soon()).context("open the first session")?;
    agent.discard("first", soon()).context("discard the first session")?;
    let empty = luod.resident()?;
    let mut create = Meter::new("open a session by ioctl");
    let mut open = Meter::new("open a session by luod");
    for number in 0..count {
        // In turns, for C takes longer for each session that there is. luod opens the device when it needs it.
        let device = abi::open().context("open the device")?;
        let session = create.time(|| abi::create(&device, raw(number)));
        kept.push(session.context("CREATE_SESSION")?);
        drop(device);
        let session = open.time(|| agent.open(&label(number), soon()));
        kept.push(session.with_context(|| format!("open session {number}"))?.into());
    }
    let mut participants = Vec::with_capacity(count);
    for number in 0..count {
        let one = agent.participate(&[&label(number)], soon());
        participants.push(one.with_context(|| format!("take part as client {number}"))?);
    }
    (place.load)()?;
    let called_off = call_off(&mut participants)?;
    let bytes = luod.resident()?.saturating_sub(empty);
    std::thread::Builder::new()
        .name("clients".into())
        .spawn(move || agree(participants))
        .context("start the clients")?;
    Ok(vec![
        create.done(),
        start,
        open.done(),
        called_off,
        Measurement { name: MEMORY.into(), count, cost: Cost::Bytes(bytes) },
    ])
}

/// An update that all clients but the last are ready for: the time from the first `Prepare` to the last `Abort`.
fn call_off(participants: &mut [Participant]) -> Result<Measurement> {
    let mut update = Command::new("luctl")
        .args(["update", "--now"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("luctl update")?;
    let mut begin = None;
    let count = participants.len();
    for (number, participant) in (1..).zip(participants.iter_mut()) {
        let generation = prepare(participant)?;
        begin.get_or_insert_with(now);
        if number < count {
            participant.ready(generation, soon()).context("say that a client is ready")?;
        } else {
            participant.refuse(generation, "this is a measurement", soon()).context("refuse")?;
        }
    }
    for participant in participants {
        match next(participant)? {
            Event::Abort { .. } => {}
            other => bail!("instead of the end of the update: {other:?}"),
        }
    }
    let ns = now() - begin.context("no clients")?;
    let status = update.wait().context("wait for luctl")?;
    ensure!(!status.success(), "an update succeeds that was refused");
    Ok(Measurement { name: CALL_OFF.into(), count, cost: Cost::Ns(ns) })
}

/// Lets the next update go on, and stays until the kernel is left.
fn agree(mut participants: Vec<Participant>) {
    let last = participants.len().saturating_sub(1);
    let all = participants.iter_mut().enumerate().try_for_each(|(number, participant)| {
        let generation = prepare(participant)?;
        if number == last {
            // Behind the answer it could come too late: the kernel is left at once.
            note(LAST_READY);
        }
        participant.ready(generation, soon()).context("say that a client is ready")
    });
    if let Err(error) = all {
        note(&format!("a client failed: {error:#}"));
    }
    loop {
        std::thread::park();
    }
}

fn prepare(participant: &mut Participant) -> Result<u64> {
    match next(participant)? {
        Event::Prepare { generation, .. } => Ok(generation),
        other => bail!("instead of the begin of an update: {other:?}"),
    }
}

/// Takes sessions over.
pub(super) fn after(count: usize) -> Result<Vec<Measurement>> {
    let device = abi::open().context("open the device")?;
    let mut retrieve = Meter::new("claim a session by ioctl");
    for number in 0..count {
        let session = retrieve.time(|| abi::retrieve(&device, raw(number)));
        abi::finish(&session.context("RETRIEVE_SESSION")?).context("FINISH")?;
    }
    drop(device);

    let (luod, start) = Meter::all("start luod in the next kernel", count, || Luod::start(POLICY));
    luod?;
    let agent = Agent::new();
    let mut claim = Meter::new("claim a session by luod");
    let mut restored = Meter::new("say that a session is restored");
    for number in 0..count {
        let label = label(number);
        let session = claim.time(|| agent.claim(&label, soon()));
        let session = session.with_context(|| format!("claim session {number}"))?;
        session.finish().map_err(liblu::Error::from).context("finish")?;
        restored.time(|| agent.restored(&label, soon())).context("restored")?;
    }
    Ok(vec![retrieve.done(), start, claim.done(), restored.done()])
}
