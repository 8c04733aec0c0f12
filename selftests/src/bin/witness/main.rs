// SPDX-License-Identifier: MIT OR Apache-2.0

//! PID 1 of a guest whose host is updated: it keeps a pattern in most of its memory and verifies it, reads
//! its clocks, uses its disk and its network, and reports on its console.
//!
//! Parameters of its kernel: `witness.memory=MIB` (else 60% of what is free), `witness.reserved=ADDRESS:LENGTH`
//! (a region of memory that the kernel leaves alone), `witness.disk=PATH`, `witness.echo=ADDRESS:PORT`,
//! `witness.end=SECONDS` (it reboots then), `witness.calm` (it works less, for hosts with many guests).

#![forbid(unsafe_code)]

mod clocks;
mod io;
mod memory;

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::system::{RebootCommand, reboot};
use selftests::mounts::mount_new;
use selftests::witness::Report;

use clocks::Clocks;

/// Time between reports.
const PACE: Duration = Duration::from_millis(100);

/// The clocks are read so often.
const TICK: Duration = Duration::from_millis(10);

/// The same for a calm witness.
const CALM: Duration = Duration::from_millis(200);

/// The report that all threads fill.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    report: Arc<Mutex<Report>>,
    /// Whether to work less.
    is_calm: bool,
}

impl Seen {
    pub(crate) fn update<T>(&self, with: impl FnOnce(&mut Report) -> T) -> T {
        with(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long to wait between two pieces of work: `usual`, unless it is calm.
    pub(crate) fn rest(&self, usual: Duration) -> Duration {
        if self.is_calm { CALM } else { usual }
    }

    /// Something that must not be.
    pub(crate) fn complain(&self, text: &str) {
        println!("witness: COMPLAINT: {text}");
        self.update(|report| {
            report.complaints += 1;
            if report.first_complaint.is_empty() {
                text.clone_into(&mut report.first_complaint);
            }
        });
    }
}

fn main() {
    let mut seen = Seen::default();
    if let Err(error) = run(&mut seen) {
        println!("witness: COMPLAINT: it cannot go on: {error:#}");
    }
    let _ = reboot(RebootCommand::Restart);
}

fn run(seen: &mut Seen) -> Result<()> {
    for (kind, on) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        mount_new(kind, on, "")?;
    }
    let cmdline = fs::read_to_string("/proc/cmdline").context("read the command line")?;
    let parameter = |name: &str| {
        let value = |word: &str| {
            word.strip_prefix("witness.")?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned)
        };
        cmdline.split_whitespace().find_map(value)
    };
    seen.is_calm = cmdline.split_whitespace().any(|word| word == "witness.calm");
    memory::start(seen, parameter("memory").as_deref())?;
    if let Some(place) = parameter("reserved") {
        memory::start_reserved(seen, &place)?;
    }
    if let Some(path) = parameter("disk") {
        io::start_disk(seen, &path)?;
    }
    if let Some(address) = parameter("echo") {
        io::start_network(seen, &address)?;
    }
    io::start_random(seen);
    let end = parameter("end").map(|seconds| seconds.parse().map(Duration::from_secs));
    let end = end.transpose().context("witness.end")?;

    let mut clocks = Clocks::default();
    loop {
        let line = seen.update(|report| report.line());
        println!("{line}");
        let mut next = Clocks::now() + PACE;
        while Clocks::now() < next {
            thread::sleep(seen.rest(TICK));
            if clocks.tick(seen) {
                // What was missed is missed.
                next = Clocks::now();
            }
        }
        seen.update(|report| report.number += 1);
        if end.is_some_and(|end| Clocks::now() > end) {
            println!("witness: reboots as told");
            return Ok(());
        }
    }
}
