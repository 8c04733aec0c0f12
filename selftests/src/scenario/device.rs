// SPDX-License-Identifier: MIT OR Apache-2.0

//! `/dev/liveupdate`.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use anyhow::{Context, Result, ensure};
use liblu::{Error, ErrorKind};
use rustix::io::Errno;

use super::stage::{Stage, create, device};
use super::{Scenario, stage};
use crate::abi;

/// Major number of misc devices.
const MISC: u64 = 10;

/// The last minor number of a misc device that is not dynamic: `MISC_DYNAMIC_MINOR`.
const LAST_STATIC: u32 = 255;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("the_device_is_a_misc_node_for_root_alone", node),
    Scenario::here("the_device_has_a_dynamic_minor_number", minor_number),
    Scenario::here("the_device_has_one_opener_at_a_time", one_opener),
    Scenario::here("sessions_outlive_the_opener_of_the_device", outlive),
    Scenario::here("a_session_is_a_close_on_exec_anonymous_inode_with_its_name", link),
];

fn node(_: &mut Stage<'_>) -> Result<()> {
    let node = fs::metadata(liveupdate_uapi::DEVICE).context("stat the device")?;
    ensure!(node.file_type().is_char_device(), "not a character device");
    let major = node.rdev() >> 8 & 0xfff;
    ensure!(major == MISC, "major number {major}");
    let mode = node.permissions().mode() & 0o7777;
    ensure!((mode, node.uid()) == (0o600, 0), "mode {mode:o}, owner {}", node.uid());
    Ok(())
}

fn minor_number(_: &mut Stage<'_>) -> Result<()> {
    let node = fs::metadata(liveupdate_uapi::DEVICE).context("stat the device")?;
    let minor = rustix::fs::minor(node.rdev());
    ensure!(minor > LAST_STATIC, "minor number {minor}");
    let all = fs::read_to_string("/proc/misc").context("read /proc/misc")?;
    let listed = all.lines().filter_map(|line| line.trim().split_once(' '));
    let number = listed.filter(|(_, name)| *name == "liveupdate").map(|(number, _)| number);
    let number: Vec<_> = number.collect();
    ensure!(number == [minor.to_string()], "minor number {minor}, but /proc/misc says {number:?}");
    Ok(())
}

fn one_opener(_: &mut Stage<'_>) -> Result<()> {
    let first = device()?;
    let second = abi::open();
    let errno = second.err().and_then(|error| error.raw_os_error());
    ensure!(errno == Some(Errno::BUSY.raw_os_error()), "a second open says {errno:?}");
    let busy = stage::live_update().check();
    let kind = busy.as_ref().err().map(Error::kind);
    ensure!(kind == Some(ErrorKind::Busy), "liblu says {busy:?}");
    drop(first);
    device().map(drop)
}

fn outlive(_: &mut Stage<'_>) -> Result<()> {
    let opener = device()?;
    let session = abi::create(&opener, "outlive").context("CREATE_SESSION")?;
    drop(opener);
    let opener = device()?;
    stage::fails("the name again", abi::create(&opener, "outlive"), Errno::EXIST)?;
    let file = stage::memfd("x")?;
    abi::preserve_fd(&session, &file, 1).context("PRESERVE_FD")
}

fn link(_: &mut Stage<'_>) -> Result<()> {
    let session = create("a name of its own")?;
    stage::check_descriptor(&session, "a name of its own")?;
    // The lowest number that is free, as for every other file.
    let number = session.as_fd().as_raw_fd();
    drop(session);
    let again = create("a name of its own")?;
    let again = again.as_fd().as_raw_fd();
    ensure!(again <= number, "fd {again} where {number} was free");
    Ok(())
}
