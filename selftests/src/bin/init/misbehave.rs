// SPDX-License-Identifier: MIT OR Apache-2.0

//! Failures on purpose, to check that the harness notices them.

use std::fs;
use std::thread;

use anyhow::{Context, Result, bail};
use selftests::plan::{Misbehaviour, Step};

use crate::system;
use selftests::control::Control;

/// Misbehaves; an error is a misbehaviour that did not work, or the wish to switch off.
pub(crate) fn run(control: &Control, number: usize, step: &Step, how: Misbehaviour) -> Result<()> {
    let name = &step.name;
    match how {
        Misbehaviour::Fail => {
            control.line("# failing as told");
            control.line(&format!("not ok {number} {name}"));
        }
        Misbehaviour::Skip => control.line(&format!("ok {number} {name} # SKIP as told")),
        Misbehaviour::NoVerdict => {}
        Misbehaviour::TwoVerdicts => {
            control.line(&format!("ok {number} {name}"));
            control.line(&format!("not ok {number} {name}"));
        }
        Misbehaviour::Hang => loop {
            thread::park();
        },
        Misbehaviour::Panic => {
            control.drain();
            fs::write("/proc/sysrq-trigger", "c").context("panic by sysrq")?;
            bail!("the kernel did not panic");
        }
        Misbehaviour::Warn => {
            fs::write("/sys/kernel/debug/provoke-crash/DIRECT", "WARNING").context("lkdtm")?;
            control.line(&format!("ok {number} {name}"));
        }
        Misbehaviour::LeaveEarly => {
            control.line(&format!("ok {number} {name}"));
            control.drain();
            system::switch_off();
        }
    }
    Ok(())
}
