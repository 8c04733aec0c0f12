// SPDX-License-Identifier: MIT OR Apache-2.0

//! The programs of the suite `agent`: guests that survive updates with luod, and the rules that check them.
//!
//! - `guest vm NAME` is a service with two sessions, which takes part in updates;
//! - `guest counter` is a program that knows nothing of updates, for `luctl exec`;
//! - `guest rule NAME` is started before and after each kexec.

#![deny(unsafe_code)]

mod counter;
mod frugal;
mod killed;
mod mishap;
mod mishaps;
mod page;
mod quick_start;
mod rules;
mod targets;
mod varlink;
mod virtual_machines;
mod vm;

use std::process::ExitCode;

use anyhow::{Result, bail};

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
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["vm", name] => vm::run(name),
        ["counter"] => counter::run(),
        ["echo"] => virtual_machines::echo(),
        ["rule", rule @ ("qemu" | "large" | "vmm" | "ch")] => virtual_machines::check(rule),
        ["rule", "odd"] => virtual_machines::odd::check(),
        ["rule", "qemu-page"] => virtual_machines::page::check(),
        ["rule", "guests"] => rules::guests(),
        ["rule", "luctl"] => rules::luctl(),
        ["rule", "killed"] => killed::check(),
        ["rule", "quick-start"] => quick_start::check(),
        ["rule", "mishaps"] => mishaps::check(),
        ["rule", "frugal"] => frugal::check(),
        ["rule", "varlink"] => varlink::check(),
        _ => bail!("there is no program {arguments:?}"),
    }
}
