// SPDX-License-Identifier: MIT OR Apache-2.0

//! luod has few rights, little memory, and nothing to do when nothing happens.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use selftests::luctl::output;

/// The exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE: &str = "--threshold=20";

/// Resident memory, in KiB.
const RESIDENT: u64 = 12 << 10;

/// The time for which luod is watched. The watchdog is served every half minute.
const WATCHED: Duration = Duration::from_secs(3);

pub(crate) fn check() -> Result<()> {
    output("systemd-analyze", &["security", "--no-pager", EXPOSURE, "luod.service"])?;
    let pid = output("systemctl", &["show", "--value", "--property=MainPID", "luod.service"])?;
    let status = format!("/proc/{}/status", pid.trim());
    let resident = field(&status, "VmRSS:")?;
    ensure!(resident <= RESIDENT, "luod has {resident} KiB of memory");
    let switches = || field(&status, "voluntary_ctxt_switches:");
    let before = switches()?;
    std::thread::sleep(WATCHED);
    let wakeups = switches()? - before;
    // The watchdog may fall into this time.
    ensure!(wakeups <= 1, "luod has woken up {wakeups} times in {WATCHED:?}, with nothing to do");
    println!("resident: {resident} KiB");
    Ok(())
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next()).context("no such field")?;
    value.parse().context("a number")
}
