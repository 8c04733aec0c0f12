// SPDX-License-Identifier: MIT OR Apache-2.0

//! One hop, from the first event to the reboot.

use std::time::Instant;

use anyhow::{Context, Result};
use liblu::kexec;
use rustix::system::uname;
use selftests::event::Event;
use selftests::measure;
use selftests::plan::{Action, LEAVING, NOT_APPLICABLE, Step};
use selftests::scenario::NotApplicable;

use crate::system::{self, Guest};
use crate::{carry, misbehave, program, scenario};

/// How a step went: `Err` holds why not.
pub(crate) type Verdict = Result<()>;

/// Does the steps of this hop, then enters the next kernel by a kexec or switches off.
pub(crate) fn run(guest: &mut Guest) -> Result<()> {
    let release = uname().release().to_string_lossy().into_owned();
    let control = guest.control.clone();
    control.line("KTAP version 1");
    control.event(&Event::Init { hop: guest.number, release });

    let steps = guest.hop()?.steps.clone();
    control.line(&format!("1..{}", steps.len()));
    for (index, step) in steps.iter().enumerate() {
        system::note(&format!("hop {}: {}", guest.number, step.name));
        control.event(&Event::Step { name: step.name.clone() });
        let number = index + 1;
        match &step.action {
            Action::Misbehave(how) => misbehave::run(&control, number, step, *how)?,
            Action::Run { argv } => {
                let verdict = program::run(&control, argv, step.limit_ms);
                say(guest, number, step, &verdict);
            }
            Action::Scenario { name, side } => {
                let verdict = scenario::run(guest, name, *side, step.limit_ms);
                say(guest, number, step, &verdict);
            }
            Action::Measure { load, side, count } => {
                let measured = measure::run(*load, *side, *count, &mut guest.kept);
                let verdict = measured.map(|all| {
                    for measurement in all {
                        control.event(&Event::Measured(measurement));
                    }
                });
                say(guest, number, step, &verdict);
            }
            Action::Carry => {
                let verdict = carry::take(guest);
                say(guest, number, step, &verdict);
            }
        }
    }
    if guest.next().is_none() {
        // No later hop retrieves them.
        guest.kept.clear();
    }
    let over = Instant::now();
    if let Some(next) = guest.next() {
        system::load(next, guest.number + 1)?;
    }
    system::scan_for_leaks(over)?;
    leave(guest)
}

/// Writes the verdict of a step.
fn say(guest: &Guest, number: usize, step: &Step, verdict: &Verdict) {
    match verdict {
        Ok(()) => guest.control.line(&format!("ok {number} {}", step.name)),
        Err(why) if why.is::<NotApplicable>() => {
            guest.control.line(&format!("ok {number} {} # SKIP {NOT_APPLICABLE}{why}", step.name));
        }
        Err(why) => {
            for line in format!("{why:#}").lines() {
                guest.control.line(&format!("# {line}"));
            }
            guest.control.line(&format!("not ok {number} {}", step.name));
        }
    }
}

/// Enters the next kernel, which is loaded, by a kexec; returns only with an error.
fn leave(guest: &mut Guest) -> Result<()> {
    if guest.next().is_none() {
        guest.control.event(&Event::Done);
        guest.control.drain();
        system::switch_off();
        return Ok(());
    }
    guest.control.event(&Event::Loaded);

    let carries = guest.hop()?.carries;
    let held = carries.then(|| carry::give(guest)).transpose();
    let held = held.context("preserve the state of PID 1")?;
    selftests::scenario::begin_leaving(std::mem::take(&mut guest.leaving))?;
    guest.control.event(&Event::Reboot);
    guest.control.drain();
    // With this line, the kernel's own clock shows when `reboot(2)` begins.
    system::note(LEAVING);
    let error = kexec::reboot();
    drop(held);
    Err(error).context("reboot(KEXEC)")
}
