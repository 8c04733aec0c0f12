// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the units of the suite `systemd` run: `service RULE`, started before and after each kexec.

#![deny(unsafe_code)]

mod holder;
mod memory;
mod session;
mod store;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use selftests::position::hop_number;
use selftests::systemd::side;

use crate::store::Store;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let argument = std::env::args().nth(1);
    let rule = argument.as_deref().unwrap_or_default();
    if rule == holder::HOLD_A_SECOND {
        return holder::hold_a_second();
    }
    let (side, hop) = (side()?, hop_number()?);
    // No other thread runs yet.
    let store = Store::of_systemd()?;
    match rule {
        "count" => count(hop),
        "store" => store::check(store, side, hop),
        "session" => session::check(store, side, hop),
        "holder" => holder::check(store, side, hop),
        other => bail!("there is no rule `{other}`"),
    }
}

/// systemd counts the kexecs since the machine was switched on.
fn count(hop: usize) -> Result<()> {
    let mut show = Command::new("systemctl");
    show.args(["show", "--value", "--property=KExecCount"]);
    let output = show.output().context("systemctl show")?;
    let count = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(count == (hop - 1).to_string(), "KExecCount is `{count}` in hop {hop}");
    Ok(())
}
