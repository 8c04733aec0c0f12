// SPDX-License-Identifier: MIT OR Apache-2.0

//! The life of a guest over updates of the host's kernel.

use std::fs;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use liblu::{Claim, Claimed, Event, Participant, Provider, Ready};
use luod_ch::{Guest, custody};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Options;
use crate::vmm::{Setup, Vmm};

/// How long a new Cloud Hypervisor may take to run a guest that is given to it.
const RESTORE: Duration = Duration::from_mins(1);

/// How often one is started for a guest.
const ATTEMPTS: u32 = 3;

/// How often luod is tried again when it has gone.
const RETRY: Duration = Duration::from_millis(200);

fn soon() -> Option<Instant> {
    Instant::now().checked_add(Duration::from_secs(30))
}

/// Runs the guest until it ends, or until the kernel is left.
pub(crate) fn run(options: Options) -> Result<()> {
    let (signals, told) = UnixStream::pair().context("make sockets")?;
    for number in [SIGTERM, SIGINT] {
        let told = told.try_clone().context("duplicate a descriptor")?;
        signal_hook::low_level::pipe::register(number, told).context("handle a signal")?;
    }
    let Options { name, folder, remote, vmm } = options;
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let setup = Setup { words: vmm, remote, folder };
    let provider = Provider::find().context("nothing can survive here")?;
    let claim = provider.claim(&name, soon()).context("ask for the guest")?;
    let place = match claim {
        Claim::Session(session) => take_over(session, &setup, &provider, &name)?,
        Claim::ColdStart => {
            // Before it is started: a guest that luod does not let survive is none.
            provider
                .participate(&[&name], soon())
                .context("luod does not let the guest take part")?;
            Place::Runs(setup.boot()?)
        }
    };
    let mut life = Life { provider, name, setup, place, participant: None };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    life.serve(&signals)?;
    life.end()
}

/// Goes on with a guest that came. Until it runs, nothing is final: after an error, the next start asks again.
fn take_over(session: Claimed, setup: &Setup, provider: &Provider, name: &str) -> Result<Place> {
    // Here, in the control group of the guest, which pays for its memory.
    let guest = custody::retrieve(&session).context("the guest that came")?;
    let vmm = restore(setup, &guest)
        .context("the guest that came stays where it is, and the next start tries again")?;
    let finished =
        session.finish(soon()).map_err(liblu::Error::from).context("finish the session")?;
    if finished.custody.is_err() {
        provider.restored(name, soon()).context("tell luod")?;
    }
    Ok(Place::Runs(vmm))
}

/// Starts Cloud Hypervisor with this guest.
fn restore(setup: &Setup, guest: &Guest) -> Result<Vmm> {
    let mut attempt = 1;
    loop {
        match setup.restore(guest, Instant::now() + RESTORE) {
            Ok(vmm) => return Ok(vmm),
            Err(error) if attempt < ATTEMPTS => eprintln!("luod-ch: attempt {attempt}: {error:#}"),
            Err(error) => return Err(error),
        }
        attempt += 1;
    }
}

/// Where the guest is.
enum Place {
    /// In Cloud Hypervisor.
    Runs(Vmm),
    /// In a session, on its way to the next kernel; and here, in case that there is no update.
    Kept { guest: Box<Guest>, _session: Box<Ready> },
}

struct Life {
    provider: Provider,
    name: String,
    setup: Setup,
    place: Place,
    participant: Option<Participant>,
}

