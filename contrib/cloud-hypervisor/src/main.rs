// SPDX-License-Identifier: MIT OR Apache-2.0

//! `luod-ch NAME -- cloud-hypervisor ...`: an unmodified Cloud Hypervisor whose guest survives updates.

#![forbid(unsafe_code)]

mod life;
mod vmm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Run Cloud Hypervisor so that its guest survives updates of the host's kernel.
///
/// Use it in a unit of systemd with Type=notify. Started again after an update, it goes on with the guest. The guest's
/// memory must be shared (`--memory size=1G,shared=on`).
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Name of the guest: the label of its session
    name: String,
    /// Folder for sockets; it must be this guest's alone
    #[arg(long, env = "RUNTIME_DIRECTORY", default_value = "/run/luod-ch")]
    folder: PathBuf,
    /// The program that sends commands to Cloud Hypervisor
    #[arg(long, default_value = "ch-remote")]
    remote: PathBuf,
    /// Cloud Hypervisor and its options, without --api-socket
    #[arg(last = true, required = true)]
    vmm: Vec<String>,
}

fn main() -> ExitCode {
    match life::run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("luod-ch: {error:#}");
            ExitCode::FAILURE
        }
    }
}
