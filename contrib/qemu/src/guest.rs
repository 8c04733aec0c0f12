// SPDX-License-Identifier: MIT OR Apache-2.0

//! The life of a guest over updates of the host's kernel.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use liblu::{Claim, Client, Handover, Provider, Resumed, Wake, Workload};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::arguments::Guest;
use crate::note::{self, Note};
use crate::qemu::{Files, Qemu};
use crate::take_over::take_over;
use crate::tsc;

/// Labels in the manifest.
pub(crate) const MEMORY: &str = "memory";
pub(crate) const STATE: &str = "state";

/// How often a new guest tries to take part before it is given up.
const ATTEMPTS: u32 = 10;

/// Says whether the guest could survive an update, without starting it.
pub(crate) fn check(name: &str, guest: &Guest) -> Result<()> {
    let provider = Provider::find().context("nothing can survive here")?;
    if guest.has_kvm {
        tsc::check()?;
    }
    // Whether luod lets this user take part.
    let mut client = Client::new(provider, name);
    client.participate().context("luod does not let this guest take part")?;
    println!("the guest {name} survives updates: {} MiB of memory", guest.memory >> 20);
    Ok(())
}

/// Runs the guest until it ends, or until the kernel is left.
pub(crate) fn run(name: &str, guest: &Guest, without_updates: bool) -> Result<()> {
    let signals = signals()?;
    if guest.has_kvm && !without_updates {
        tsc::check()?;
    }
    let provider = match Provider::find() {
        Ok(provider) => provider,
        Err(error) if without_updates => {
            eprintln!("lu-qemu: the guest does not survive updates: {error}");
            return run_alone(guest, &signals);
        }
        Err(error) => {
            return Err(error).context(
                "nothing can survive here; --without-updates starts the guest nevertheless",
            );
        }
    };
    let mut client = Client::new(provider, name);
    let came = match client.claim().context("ask for the guest")? {
        Claim::Session(session) => take_over(session, name, guest, &mut client)?,
        Claim::ColdStart => None,
    };
    let is_new = came.is_none();
    let mut started = if let Some(started) = came {
        started
    } else {
        // Before it is started: a guest that luod does not let survive is none.
        client.participate().context("luod does not let the guest take part")?;
        let files = Files::new(guest.memory)?;
        let qemu = Qemu::start(guest, &files, false)?;
        Started { name: name.into(), qemu, files, guest: guest.clone(), was_running: true }
    };
    match client.join(&mut started, if is_new { ATTEMPTS } else { 1 }) {
        Err(error) if is_new => {
            started.qemu.kill()?;
            return Err(error.context("the guest cannot take part in updates"));
        }
        // A guest that came is worth more than its part in the next update, which is tried again.
        Err(error) => eprintln!("lu-qemu: no part in updates yet: {error:#}"),
        Ok(()) => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let end = serve(&mut client, &mut started, &signals)?;
    finish(client, started.qemu, end)
}

/// A guest without updates.
fn run_alone(guest: &Guest, signals: &UnixStream) -> Result<()> {
    let files = Files::new(guest.memory)?;
    let qemu = Qemu::start(guest, &files, false)?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let ended = {
        let ended = qemu.ended();
        let mut polled = [PollFd::new(&ended, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        retry_on_intr(|| poll(&mut polled, None)).context("poll")?;
        !polled[0].revents().is_empty()
    };
    let status = if ended { qemu.wait() } else { qemu.terminate() }?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

/// A socket that is readable when this process is to end.
fn signals() -> Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair().context("make sockets")?;
    for number in [SIGTERM, SIGINT] {
        let end = theirs.try_clone().context("duplicate a descriptor")?;
        signal_hook::low_level::pipe::register(number, end).context("handle a signal")?;
    }
    Ok(ours)
}

/// A guest that runs.
pub(crate) struct Started {
    pub(crate) name: String,
    pub(crate) qemu: Qemu,
    pub(crate) files: Files,
    /// With the command line that it was booted with.
    pub(crate) guest: Guest,
    /// Whether it ran when it was stopped for an update.
    pub(crate) was_running: bool,
}

/// Serves luod until the guest ends, or this process is told to.
fn serve(client: &mut Client, started: &mut Started, signals: &UnixStream) -> Result<Wake> {
    let events =
        started.qemu.monitor.as_fd().try_clone_to_owned().context("duplicate a descriptor")?;
    loop {
        match client.serve(started, &[signals.as_fd(), events.as_fd()])? {
            // They say nothing that matters here, but must not pile up.
            Wake::Other(1) => while let Ok(Some(_)) = started.qemu.monitor.event() {},
            end => return Ok(end),
        }
    }
}

/// Ends with the guest, or without it if it is on its way to the next kernel.
fn finish(client: Client, qemu: Qemu, end: Wake) -> Result<()> {
    if end != Wake::Ended && client.is_ready() {
        // It stands still, and luod has the session too. QEMU must not touch its disks any more.
        return qemu.kill();
    }
    // Memory and state are of no use to anybody.
    let discarded = client.discard().context("give up the session");
    let status = match end {
        Wake::Ended => qemu.wait(),
        Wake::Other(_) => qemu.terminate(),
    }?;
    ensure!(status.success(), "QEMU ended with {status}");
    discarded
}

impl Workload for Started {
    type Error = anyhow::Error;

    fn preserve(&mut self, session: &Handover) -> Result<()> {
        session.preserve(MEMORY, &self.files.memory).context("preserve the memory").map(drop)
    }

    /// Has QEMU write its state, and preserves that.
    fn stop(&mut self, session: &Handover, deadline: Instant) -> Result<()> {
        let tsc_khz = if self.guest.has_kvm { tsc::khz()? } else { 0 };
        self.was_running = self.qemu.monitor.status()? == "running";
        let note = Note {
            version: note::VERSION,
            words: self.guest.words.clone(),
            qemu: self.qemu.monitor.version.clone(),
            is_running: self.was_running,
            tsc_khz,
        };
        eprintln!("lu-qemu: {} stops for an update", self.name);
        let size = self.qemu.save(&self.files, deadline)?;
        eprintln!("lu-qemu: {} stands still, its state has {size} bytes", self.name);
        session.set_state(MEMORY, &note.write()).context("describe the guest")?;
        session.preserve(STATE, &self.files.state).context("preserve the state").map(drop)
    }

    /// Lets the guest run again in the same QEMU.
    fn resume(&mut self) -> Result<Resumed> {
        // Whatever becomes of the session, nothing may start from this state again.
        self.files.spend()?;
        if self.was_running {
            self.qemu.go_on()?;
        }
        // The state was preserved, so its file cannot be written anew.
        Ok(Resumed::Anew)
    }

    fn ended(&self) -> Option<BorrowedFd<'_>> {
        Some(self.qemu.ended())
    }

    fn report(&mut self, message: &str) {
        eprintln!("lu-qemu: {message}");
    }
}
