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

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser as _;
use liblu::Provider;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

use config::Arguments;
use memory::GuestMemory;
use state::State;
use step::Step;
use update::{Came, Updates};
use vcpu::End;
use vm::Vm;

/// How often the agent is tried again when it has gone.
const RETRY: Duration = Duration::from_millis(200);

/// How often a new guest tries to take part before it is given up.
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
    let name = &arguments.name;
    let (signal, end) = UnixStream::pair().context("make a pipe")?;
    for number in [SIGTERM, SIGINT] {
        let end = end.try_clone().context("duplicate a descriptor")?;
        signal_hook::low_level::pipe::register(number, end).context("handle a signal")?;
    }
    let provider = Provider::find().context("look for live updates")?;
    let came = update::claim(&provider, name)?;
    let is_new = came.is_none();
    let vm = if let Some((came, memory, state)) = came {
        restore(came, memory, &state, &provider, &arguments)?
    } else {
        let vm = Vm::boot(&arguments)?;
        vm.vcpus.run();
        vm
    };
    let mut updates = Updates::new(provider, name, &vm)?;
    let mut attempts = 0;
    while let Err(error) = updates.join(&vm) {
        attempts += 1;
        if !is_new {
            // A guest that came is worth more than its part in the next update.
            eprintln!("vmm: the guest takes no part in updates yet: {error:#}");
            break;
        }
        // Memory that the guest uses at this moment may be where the kernel cannot preserve it, nor move it.
        ensure!(attempts < ATTEMPTS, "the guest cannot take part in updates: {error:#}");
        std::thread::sleep(RETRY);
    }
    // Without a service manager nobody waits for it.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    serve(&vm, &mut updates, &signal)?;
    if updates.is_ready() {
        // The session is with the agent too: the next kernel gets the guest.
        return Ok(());
    }
    // Its memory goes with this process.
    vm.vcpus.pause()?;
    let end = vm.vcpus.end();
    updates.discard()?;
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
    provider: &Provider,
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
    came.finish(provider, &arguments.name)?;
    Ok(vm)
}

/// Serves the agent until the guest ends, or this process is told to.
fn serve(vm: &Vm, updates: &mut Updates, signal: &UnixStream) -> Result<()> {
    loop {
        let retry = Timespec::try_from(RETRY).context("a time")?;
        let (is_told, has_ended, has_event) = {
            let mut polled =
                vec![PollFd::new(signal, PollFlags::IN), PollFd::new(&vm.ended, PollFlags::IN)];
            polled.extend(updates.participant().map(|it| PollFd::new(it, PollFlags::IN)));
            let timeout = (!updates.is_joined()).then_some(&retry);
            match poll(&mut polled, timeout) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.context("poll")?,
            };
            let is_set =
                |number: usize| polled.get(number).is_some_and(|it| !it.revents().is_empty());
            (is_set(0), is_set(1), is_set(2))
        };
        // The guest matters more than the update: it goes on, whatever becomes of this one.
        if has_event && let Err(error) = updates.handle_events(vm) {
            eprintln!("vmm: {error:#}");
        }
        if is_told || has_ended {
            return Ok(());
        }
        if !updates.is_joined() {
            // The agent may be starting.
            let _ = updates.join(vm);
        }
    }
}
