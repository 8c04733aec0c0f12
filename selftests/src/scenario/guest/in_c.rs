// SPDX-License-Identifier: MIT OR Apache-2.0

//! A VMM in C, which has nothing but the headers of the kernel.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{needs_kvm, set_up, unpack};
use crate::agent::Luod;
use crate::scenario::{Scenario, Stage};
use crate::vmm::{IN_C, append, file, spawn, tail, until};

pub(in crate::scenario) const IN_C_SURVIVES: Scenario =
    Scenario::across("a_vmm_in_c_needs_nothing_but_the_headers_of_the_kernel", before, after);

/// How long it may take to say something.
const PATIENCE: Duration = Duration::from_mins(1);

/// A guest that is not stopped before the kernel is left.
const LOST: &str = "vmm-c-lost";

/// All that one has said in this hop.
fn said(name: &str) -> String {
    fs::read_to_string(file(name, "console")).unwrap_or_default()
}

/// Waits until one has said `what` so many times.
fn wait_for(name: &str, what: &str, times: usize) -> Result<()> {
    let count = || said(name).lines().filter(|line| line.starts_with(what)).count();
    until(name, what, PATIENCE, || count() >= times)
}

/// Starts the program with a guest of this name.
fn start(program: &str, name: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(name).stdout(append(name, "console")?).stderr(append(name, "log")?);
    let child = spawn(&mut command).context("start the VMM")?;
    fs::write(file(name, "pid"), child.id().to_string()).context("note the process")?;
    wait_for(name, "runs", 1)
}

fn send(name: &str, signal: Signal) -> Result<()> {
    let pid = fs::read_to_string(file(name, "pid")).context("the process")?;
    let pid = Pid::from_raw(pid.parse().context("its number")?).context("its number")?;
    kill_process(pid, signal).context("tell the VMM")
}

/// It is stopped, goes on since there is no update after all, and is stopped again.
fn before(stage: &mut Stage<'_>) -> Result<()> {
    needs_kvm()?;
    if stage.hop == 1 {
        let program = unpack(IN_C)?;
        start(&program, IN_C)?;
        start(&program, LOST)?;
        set_up()?;
    }
    for (signal, answer, times) in [
        (Signal::TERM, "stands still at ", 1),
        (Signal::USR1, "runs again", 1),
        (Signal::TERM, "stands still at ", 2),
    ] {
        // The guest gets on.
        sleep(Duration::from_millis(100));
        send(IN_C, signal)?;
        wait_for(IN_C, answer, times)?;
    }
    Ok(())
}

fn after(stage: &mut Stage<'_>) -> Result<()> {
    needs_kvm()?;
    // Before luod, which would take the session into its custody.
    let program = unpack(IN_C)?;
    let is_first = stage.hop == 2;
    let names: &[&str] = if is_first { &[IN_C, LOST] } else { &[IN_C] };
    for &name in names {
        start(&program, name)?;
        let goes_on = said(name).contains("goes on at ");
        let is_lost = tail(name, "log").contains("the guest is lost");
        let is_right = (goes_on, is_lost) == (name == IN_C, name == LOST);
        ensure!(is_right, "{name}: {}{}", said(name), tail(name, "log"));
    }
    if is_first {
        // It computes all the time, on the processor of all other guests, and does not go further.
        send(LOST, Signal::KILL)?;
    }
    Luod::start("").map(drop)
}
