// SPDX-License-Identifier: MIT OR Apache-2.0

//! PID 1 of the guest: carries out the plan, hop by hop.

#![forbid(unsafe_code)]

mod carry;
mod hop;
mod misbehave;
mod scenario;
mod system;

use std::process::ExitCode;

fn main() -> ExitCode {
    let child = std::env::args().nth(1).and_then(|argument| selftests::scenario::child(&argument));
    if let Some(child) = child {
        return match child() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("init: child: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    if std::process::id() != 1 {
        eprintln!("init: this is PID 1 of the guest of `cargo xtask vm-test`, not a command");
        return ExitCode::FAILURE;
    }
    match system::set_up().and_then(|mut guest| hop::run(&mut guest)) {
        // Without an error, `hop::run` ends in a kexec or switches off, so this is not reached.
        Ok(()) => system::complain("the hop ended without a reboot"),
        Err(error) => system::complain(&format!("{error:#}")),
    }
    system::switch_off();
    ExitCode::FAILURE
}
