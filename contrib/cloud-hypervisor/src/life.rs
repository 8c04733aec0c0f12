// SPDX-License-Identifier: MIT OR Apache-2.0

//! The life of a guest over updates of the host's kernel.

use std::fs;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use liblu::{Claim, Claimed, ErrorKind, Event, Handover, Participant, Provider, Ready};
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
    let came = match provider.claim(&name, soon()).context("ask for the guest")? {
        Claim::Session(session) => take_over(session, &setup, &provider, &name)?,
        Claim::ColdStart => None,
    };
    let place = if let Some(vmm) = came {
        Place::Runs(vmm)
    } else {
        // Before it is started: a guest that luod does not let survive is none.
        provider.participate(&[&name], soon()).context("luod does not let the guest take part")?;
        Place::Runs(setup.boot()?)
    };
    let mut life = Life { provider, name, setup, place, participant: None };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    life.serve(&signals)?;
    life.end()
}

/// Goes on with a guest that came. Until it runs, nothing is final: after an error, the next start asks again.
///
/// `None` if it has run in this kernel already, and Cloud Hypervisor has ended since: it is lost, as after any crash.
fn take_over(
    session: Claimed,
    setup: &Setup,
    provider: &Provider,
    name: &str,
) -> Result<Option<Vmm>> {
    // Here, in the control group of the guest, which pays for its memory.
    let came = match session.manifest() {
        Err(error) if error.kind() == ErrorKind::Incomplete => None,
        _ => custody::retrieve(&session).context("the guest that came")?,
    };
    let vmm = if let Some(guest) = came {
        let mark = |is_spent| custody::mark(&session, &guest, is_spent);
        let restored = restore(setup, &guest, &mark);
        Some(
            restored
                .context("the guest that came is not given up: the next start looks at it again")?,
        )
    } else {
        eprintln!(
            "luod-ch: the guest has run in this kernel, and has ended since: it is started anew"
        );
        None
    };
    let finished =
        session.finish(soon()).map_err(liblu::Error::from).context("finish the session")?;
    if finished.custody.is_err() {
        provider.restored(name, soon()).context("tell luod")?;
    }
    Ok(vmm)
}

/// Starts Cloud Hypervisor with this guest.
fn restore<M>(setup: &Setup, guest: &Guest, mark: &M) -> Result<Vmm>
where
    M: Fn(bool) -> Result<()>,
{
    let mut attempt = 1;
    loop {
        match setup.restore(guest, Instant::now() + RESTORE, mark) {
            Ok(vmm) => return Ok(vmm),
            // It may have run.
            Err(error) if attempt == ATTEMPTS || is_uncertain(&error) => return Err(error),
            Err(error) => eprintln!("luod-ch: attempt {attempt}: {error:#}"),
        }
        attempt += 1;
    }
}

fn is_uncertain(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(luod_ch::Error::Uncertain(_)))
}

/// The session of a guest that is kept: one of both.
#[derive(Default)]
struct Session {
    /// The next kernel finds all of it.
    ready: Option<Ready>,
    /// The guest runs again, or will: the next kernel finds that it is not complete.
    open: Option<Handover>,
}

/// Where the guest is.
enum Place {
    /// In Cloud Hypervisor.
    Runs(Vmm),
    /// In a session, on its way to the next kernel; and here, in case that there is no update.
    Kept { guest: Box<Guest>, session: Box<Session> },
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
                let kept = Place::Kept {
                    guest: Box::new(guest),
                    session: Box::new(Session { ready: Some(session), open: None }),
                };
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
        let Place::Kept { guest, session } = &mut self.place else { return Ok(()) };
        // Whatever becomes of the session, nothing may start from it when the guest has run again.
        if let Some(ready) = session.ready.take() {
            match ready.abort() {
                Ok(handover) => session.open = Some(handover),
                Err(failed) => {
                    let (ready, error) = failed.into_parts();
                    session.ready = Some(ready);
                    return Err(error).context("open the session again");
                }
            }
        }
        // This state is this process's alone from here on.
        let vmm = restore(&self.setup, guest, &|_| Ok(())).context("the guest cannot go on")?;
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