impl Life {
    /// Serves luod until the guest ends, or this process is told to.
    fn serve(&mut self, signals: &UnixStream) -> Result<()> {
        loop {
            if self.participant.is_none() {
                self.participant = self.provider.participate(&[&self.name], soon()).ok();
            }
            let retry = Timespec::try_from(RETRY).context("a time")?;
            let (is_told, has_ended, has_event) = {
                let mut polled = vec![PollFd::new(signals, PollFlags::IN)];
                let ended = match &self.place {
                    Place::Runs(vmm) => Some(vmm.ended()),
                    Place::Kept { .. } => None,
                };
                polled.extend(ended.iter().map(|it| PollFd::new(it, PollFlags::IN)));
                polled.extend(self.participant.as_ref().map(|it| PollFd::new(it, PollFlags::IN)));
                match poll(&mut polled, self.participant.is_none().then_some(&retry)) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(errno) => return Err(errno).context("poll"),
                }
                let is_set =
                    |number: usize| polled.get(number).is_some_and(|it| !it.revents().is_empty());
                let others = usize::from(ended.is_some());
                (is_set(0), ended.is_some() && is_set(1), is_set(1 + others))
            };
            if has_ended || is_told {
                return Ok(());
            }
            if has_event {
                self.handle_events()?;
            }
        }
    }

    fn handle_events(&mut self) -> Result<()> {
        loop {
            let Some(participant) = &mut self.participant else { return Ok(()) };
            match participant.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Prepare { generation, deadline })) => {
                    self.prepare(generation, deadline)?;
                }
                Ok(Some(Event::Abort { reason, .. })) => {
                    eprintln!("luod-ch: the update is off: {reason}");
                    self.resume()?;
                }
                // The kernel is left at any moment.
                Ok(Some(_)) => {}
                Err(error) => {
                    eprintln!("luod-ch: luod has gone: {error}");
                    self.participant = None;
                    // An update that it prepared is off.
                    self.resume()?;
                }
            }
        }
    }

    fn prepare(&mut self, generation: u64, deadline: Instant) -> Result<()> {
        let kept = self.keep(deadline);
        let Some(participant) = &self.participant else { return Ok(()) };
        let told = match kept {
            Ok(()) => participant.ready(generation, soon()),
            Err(error) => {
                eprintln!("luod-ch: the guest is not ready: {error:#}");
                participant.refuse(generation, &format!("{error:#}"), soon())
            }
        };
        if let Err(error) = told {
            eprintln!("luod-ch: cannot tell luod: {error}");
            self.participant = None;
            self.resume()?;
        }
        Ok(())
    }

    /// Takes the guest from Cloud Hypervisor, and preserves it.
    fn keep(&mut self, deadline: Instant) -> Result<()> {
        let Place::Runs(_) = &self.place else { return Ok(()) };
        let (provider, name) = (&self.provider, &self.name);
        let mut session = None;
        let guest = self.setup.take(deadline, |guest| {
            let handover = provider.open(name, soon()).context("open a session")?;
            custody::preserve(&handover, guest)?;
            let ready =
                handover.ready().map_err(liblu::Error::from).context("complete the session")?;
            session = Some(ready);
            Ok(())
        });
        match (guest, session) {
            (Ok(guest), Some(session)) => {
                let kept = Place::Kept { guest: Box::new(guest), _session: Box::new(session) };
                if let Place::Runs(vmm) = std::mem::replace(&mut self.place, kept) {
                    // It ends by itself; and it must not touch the disks of the guest any more.
                    let _ = vmm.kill();
                }
                Ok(())
            }
            (guest, session) => {
                drop(session);
                let _ = self.provider.discard(&self.name, soon());
                guest.map(drop)
            }
        }
    }

    /// Lets the guest run again, in a new Cloud Hypervisor, if it is not in one.
    fn resume(&mut self) -> Result<()> {
        let Place::Kept { guest, .. } = &self.place else { return Ok(()) };
        let vmm = restore(&self.setup, guest).context("the guest cannot go on")?;
        // From here on the session is closed, and the guest is in one place.
        self.place = Place::Runs(vmm);
        if let Err(error) = self.provider.discard(&self.name, soon()) {
            eprintln!("luod-ch: cannot give up the session: {error}");
        }
        Ok(())
    }

    /// Ends with the guest, or without it if it is on its way to the next kernel.
    fn end(self) -> Result<()> {
        match self.place {
            Place::Runs(vmm) => {
                let status = vmm.terminate()?;
                ensure!(status.success(), "Cloud Hypervisor ended with {status}");
                Ok(())
            }
            Place::Kept { .. } => Ok(()),
        }
    }
}
