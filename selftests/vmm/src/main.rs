// SPDX-License-Identifier: MIT OR Apache-2.0

//! A VMM whose guest survives updates of the host's kernel, made to be read by authors of others.
//!
//! Memory (`memory`) is in memfds, which `update` preserves while the guest runs; registers and devices
//! (`state`) are written into one more when the agent prepares an update. `update` has all that concerns
//! live updates; the others are a small VMM: `config`, `boot`, `mptable`, `devices`, `vcpu`, `vm`.
//!
//! Several guests are several processes, each with a name of its own.

mod boot;
mod config;
mod devices;
mod memory;
mod mptable;
mod state;
mod step;
mod update;
mod vcpu;
mod vm;

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser as _;
use liblu::{Client, Provider};
use signal_hook::consts::{SIGINT, SIGTERM};

use config::Arguments;
use memory::GuestMemory;
use state::State;
use step::Step;
use update::{Came, Guest};
use vcpu::End;
use vm::Vm;

/// How often a new guest tries to take part in updates before it is given up.
const ATTEMPTS: u32 = 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let (signal, end) = UnixStream::pair().context("make a pipe")?;
    for number in [SIGTERM, SIGINT] {
        let end = end.try_clone().context("duplicate a descriptor")?;
        signal_hook::low_level::pipe::register(number, end).context("handle a signal")?;
    }
    let provider = Provider::find().context("look for live updates")?;
    let mut client = Client::new(provider, &arguments.name);
    let came = update::claim(&mut client)?;
    // A guest that came is worth more than its part in the next update, which is tried again.
    let may_wait = came.is_some();
    let vm = if let Some((came, memory, state)) = came {
        restore(came, memory, &state, &mut client, &arguments)?
    } else {
        let vm = Vm::boot(&arguments)?;
        vm.vcpus.run();
        vm
    };
    let mut guest = Guest::new(vm)?;
    // Memory that a guest uses at this moment may be where the kernel cannot preserve it, nor move it.
    match client.join(&mut guest, if may_wait { 1 } else { ATTEMPTS }) {
        Err(error) if may_wait => eprintln!("vmm: no part in updates yet: {error:#}"),
        joined => joined.context("the guest cannot take part in updates")?,
    }
    // Without a service manager nobody waits for it.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    client.serve(&mut guest, &[signal.as_fd()])?;
    if client.is_ready() {
        // The session is with the agent too: the next kernel gets the guest.
        return Ok(());
    }
    // Its memory goes with this process.
    let vcpus = &guest.vm.vcpus;
    vcpus.pause()?;
    let end = vcpus.end();
    client.discard().context("give up the session")?;
    match end {
        Some(End::Failed(reason)) => bail!("the guest cannot run any more: {reason}"),
        Some(End::Reset) => {
            eprintln!("vmm: the guest has ended");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Brings a guest back. Nothing is final until it runs.
fn restore(
    came: Came,
    memory: GuestMemory,
    state: &State,
    client: &mut Client,
    arguments: &Arguments,
) -> Result<Vm> {
    ensure!(
        state.config == arguments.config,
        "the guest that came is another machine, {:?}: start it with its own options",
        state.config
    );
    let vm = Vm::restore(state, memory)?;
    Step::Restored.done();
    came.spend()?;
    vm.vcpus.run();
    vm.vcpus.wait_until_run()?;
    Step::Running.done();
    came.finish(client)?;
    Ok(vm)
}
