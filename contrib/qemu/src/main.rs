// SPDX-License-Identifier: MIT OR Apache-2.0

//! `lu-qemu NAME -- qemu-system-x86_64 ...`: an unmodified QEMU whose guest survives updates of the host's kernel.
//!
//! QEMU runs as a child, with its memory in a memfd that is preserved while the guest runs. When an update is
//! prepared, QEMU writes the state of the devices into a second memfd, and nothing of the memory. In the next
//! kernel, a new QEMU gets both.
//!
//! - `arguments`: QEMU's command line, what cannot survive is refused (pure);
//! - `qmp`: QEMU's monitor;
//! - `qemu`: the process, its state out and in;
//! - `note`: what goes to the next kernel besides memory and state (pure);
//! - `tsc`: the time stamp counter, as this kernel measures it;
//! - `take_over`: a guest that comes from the previous kernel;
//! - `guest`: the life of a guest over updates.

#![forbid(unsafe_code)]

mod arguments;
mod guest;
mod note;
mod qemu;
mod qmp;
mod take_over;
mod tsc;

use std::process::ExitCode;

use clap::Parser;

/// Run QEMU so that its guest survives updates of the host's kernel.
///
/// Use it in a unit of systemd with Type=notify, see docs/qemu.md. Started again after an update, it goes on with
/// the guest.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Name of the guest: the label of its session
    name: String,
    /// Only say whether this guest could survive an update, and end
    #[arg(long)]
    check: bool,
    /// Run the guest also if nothing can survive here, such as without luod
    #[arg(long)]
    without_updates: bool,
    /// QEMU and its options: `-m SIZE`, but no memory backend
    #[arg(last = true, required = true)]
    qemu: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match arguments::Guest::new(options.qemu) {
        Err(error) => Err(error.into()),
        Ok(guest) if options.check => guest::check(&options.name, &guest),
        Ok(guest) => guest::run(&options.name, &guest, options.without_updates),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lu-qemu: {error:#}");
            ExitCode::FAILURE
        }
    }
}
