// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tracepoints.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::stage::{Stage, create, finish, memfd, not_applicable, retrieve};
use super::{Kernel, Scenario};

pub(super) const ALL: &[Scenario] =
    &[Scenario::across("tracepoints_say_what_was_done_and_how_long_it_took", before, after)];

const TRACEFS: &str = "/sys/kernel/tracing";

/// Tracepoints are on while this value exists.
pub(super) struct Trace(&'static str);

impl Trace {
    /// Switches all tracepoints on, or the one of this name, and clears the earlier events.
    pub(super) fn begin(which: &'static str) -> Result<Self> {
        fs::write(file("trace"), "").context("clear the trace")?;
        fs::write(file(which).join("enable"), "1").context("switch tracepoints on")?;
        Ok(Self(which))
    }

    /// The events since the trace was last cleared, each without the prefix of its name.
    pub(super) fn seen() -> Result<Vec<String>> {
        let trace = fs::read_to_string(file("trace")).context("read the trace")?;
        let events = trace.lines().filter_map(|line| line.split_once(": luo_"));
        Ok(events.map(|(_, event)| event.to_owned()).collect())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::write(file(self.0).join("enable"), "0");
    }
}

/// All tracepoints.
pub(super) const ALL_EVENTS: &str = "events/liveupdate";

fn file(name: &str) -> PathBuf {
    Path::new(TRACEFS).join(name)
}

/// Checks that an event begins with this text, has this error, and has taken some time.
pub(super) fn check_event(event: &str, expected: &str, error: i32) -> Result<()> {
    let rest =
        event.strip_prefix(expected).with_context(|| format!("`{event}` is not {expected}"))?;
    let time =
        rest.rsplit_once(&format!("error={error} duration_ns=")).map(|(_, time)| time.parse());
    ensure!(matches!(time, Some(Ok(1_u64..))), "`{event}` has no time, or another error");
    Ok(())
}

/// Runs a function while tracepoints are on, and checks that each of the given events has come
/// once: an event is given by its beginning, and has an error of 0 and some time.
fn check(expected: &[&str], work: impl FnOnce() -> Result<()>) -> Result<()> {
    let trace = Trace::begin(ALL_EVENTS)?;
    work()?;
    drop(trace);
    let events = Trace::seen()?;
    ensure!(events.len() == expected.len(), "{} events: {events:?}", events.len());
    events.iter().zip(expected).try_for_each(|(event, expected)| check_event(event, expected, 0))
}

const NONE_IN_C: &str = "C has no tracepoints";

fn before(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::C {
        let events = Path::new(TRACEFS).join("events/liveupdate");
        ensure!(!events.exists(), "C has tracepoints now: compare them with ours");
        stage.keep(create("traced")?);
        return not_applicable(NONE_IN_C);
    }
    let mut kept = None;
    check(&["create: session=traced", "preserve: session=traced token=0x7"], || {
        let session = create("traced")?;
        session.preserve(7.into(), memfd("x")?).context("PRESERVE_FD")?;
        kept = Some(session);
        Ok(())
    })?;
    kept.map(|session| stage.keep(session)).context("no session")
}

fn after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::C || stage.last == Some(Kernel::C) {
        finish(retrieve("traced")?)?;
        return not_applicable(NONE_IN_C);
    }
    let expected = [
        "retrieve_session: session=traced",
        "retrieve: session=traced token=0x7",
        "finish: session=traced",
    ];
    check(&expected, || {
        let session = retrieve("traced")?;
        session.retrieve(7.into()).context("RETRIEVE_FD")?;
        finish(session).map(drop)
    })
}
