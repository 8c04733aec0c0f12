// SPDX-License-Identifier: MIT OR Apache-2.0

//! The life of a guest over updates of the host's kernel.

use std::cell::Cell;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use liblu::{Claim, Claimed, Client, ErrorKind, Handover, Provider, Resumed, Workload};
use luod_ch::{Guest, custody};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Options;
use crate::vmm::{Setup, Vmm};

/// How long a new Cloud Hypervisor may take to run a guest that is given to it.
const RESTORE: Duration = Duration::from_mins(1);

/// How often one is started for a guest.
const ATTEMPTS: u32 = 3;

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
    let mut client = Client::new(provider, &name);
    let came = match client.claim().context("ask for the guest")? {
        Claim::Session(session) => take_over(session, &setup, &mut client)?,
        Claim::ColdStart => None,
    };
    let place = if let Some(vmm) = came {
        Place::Runs(vmm)
    } else {
        // Before it is started: a guest that luod does not let survive is none.
        client.participate().context("luod does not let the guest take part")?;
        Place::Runs(setup.boot()?)
    };
    let mut life = Life { setup, place };
    // What fails is tried again.
    let _ = client.join(&mut life, 1);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    client.serve(&mut life, &[signals.as_fd()])?;
    match life.place {
        // It is on its way to the next kernel.
        Place::Kept(_) if client.is_ready() => Ok(()),
        Place::Kept(_) => {
            bail!("the guest stands still, and its session is not complete: it is lost")
        }
        Place::Lost(_) => {
            client.discard().context("give up the session")?;
            bail!("the guest may have run, and its Cloud Hypervisor has ended: it is lost")
        }
        Place::Runs(vmm) => {
            let discarded = client.discard().context("give up the session");
            let status = vmm.terminate()?;
            ensure!(status.success(), "Cloud Hypervisor ended with {status}");
            discarded
        }
    }
}

/// Goes on with a guest that came. Until it runs, nothing is final: after an error, the next start asks again.
///
/// `None` if it has run in this kernel already, and Cloud Hypervisor has ended since: it is lost, as after any crash.
fn take_over(session: Claimed, setup: &Setup, client: &mut Client) -> Result<Option<Vmm>> {
    // Here, in the control group of the guest, which pays for its memory.
    let came = match session.manifest() {
        Err(error) if error.kind() == ErrorKind::Incomplete => None,
        _ => custody::retrieve(&session).context("the guest that came")?,
    };
    let vmm = if let Some(guest) = came {
        match restore(setup, &guest, || custody::spend(&session, &guest)) {
            Ok(vmm) => Some(vmm),
            Err(failed) if failed.is_spent => {
                return Err(failed.error.context("the guest that came may have run: it is lost"));
            }
            Err(failed) => {
                return Err(failed.error.context(
                    "the guest that came is not given up: the next start looks at it again",
                ));
            }
        }
    } else {
        eprintln!(
            "luod-ch: the guest has run in this kernel, and has ended since: it is started anew"
        );
        None
    };
    client.finish(session).context("finish the session")?;
    Ok(vmm)
}

/// Why a guest could not be brought back.
struct Failed {
    error: anyhow::Error,
    /// Whether it may have run: its memory may be newer than its state then.
    is_spent: bool,
}

/// Starts Cloud Hypervisor with this guest. `spend` notes that it may run from then on, where the next process finds it.
fn restore<S>(setup: &Setup, guest: &Guest, spend: S) -> Result<Vmm, Failed>
where
    S: Fn() -> Result<()>,
{
    let is_spent = Cell::new(false);
    let spend = || {
        spend()?;
        is_spent.set(true);
        Ok(())
    };
    let mut attempt = 1;
    loop {
        match setup.restore(guest, Instant::now() + RESTORE, spend) {
            Ok(vmm) => return Ok(vmm),
            Err(error) if attempt == ATTEMPTS || is_spent.get() => {
                return Err(Failed { error, is_spent: is_spent.get() });
            }
            Err(error) => eprintln!("luod-ch: attempt {attempt}: {error:#}"),
        }
        attempt += 1;
    }
}

/// Where the guest is.
enum Place {
    /// In Cloud Hypervisor.
    Runs(Vmm),
    /// In a session, on its way to the next kernel; and here, in case that there is no update.
    Kept(Box<Guest>),
    /// Nowhere: a Cloud Hypervisor that may have run it has ended. The other end of this is closed, so that
    /// [`Workload::ended`] shows it.
    Lost(UnixStream),
}

/// The guest, wherever it is.
struct Life {
    setup: Setup,
    place: Place,
}

impl Workload for Life {
    type Error = anyhow::Error;

    /// Cloud Hypervisor gives the memory away at the end only.
    fn preserve(&mut self, _: &Handover) -> Result<()> {
        ensure!(!matches!(self.place, Place::Lost(_)), "the guest is lost");
        Ok(())
    }

    /// Takes the guest from Cloud Hypervisor, which gives it up when it is preserved, and not before.
    fn stop(&mut self, session: &Handover, deadline: Instant) -> Result<()> {
        ensure!(matches!(self.place, Place::Runs(_)), "the guest is in no Cloud Hypervisor");
        let guest = self.setup.take(deadline, |guest| custody::preserve(session, guest))?;
        let kept = Place::Kept(Box::new(guest));
        if let Place::Runs(vmm) = std::mem::replace(&mut self.place, kept) {
            // It ends by itself; and it must not touch the disks of the guest any more.
            let _ = vmm.kill();
        }
        Ok(())
    }

    /// Lets the guest run again, in a new Cloud Hypervisor, if it is not in one.
    fn resume(&mut self) -> Result<Resumed> {
        if let Place::Kept(guest) = &self.place {
            // Before the guest may run: after that nothing may fail but its Cloud Hypervisor.
            let (closed, _) = UnixStream::pair().context("make sockets")?;
            // This state is this process's alone: there is nowhere to note it.
            match restore(&self.setup, guest, || Ok(())) {
                Ok(vmm) => self.place = Place::Runs(vmm),
                // Another attempt would run it a second time.
                Err(failed) if failed.is_spent => {
                    self.report(&format!("the guest is lost: {:#}", failed.error));
                    self.place = Place::Lost(closed);
                }
                Err(failed) => return Err(failed.error.context("the guest cannot go on")),
            }
        }
        Ok(Resumed::Anew)
    }

    fn ended(&self) -> Option<BorrowedFd<'_>> {
        match &self.place {
            Place::Runs(vmm) => Some(vmm.ended()),
            Place::Kept(_) => None,
            Place::Lost(closed) => Some(closed.as_fd()),
        }
    }

    fn report(&mut self, message: &str) {
        eprintln!("luod-ch: {message}");
    }
}

#[cfg(test)]
mod tests;
