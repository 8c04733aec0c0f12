// SPDX-License-Identifier: MIT OR Apache-2.0

//! One hop, from the first event to the reboot.

use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use liblu::kexec;
use selftests::control::Control;
use selftests::event::Event;
use selftests::kernel_log::{note, with_cycle};
use selftests::measure::{Measurement, Place};
use selftests::plan::{Action, LEAVING, Leave};
use selftests::{luctl, measure, position, program};

use crate::system::{self, Guest};
use crate::{carry, misbehave, scenario};

/// Why there is nothing to load.
const LAST: &str = "this is the last kernel";

/// Does the steps of this hop, then enters the next kernel by a kexec or switches off.
pub(crate) fn run(guest: &mut Guest) -> Result<()> {
    let control = guest.position.control.clone();
    let steps = guest.position.begin()?;
    for (index, step) in steps.iter().enumerate() {
        note(&format!("hop {}: {}", guest.position.number, step.name));
        control.event(&Event::Step { name: step.name.clone() });
        let number = index + 1;
        let verdict = match &step.action {
            Action::Misbehave(how) => {
                misbehave::run(&control, number, step, *how)?;
                continue;
            }
            Action::Run { argv } => program::run(&control, argv, step.limit_ms),
            Action::Scenario { name, side } => scenario::run(guest, name, *side, step.limit_ms),
            Action::Measure { load, side, count } => {
                let position = &guest.position;
                let next = || luctl::load(position.next().context(LAST)?, position.number + 1);
                let kept = &mut guest.kept;
                let measured = measure::run(*load, *side, *count, &mut Place { kept, load: &next });
                say(&control, measured)
            }
            Action::Blackout { preserved, side } => {
                say(&control, preserved.measure(*side, &mut guest.kept))
            }
            Action::Start { unit, .. } => Err(anyhow!("this guest has no systemd to start {unit}")),
            Action::Carry => carry::take(guest),
        };
        guest.position.say(number, step, &verdict);
    }
    if guest.position.next().is_none() {
        // No later hop retrieves them.
        guest.kept.clear();
    }
    let over = Instant::now();
    if let Some(next) = guest.position.next() {
        let load = match guest.position.hop()?.leave {
            Leave::Plain => position::load,
            _ => luctl::load,
        };
        load(next, guest.position.number + 1)?;
    }
    system::scan_for_leaks(over)?;
    leave(guest)
}

/// Reports measurements.
fn say(control: &Control, measured: Result<Vec<Measurement>>) -> Result<()> {
    for measurement in measured? {
        control.event(&Event::Measured(measurement));
    }
    Ok(())
}

/// Enters the next kernel, which is loaded, by a kexec; returns only with an error.
fn leave(guest: &mut Guest) -> Result<()> {
    if guest.position.next().is_none() {
        guest.position.control.event(&Event::Done);
        guest.position.control.drain();
        system::switch_off();
        return Ok(());
    }
    guest.position.control.event(&Event::Loaded);

    let carries = guest.position.hop()?.carries;
    let held = carries.then(|| carry::give(guest)).transpose();
    let held = held.context("preserve the state of PID 1")?;
    selftests::scenario::begin_leaving(std::mem::take(&mut guest.leaving))?;
    guest.position.control.event(&Event::Reboot);
    guest.position.control.drain();
    // With this line, the kernel's own clock shows when `reboot(2)` begins.
    note(&with_cycle(LEAVING));
    match guest.position.hop()?.leave {
        Leave::Plain => {}
        Leave::UpdateNow => match luctl::update(true)? {},
        other => bail!("this guest has no systemd to be left by {other:?}"),
    }
    let error = kexec::reboot();
    drop(held);
    Err(error).context("reboot(KEXEC)")
}
