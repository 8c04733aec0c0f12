// SPDX-License-Identifier: MIT OR Apache-2.0

//! The life of a guest over updates of the host's kernel.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use liblu::{Claim, Event, Handover, Participant, Provider, Ready};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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

/// How often luod is tried again when it has gone.
const RETRY: Duration = Duration::from_millis(200);

/// luod answers in milliseconds; a longer time shows that something is wrong.
pub(crate) fn soon() -> Option<Instant> {
    Instant::now().checked_add(Duration::from_secs(30))
}

/// Says whether the guest could survive an update, without starting it.
pub(crate) fn check(name: &str, guest: &Guest) -> Result<()> {
    let provider = Provider::find().context("nothing can survive here")?;
    if guest.has_kvm {
        tsc::check()?;
    }
    // Whether luod lets this user take part.
    provider.participate(&[name], soon()).context("luod does not let this guest take part")?;
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
    let started = match provider.claim(name, soon()).context("ask for the guest")? {
        Claim::Session(session) => take_over(session, name, guest, &provider)?,
        Claim::ColdStart => None,
    };
    let started = if let Some(started) = started {
        started
    } else {
        // Before it is started: a guest that luod does not let survive is none.
        provider.participate(&[name], soon()).context("luod does not let the guest take part")?;
        let files = Files::new(guest.memory)?;
        let qemu = Qemu::start(guest, &files, false)?;
        Started { qemu, files, guest: guest.clone(), is_new: true }
    };
    let mut updates = Updates::begin(provider, name, started)?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let end = updates.serve(&signals)?;
    updates.end(&end)
}

