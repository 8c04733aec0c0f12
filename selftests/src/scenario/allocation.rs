// SPDX-License-Identifier: MIT OR Apache-2.0

//! `reboot(2)` allocates no memory.
//!
//! Tracepoints record each allocation of PID 1 from the moment that `reboot(2)` waits for a callback
//! until the handover is written. Allocations that would have gone well count as much as those that
//! would have failed.

use std::fs;

use anyhow::{Context, Result, ensure};
use rustix::thread::gettid;

use super::Scenario;
use super::drain::slow_preserve;
use super::leaving::{Leaving, check_left};
use super::stage::{Stage, check_came, create, test_file};
use crate::test_device::PLAIN;

pub(super) const ALL: &[Scenario] =
    &[Scenario::across("reboot_allocates_nothing_once_commands_are_done", before, after)];

const SESSION: &str = "allocation";

/// Numbers of the files: of one that is preserved when `reboot(2)` begins, and of one before.
const SLOW: u64 = 196;
const EARLIER: u64 = 197;

const TRACEFS: &str = "/sys/kernel/tracing";

/// Tracepoints of allocations: objects, and pages of whatever size.
const EVENTS: [&str; 3] = ["kmalloc", "kmem_cache_alloc", "mm_page_alloc"];

/// Records the allocations of some threads while it exists.
struct Allocations;

impl Allocations {
    fn record(threads: [i32; 2]) -> Result<Self> {
        fs::write(format!("{TRACEFS}/trace"), "").context("clear the trace")?;
        let [one, two] = threads;
        for event in EVENTS {
            let event = format!("{TRACEFS}/events/kmem/{event}");
            let filter = format!("common_pid == {one} || common_pid == {two}");
            fs::write(format!("{event}/filter"), filter).context("filter a tracepoint")?;
            fs::write(format!("{event}/enable"), "1").context("switch a tracepoint on")?;
        }
        Ok(Self)
    }

    /// The records of a thread: each line has `name-ID` in front.
    fn of(thread: i32) -> Result<Vec<String>> {
        let trace = fs::read_to_string(format!("{TRACEFS}/trace")).context("read the trace")?;
        let mark = format!("-{thread} ");
        let lines = trace.lines().filter(|line| {
            let name = line.split_once('[').map_or(*line, |(name, _)| name);
            name.contains(&mark) && EVENTS.iter().any(|event| line.contains(event))
        });
        Ok(lines.map(str::to_owned).collect())
    }
}

impl Drop for Allocations {
    fn drop(&mut self) {
        for event in EVENTS {
            let event = format!("{TRACEFS}/events/kmem/{event}");
            let _ = fs::write(format!("{event}/enable"), "0");
            let _ = fs::write(format!("{event}/filter"), "0");
        }
    }
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    stage.while_leaving(SESSION, trace)
}

fn trace(leaving: &Leaving) -> Result<()> {
    let session = create(SESSION)?;
    session.preserve(2.into(), test_file(EARLIER, PLAIN)?).context("PRESERVE_FD")?;
    let slow = slow_preserve(&session, SLOW)?;
    leaving.until_reboot_waits()?;
    let this = gettid().as_raw_nonzero().get();
    let recorded = Allocations::record([1, this])?;
    slow.end()?.context("the slow PRESERVE_FD")?;
    leaving.until_handed_over()?;
    drop(recorded);
    // On C, closing a session would block now.
    std::mem::forget(session);
    ensure!(!Allocations::of(this)?.is_empty(), "no allocation of another thread is recorded");
    let of_reboot = Allocations::of(1)?;
    ensure!(of_reboot.is_empty(), "reboot(2) allocates: {of_reboot:?}");
    Ok(())
}

fn after(_: &mut Stage<'_>) -> Result<()> {
    check_left(SESSION)?;
    check_came(SESSION, &[(1, SLOW), (2, EARLIER)])
}
