// SPDX-License-Identifier: MIT OR Apache-2.0

//! The guest around PID 1: mounts, the kernel's log, the payload, the end of a hop.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::{RebootCommand, reboot};
use selftests::control::Control;
use selftests::kernel_log::{note, with_cycle};
use selftests::mounts::mount_new;
use selftests::plan::ENTERED;
use selftests::position::Position;
use selftests::scenario::LeavingPart;

/// Open files that a test may ask for: one for each of its sessions and files.
const FILES: u64 = 1 << 20;

/// `MSECS_MIN_AGE` of `mm/kmemleak.c`.
const KMEMLEAK_AGE: Duration = Duration::from_secs(5);

/// File systems and their mount points. The upstream tests look for debugfs in `/debugfs`.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("devtmpfs", "/dev", "mode=0755"),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("debugfs", "/debugfs", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
];

/// The guest, ready for its hop.
pub(crate) struct Guest {
    /// The plan, and this hop.
    pub(crate) position: Position,
    /// Files that stay open until the kexec.
    pub(crate) kept: Vec<OwnedFd>,
    /// Parts that run while `reboot(2)` runs.
    pub(crate) leaving: Vec<LeavingPart>,
}

/// Mounts what tests need, opens the control port and reads the plan.
pub(crate) fn set_up() -> Result<Guest> {
    for (kind, on, options) in MOUNTS {
        mount_new(kind, on, options)?;
        if *on == "/dev" {
            note(&with_cycle(ENTERED));
        }
    }
    let files = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    setrlimit(Resource::Nofile, files).context("raise the limit of open files")?;
    Ok(Guest { position: Position::find()?, kept: Vec::new(), leaving: Vec::new() })
}

/// Lets kmemleak look for memory that was lost before `since`, if the kernel has kmemleak; its
/// report goes to the kernel's log.
pub(crate) fn scan_for_leaks(since: Instant) -> Result<()> {
    let kmemleak = Path::new("/sys/kernel/debug/kmemleak");
    if !kmemleak.exists() {
        return Ok(());
    }
    // kmemleak trusts nothing that is younger than this, because its pointer may be on a stack.
    std::thread::sleep(KMEMLEAK_AGE.saturating_sub(since.elapsed()));
    // An object is reported by the first scan that finds it twice without a reference.
    for _ in 0..2 {
        fs::write(kmemleak, "scan").context("scan for memory leaks")?;
    }
    for line in fs::read_to_string(kmemleak).context("read memory leaks")?.lines() {
        note(&format!("kmemleak: {line}"));
    }
    Ok(())
}

/// Ends the virtual machine: QEMU runs with `-no-reboot`.
pub(crate) fn switch_off() {
    let _ = reboot(RebootCommand::Restart);
}

/// Says on the console why the guest gives up.
pub(crate) fn complain(what: &str) {
    eprintln!("init: {what}");
    if let Ok(control) = Control::open() {
        control.line(&format!("Bail out! {what}"));
        control.drain();
    }
}
