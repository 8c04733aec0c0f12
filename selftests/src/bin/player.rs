// SPDX-License-Identifier: MIT OR Apache-2.0

//! Plays the plan on a host with systemd, as a unit: starts other units, then asks systemd for a
//! kexec.

#![forbid(unsafe_code)]

use std::fs;
use std::process::{Command, ExitCode};
use std::thread::park;

use anyhow::{Context, Result, bail, ensure};
use rustix::system::{RebootCommand, reboot};
use selftests::control::Control;
use selftests::event::Event;
use selftests::plan::{Action, Hop, Leave};
use selftests::position::{self, Position, Verdict};
use selftests::scenario::Side;
use selftests::systemd::SIDE_FILE;
use selftests::{luctl, program};

fn main() -> ExitCode {
    let Err(error) = play();
    eprintln!("player: {error:#}");
    if let Ok(control) = Control::open() {
        control.line(&format!("Bail out! {error:#}"));
        control.drain();
    }
    // The host reads no more than this.
    let _ = reboot(RebootCommand::Restart);
    ExitCode::FAILURE
}

fn play() -> Result<std::convert::Infallible> {
    let position = Position::find()?;
    let steps = position.begin()?;
    for (number, step) in (1..).zip(&steps) {
        position.control.event(&Event::Step { name: step.name.clone() });
        let verdict = match &step.action {
            Action::Start { unit, side } => start(&position, unit, *side, step.limit_ms),
            Action::Run { argv } => program::run(&position.control, argv, step.limit_ms),
            other => bail!("a unit of systemd cannot do this: {other:?}"),
        };
        position.say(number, step, &verdict);
    }
    let Some(next) = position.next() else {
        position.control.event(&Event::Done);
        position.control.drain();
        return systemctl("reboot");
    };
    let leave = position.hop()?.leave;
    if leave != Leave::Plain {
        return update(&position, next, leave);
    }
    position::load(next, position.number + 1)?;
    position.control.event(&Event::Loaded);
    position.control.event(&Event::Reboot);
    position.control.drain();
    // The kernel is loaded, so systemd has nothing to choose.
    systemctl("kexec")
}

/// Leaves this kernel as an administrator does who has luod.
fn update(position: &Position, next: &Hop, leave: Leave) -> Result<std::convert::Infallible> {
    luctl::load(next, position.number + 1)?;
    position.control.event(&Event::Loaded);
    position.control.event(&Event::Reboot);
    position.control.drain();
    match leave {
        Leave::Behind => systemctl("kexec"),
        Leave::Killed => {
            luctl::begin(&["update"], "leaving")?;
            systemctl_now(&["kill", "--signal=KILL", "luod.service"])?;
            loop {
                park();
            }
        }
        _ => luctl::update(leave == Leave::UpdateNow),
    }
}

/// Starts a unit and waits for it; if it fails, its journal goes to the host.
fn start(position: &Position, unit: &str, side: Side, limit_ms: u64) -> Verdict {
    let name = match side {
        Side::After => "after",
        Side::Before => "before",
        Side::Here => bail!("a unit runs before or after a kexec"),
    };
    fs::write(SIDE_FILE, name).with_context(|| format!("write {SIDE_FILE}"))?;
    let run = |argv: &[&str]| {
        let argv: Vec<_> = argv.iter().map(|word| (*word).to_owned()).collect();
        program::run(&position.control, &argv, limit_ms)
    };
    let result = run(&["systemctl", "start", unit]);
    if result.is_err() {
        let _ = run(&["journalctl", "--boot", "--no-pager", "--output=cat", "--unit", unit]);
    }
    result
}

/// Asks systemd to leave this kernel, and waits until it does.
fn systemctl(verb: &str) -> Result<std::convert::Infallible> {
    systemctl_now(&["--no-block", verb])?;
    loop {
        park();
    }
}

fn systemctl_now(arguments: &[&str]) -> Result<()> {
    let status = Command::new("systemctl").args(arguments).status();
    let status = status.with_context(|| format!("systemctl {arguments:?}"))?;
    ensure!(status.success(), "systemctl {arguments:?}: {status}");
    Ok(())
}
