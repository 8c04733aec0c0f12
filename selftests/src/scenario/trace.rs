// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tracepoints.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::stage::{Stage, create, memfd, retrieve};
use super::{Kernel, Scenario};
use crate::abi;

pub(super) const ALL: &[Scenario] =
    &[Scenario::across("tracepoints_say_what_was_done_and_how_long_it_took", before, after)];

const TRACEFS: &str = "/sys/kernel/tracing";

/// Does something while tracepoints are on, and checks that each of these was met once: by its
/// beginning, with an error of 0 and some time.
fn check(expected: &[&str], work: impl FnOnce() -> Result<()>) -> Result<()> {
    let file = |name: &str| Path::new(TRACEFS).join(name);
    fs::write(file("trace"), "").context("clear the trace")?;
    fs::write(file("events/liveupdate/enable"), "1").context("switch tracepoints on")?;
    let done = work();
    fs::write(file("events/liveupdate/enable"), "0").context("switch tracepoints off")?;
    done?;
    let trace = fs::read_to_string(file("trace")).context("read the trace")?;
    let events: Vec<_> = trace.lines().filter_map(|line| line.split_once(": luo_")).collect();
    ensure!(events.len() == expected.len(), "{} events: {trace}", events.len());
    for ((_, event), expected) in events.iter().zip(expected) {
        ensure!(event.starts_with(expected), "`{event}` is not {expected}");
        let time = event.rsplit_once("error=0 duration_ns=").map(|(_, time)| time.parse::<u64>());
        ensure!(matches!(time, Some(Ok(1..))), "`{event}` has no time");
    }
    Ok(())
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::C {
        let events = Path::new(TRACEFS).join("events/liveupdate");
        ensure!(!events.exists(), "C has tracepoints now: compare them with ours");
        stage.keep(create("traced")?);
        return Ok(());
    }
    let mut kept = None;
    check(&["create: session=traced", "preserve: session=traced token=0x7"], || {
        let session = create("traced")?;
        abi::preserve_fd(&session, memfd("x")?, 7).context("PRESERVE_FD")?;
        kept = Some(session);
        Ok(())
    })?;
    kept.map(|session| stage.keep(session)).context("no session")
}

fn after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::C || stage.last == Some(Kernel::C) {
        return abi::finish(retrieve("traced")?).context("FINISH");
    }
    let expected = [
        "retrieve_session: session=traced",
        "retrieve: session=traced token=0x7",
        "finish: session=traced",
    ];
    check(&expected, || {
        let session = retrieve("traced")?;
        abi::retrieve_fd(&session, 7).context("RETRIEVE_FD")?;
        abi::finish(&session).context("FINISH")
    })
}
