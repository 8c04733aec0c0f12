// SPDX-License-Identifier: MIT OR Apache-2.0

//! Updates of the kernel, as an administrator makes them who has luod.

use std::convert::Infallible;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::thread::park;

use anyhow::{Context, Result, bail, ensure};

use crate::plan::Hop;
use crate::position::{self, INITRAMFS, KERNEL};

/// The administrator's program.
const LUCTL: &str = "luctl";

/// Has luod load the kernel of `hop`, number `number`.
///
/// # Errors
///
/// If it is not on the payload disk, or luod refuses it.
pub fn load(hop: &Hop, number: usize) -> Result<()> {
    position::unpack_kernel(hop)?;
    let mut load = Command::new(LUCTL);
    load.args(["load", KERNEL, "--initrd", INITRAMFS, "--cmdline"]);
    load.arg(position::cmdline(hop, number));
    let output = load.output().context("luctl load")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "luctl load: {said}");
    position::remove_unpacked();
    Ok(())
}

/// Updates to the kernel that is loaded, and waits to be stopped.
///
/// # Errors
///
/// If there is no update.
pub fn update(is_now: bool) -> Result<Infallible> {
    let mut update = Command::new(LUCTL);
    update.arg("update").args(is_now.then_some("--now"));
    let output = update.output().context("luctl update")?;
    if output.status.success() || output.status.signal().is_some() {
        loop {
            park();
        }
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("luctl update: {}: {}", output.status, String::from_utf8_lossy(&said));
}