/// A guest without updates.
fn run_alone(guest: &Guest, signals: &UnixStream) -> Result<()> {
    let files = Files::new(guest.memory)?;
    let qemu = Qemu::start(guest, &files, false)?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let ended = {
        let ended = qemu.ended();
        let mut polled = [PollFd::new(&ended, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        wait(&mut polled, None)?;
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

/// Waits for one of these; an interruption is no event.
fn wait(polled: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> Result<()> {
    match poll(polled, timeout) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno).context("poll"),
    }
}

/// A guest that runs.
pub(crate) struct Started {
    pub(crate) qemu: Qemu,
    pub(crate) files: Files,
    /// With the command line that it was booted with.
    pub(crate) guest: Guest,
    /// Whether nothing would be lost with it.
    pub(crate) is_new: bool,
}

/// The session for the next update.
enum Session {
    /// The guest runs, and its memory is preserved.
    Open(Handover),
    /// The guest stands still, and its state is preserved too.
    Ready { _kept: Ready },
    /// Nothing is preserved.
    None,
}

/// The guest's part in updates.
struct Updates {
    provider: Provider,
    name: String,
    guest: Guest,
    qemu: Qemu,
    files: Files,
    session: Session,
    participant: Option<Participant>,
    /// Whether the guest ran when it was stopped for an update.
    was_running: bool,
    /// Attempts to join that have failed, one after the other.
    failed: u32,
}

/// Why the guest is served no more.
enum End {
    /// QEMU has ended.
    Guest,
    /// This process is told to end.
    Told,
}

impl Updates {
    fn begin(provider: Provider, name: &str, started: Started) -> Result<Self> {
        let Started { qemu, files, guest, is_new } = started;
        let mut updates = Self {
            provider,
            name: name.to_owned(),
            guest,
            qemu,
            files,
            session: Session::None,
            participant: None,
            was_running: true,
            failed: 0,
        };
        let mut attempts = 0;
        while let Err(error) = updates.join() {
            attempts += 1;
            if !is_new {
                // A guest that came is worth more than its part in the next update.
                eprintln!("lu-qemu: the guest takes no part in updates yet: {error:#}");
                break;
            }
            // Memory that the guest uses at this moment may be where the kernel cannot preserve it, nor move it.
            if attempts == ATTEMPTS {
                updates.qemu.kill()?;
                return Err(error.context("the guest cannot take part in updates"));
            }
            std::thread::sleep(RETRY);
        }
        Ok(updates)
    }

    /// Does what is missing for the next update. luod may have gone, and come again: it has kept the session.
    fn join(&mut self) -> Result<()> {
        if matches!(self.session, Session::None) {
            self.open()?;
        }
        if self.participant.is_none() {
            let part = self.provider.participate(&[&self.name], soon()).context("take part")?;
            self.participant = Some(part);
        }
        Ok(())
    }

    /// Tries to join again. luod may be starting, or still closing the last session, so only the second attempt that
    /// fails is worth a message.
    fn rejoin(&mut self) {
        match self.join() {
            Ok(()) => self.failed = 0,
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                if self.failed == 2 {
                    eprintln!("lu-qemu: the guest takes no part in updates yet: {error:#}");
                }
            }
        }
    }

    fn is_joined(&self) -> bool {
        self.participant.is_some() && !matches!(self.session, Session::None)
    }

    /// Preserves the memory, while the guest runs.
    fn open(&mut self) -> Result<()> {
        let handover = self.provider.open(&self.name, soon()).context("open a session")?;
        if let Err(error) = handover.preserve(MEMORY, &self.files.memory) {
            drop(handover);
            let _ = self.provider.discard(&self.name, soon());
            return Err(error).context("preserve the memory");
        }
        self.session = Session::Open(handover);
        Ok(())
    }

    /// Serves luod until the guest ends, or this process is told to.
    fn serve(&mut self, signals: &UnixStream) -> Result<End> {
        loop {
            let retry = Timespec::try_from(RETRY).context("a time")?;
            let (is_told, has_ended, has_event) = {
                let ended = self.qemu.ended();
                let mut polled = vec![
                    PollFd::new(signals, PollFlags::IN),
                    PollFd::new(&ended, PollFlags::IN),
                    PollFd::new(&self.qemu.monitor, PollFlags::IN),
                ];
                polled.extend(self.participant.as_ref().map(|it| PollFd::new(it, PollFlags::IN)));
                let timeout = (!self.is_joined()).then_some(&retry);
                wait(&mut polled, timeout)?;
                let is_set =
                    |number: usize| polled.get(number).is_some_and(|it| !it.revents().is_empty());
                (is_set(0), is_set(1), is_set(3))
            };
            if has_ended {
                return Ok(End::Guest);
            }
            // They say nothing that matters here, but must not pile up.
            while let Ok(Some(_)) = self.qemu.monitor.event() {}
            // The guest matters more than the update: it goes on, whatever becomes of this one.
            if has_event && let Err(error) = self.handle_events() {
                eprintln!("lu-qemu: {error:#}");
            }
            if is_told {
                return Ok(End::Told);
            }
            if !self.is_joined() {
                self.rejoin();
            }
        }
    }

    /// Ends with the guest, or without it if it is on its way to the next kernel.
    fn end(self, end: &End) -> Result<()> {
        let Self { provider, name, qemu, session, .. } = self;
        if matches!((end, &session), (End::Told, Session::Ready { .. })) {
            // It stands still, and luod has the session too. QEMU must not touch its disks any more.
            return qemu.kill();
        }
        // Memory and state are of no use to anybody.
        drop(session);
        let discarded = provider.discard(&name, soon()).context("give up the session");
        let status = match end {
            End::Guest => qemu.wait(),
            End::Told => qemu.terminate(),
        }?;
        ensure!(status.success(), "QEMU ended with {status}");
        discarded
    }

    fn handle_events(&mut self) -> Result<()> {
        loop {
            let Some(participant) = &mut self.participant else { return Ok(()) };
            match participant.next() {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => self.handle(&event)?,
                Err(error) => {
                    eprintln!("lu-qemu: luod has gone: {error}");
                    self.participant = None;
                    // An update that it prepared is off.
                    return self.resume();
                }
            }
        }
    }

    fn handle(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Prepare { generation, deadline } => {
                let made = self.make_ready(*deadline);
                let participant = self.participant.as_ref().context("luod has gone")?;
                match made {
                    Ok(()) => participant
                        .ready(*generation, soon())
                        .context("say that the guest is ready"),
                    Err(error) => {
                        let reason = format!("{error:#}");
                        eprintln!("lu-qemu: the guest is not ready: {reason}");
                        participant.refuse(*generation, &reason, soon()).context("refuse")?;
                        self.resume()
                    }
                }
            }
            Event::Abort { reason, .. } => {
                eprintln!("lu-qemu: the update is off: {reason}");
                self.resume()
            }
            // The kernel is left at any moment.
            _ => Ok(()),
        }
    }

    /// Has QEMU write its state, and preserves that.
    fn make_ready(&mut self, deadline: Instant) -> Result<()> {
        if matches!(self.session, Session::Ready { .. }) {
            return Ok(());
        }
        if matches!(self.session, Session::None) {
            self.open()?;
        }
        let tsc_khz = if self.guest.has_kvm { tsc::khz()? } else { 0 };
        self.was_running = self.qemu.monitor.status()? == "running";
        let note = Note {
            version: note::VERSION,
            words: self.guest.words.clone(),
            qemu: self.qemu.monitor.version.clone(),
            is_running: self.was_running,
            tsc_khz,
        };
        let size = self.qemu.save(&self.files, deadline)?;
        eprintln!("lu-qemu: {} stands still, its state has {size} bytes", self.name);
        let Session::Open(handover) = std::mem::replace(&mut self.session, Session::None) else {
            bail!("the session is not open");
        };
        let preserve = || -> liblu::Result<()> {
            handover.set_state(MEMORY, &note.write())?;
            handover.preserve(STATE, &self.files.state).map(drop)
        };
        preserve().context("preserve the state")?;
        let ready = handover.ready().map_err(liblu::Error::from).context("complete the session")?;
        self.session = Session::Ready { _kept: ready };
        Ok(())
    }

    /// Lets the guest run again in the same QEMU, and makes room for another state.
    fn resume(&mut self) -> Result<()> {
        // Whatever becomes of the session, nothing may start from this state again.
        if matches!(self.session, Session::Ready { .. }) {
            self.files.spend()?;
        }
        let resumed = if self.was_running { self.qemu.go_on() } else { Ok(()) };
        // The state was preserved, so its file cannot be written anew: the session begins again.
        self.session = Session::None;
        self.provider.discard(&self.name, soon()).context("give up the session")?;
        // The memory is free for the next session as soon as luod has closed this one: see `serve`.
        resumed
    }
}
