// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands of the host, as an administrator gives them, and updates of the kernel by luod.

use std::convert::Infallible;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::{park, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

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
    load_unpacked(hop, number)?;
    position::remove_unpacked();
    Ok(())
}

/// The same, of a kernel that is unpacked.
///
/// # Errors
///
/// If luod refuses it.
pub fn load_unpacked(hop: &Hop, number: usize) -> Result<()> {
    let cmdline = position::cmdline(hop, number);
    output(LUCTL, &["load", KERNEL, "--initrd", INITRAMFS, "--cmdline", &cmdline]).map(drop)
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

/// Begins an update, and waits until luod is in this phase, by the word of `luctl status`.
///
/// # Errors
///
/// If it is not within 20 seconds.
pub fn begin(options: &[&str], phase: &str) -> Result<Child> {
    let mut update = Command::new(LUCTL);
    update.args(options).stdout(Stdio::null()).stderr(Stdio::null());
    let child = update.spawn().context("luctl update")?;
    let end = Instant::now() + Duration::from_secs(20);
    while !output(LUCTL, &["status"])?.contains(phase) {
        ensure!(Instant::now() < end, "the update does not come to the phase `{phase}`");
        sleep(Duration::from_millis(20));
    }
    Ok(child)
}

/// The output of a command that must succeed.
///
/// # Errors
///
/// If it fails.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {}: {said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The messages and the exit code of a command that must fail.
///
/// # Errors
///
/// If it succeeds.
pub fn failure(program: &str, arguments: &[&str]) -> Result<(String, i32)> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| program.to_owned())?;
    ensure!(!output.status.success(), "{program} {arguments:?} succeeded");
    let said = [output.stdout, output.stderr].concat();
    Ok((String::from_utf8_lossy(&said).into_owned(), output.status.code().unwrap_or(-1)))
}

/// Gives a command a text.
///
/// # Errors
///
/// If it fails.
pub fn input(program: &str, arguments: &[&str], text: &str) -> Result<()> {
    let child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn();
    let mut child = child.with_context(|| program.to_owned())?;
    let mut stdin = child.stdin.take().context("standard input")?;
    stdin.write_all(text.as_bytes()).context("write to it")?;
    drop(stdin);
    let status = child.wait().context("wait for it")?;
    ensure!(status.success(), "{program} {arguments:?}: {status}");
    Ok(())
}

/// Sessions of all owners in this direction, as `OWNER LABEL STATE`.
///
/// # Errors
///
/// If luod does not answer.
pub fn sessions(direction: &str) -> Result<Vec<String>> {
    let text = output("luctl", &["list", "--all", "--json"])?;
    let list: Value = serde_json::from_str(&text).with_context(|| format!("JSON: {text}"))?;
    let sessions = list["sessions"].as_array().context("no sessions")?;
    let of_direction = sessions.iter().filter(|it| it["direction"] == direction);
    let text = |it: &Value, key: &str| it[key].as_str().unwrap_or("?").to_owned();
    let line =
        |it: &Value| format!("{} {} {}", text(it, "owner"), text(it, "label"), text(it, "state"));
    Ok(of_direction.map(line).collect())
}
