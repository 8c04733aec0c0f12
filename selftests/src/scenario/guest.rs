// SPDX-License-Identifier: MIT OR Apache-2.0

//! Real guests, of our VMM, over updates by luod.

mod bad_days;
mod in_c;
mod ten;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::stage::not_applicable;
use super::{Scenario, Stage};
use crate::agent::Luod;
use crate::position::unpack_from;
use crate::vmm::{FOLDER, INITRAMFS, KERNEL, Machine, PARTS, PROGRAM, WATCH_PARTS};

pub(super) use bad_days::BAD_DAYS;
pub(super) use in_c::IN_C_SURVIVES;
pub(super) use ten::TEN;

/// The block device with the files of guests.
const DISK: &str = "/dev/vdb";

pub(super) const SURVIVES: Scenario =
    Scenario::across("a_guest_does_not_notice_that_its_host_is_updated", begin, go_on);

/// All users may have guests.
const POLICY: &str = "[[rule]]\nuser = 1000\nparticipate = true\n";

/// A guest with memory of all kinds and a disk.
fn machine() -> Machine {
    let options = format!("--vcpus 2 {PARTS}");
    Machine {
        name: "one".into(),
        options: options.split(' ').map(str::to_owned).collect(),
        witness: WATCH_PARTS.into(),
    }
}

fn begin(stage: &mut Stage<'_>) -> Result<()> {
    needs_kvm()?;
    if stage.hop > 1 {
        return Ok(());
    }
    set_up()?;
    let mut guest = machine().start(None)?;
    let report = guest.wait(|report| report.rounds >= 1 && report.blocks >= 3)?;
    eprintln!("before: {report:?}");
    Ok(())
}

fn go_on(stage: &mut Stage<'_>) -> Result<()> {
    needs_kvm()?;
    set_up()?;
    let mut guest = machine().start(None)?;
    let updates = u64::try_from(stage.hop - 1)?;
    let first = guest.wait(|_| true)?;
    let report = guest
        .wait(|report| report.rounds >= first.rounds + 2 && report.blocks >= first.blocks + 3)?;
    eprintln!("after: {report:?}\n{}", machine().log());
    ensure!(report.gaps >= updates, "the guest has seen {} gaps", report.gaps);
    Ok(())
}

fn needs_kvm() -> Result<()> {
    if Path::new("/dev/kvm").exists() { Ok(()) } else { not_applicable("this kernel has no KVM") }
}

/// Starts luod, and unpacks the files of guests.
pub(crate) fn set_up() -> Result<()> {
    Luod::start(POLICY)?;
    for name in [KERNEL, INITRAMFS, PROGRAM] {
        unpack(name)?;
    }
    Ok(())
}

/// Unpacks a file of guests, and returns its path.
fn unpack(name: &str) -> Result<String> {
    fs::create_dir_all(FOLDER).with_context(|| format!("make {FOLDER}"))?;
    let path = format!("{FOLDER}/{name}");
    drop(unpack_from(DISK, name, &path)?);
    fs::set_permissions(&path, Permissions::from_mode(0o755)).context("set permissions")?;
    Ok(path)
}
