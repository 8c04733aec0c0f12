// SPDX-License-Identifier: MIT OR Apache-2.0

//! The life of a client, as `docs/clients.md` tells it, in one value.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::{Claim, Claimed, Error, Participant, Provider, Result, Standstill};

mod state;
mod update;
mod workload;

pub use state::Wake;
use state::{Session, Work};
pub use workload::{Resumed, Workload};

/// The time for one answer of the agent. It takes milliseconds; a longer time shows that something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two attempts at what is missing for the next update.
const RETRY: Duration = Duration::from_millis(200);

/// Failures in a row after which one is reported. The first is none: an agent that is started again, or that
/// closes the last session, is back at the second attempt.
const REPORTED: u32 = 2;

fn soon() -> Option<Instant> {
    Instant::now().checked_add(PATIENCE)
}

/// The client of an agent for one session: claims it when the program starts, keeps it ready for the next update, and
/// goes through updates.
///
/// ```no_run
/// use std::os::fd::AsFd;
/// use liblu::{Claim, Client, Provider, Workload};
///
/// fn run<G: Workload>(
///     start: impl Fn(Option<&liblu::Claimed>) -> Result<G, G::Error>,
///     end: &impl AsFd,
/// ) -> Result<(), G::Error> {
///     let mut client = Client::new(Provider::find()?, "vm-17");
///     let mut guest = match client.claim()? {
///         Claim::Session(session) => {
///             let guest = start(Some(&session))?;
///             // It works again; only then:
///             client.finish(session)?;
///             guest
///         }
///         Claim::ColdStart => start(None)?,
///     };
///     client.serve(&mut guest, &[end.as_fd()])?;
///     if !client.is_ready() {
///         // It ends for good, and not because the kernel is left.
///         client.discard()?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Client {
    provider: Provider,
    label: String,
    session: Session,
    participant: Option<Participant>,
    work: Work,
    standstill: Standstill,
    /// Whether the custodian does not know yet that the session of the previous kernel is finished.
    is_untold: bool,
    /// Attempts at [`Client::join`] that have failed, one after the other.
    failures: u32,
    /// When the last attempt has failed.
    attempted: Option<Instant>,
}

impl Client {
    /// The client for the session of this label.
    ///
    /// ```no_run
    /// let client = liblu::Client::new(liblu::Provider::find()?, "vm-17");
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn new(provider: Provider, label: &str) -> Self {
        Self {
            provider,
            label: label.to_owned(),
            session: Session::None,
            participant: None,
            work: Work::Goes,
            standstill: Standstill::default(),
            is_untold: false,
            failures: 0,
            attempted: None,
        }
    }

    /// Asks for the session of the previous kernel.
    ///
    /// # Errors
    ///
    /// Those of [`Provider::claim`]: after an error nothing may be started from nothing.
    ///
    /// ```no_run
    /// let claim = liblu::Client::new(liblu::Provider::find()?, "vm-17").claim()?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn claim(&self) -> Result<Claim> {
        self.provider.claim(&self.label, soon())
    }

    /// Finishes the session that came: the workload works again, or is lost. An agent that cannot be told now is told
    /// later, before the next session begins.
    ///
    /// # Errors
    ///
    /// Those of [`Claimed::finish`].
    ///
    /// ```no_run
    /// # let mut client = liblu::Client::new(liblu::Provider::find()?, "vm-17");
    /// if let liblu::Claim::Session(session) = client.claim()? {
    ///     client.finish(session)?;
    /// }
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn finish(&mut self, came: Claimed) -> Result<()> {
        let finished = came.finish(soon())?;
        self.is_untold = finished.custody.is_err();
        Ok(())
    }

    /// Takes part in updates. [`Client::join`] does it too; before a workload starts, it shows whether the agent lets
    /// it survive at all.
    ///
    /// # Errors
    ///
    /// Those of [`Provider::participate`].
    ///
    /// ```no_run
    /// liblu::Client::new(liblu::Provider::find()?, "vm-17").participate()?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn participate(&mut self) -> Result<()> {
        if self.participant.is_none() {
            let participant = self.provider.participate(&[&self.label], soon())?;
            self.participant = Some(participant);
        }
        Ok(())
    }

    /// Does what is missing for the next update, in so many attempts at most, which have a moment between them; one is
    /// always made. [`Client::serve`] does it too, but a program may want to know before that.
    ///
    /// # Errors
    ///
    /// The one of the last attempt. [`NoResources`](crate::ErrorKind::NoResources) may pass: memory that a guest uses at
    /// this moment may be where the kernel can neither preserve nor move it.
    ///
    /// ```no_run
    /// # fn example<G: liblu::Workload>(client: &mut liblu::Client, guest: &mut G) -> Result<(), G::Error> {
    /// client.join(guest, 10)
    /// # }
    /// ```
    pub fn join<W: Workload>(
        &mut self,
        workload: &mut W,
        attempts: u32,
    ) -> std::result::Result<(), W::Error> {
        for _ in 1..attempts {
            if self.complete(workload).is_ok() {
                return Ok(());
            }
            std::thread::sleep(RETRY);
        }
        self.complete(workload)
    }

    /// Serves the agent until the workload has ended, or until one of the others can be read from. Whatever becomes of an
    /// update, the workload goes on: errors are reported, and what has failed is tried again.
    ///
    /// # Errors
    ///
    /// If it cannot wait.
    ///
    /// ```no_run
    /// # use std::os::fd::BorrowedFd;
    /// # fn example<G: liblu::Workload>(client: &mut liblu::Client, guest: &mut G, signals: BorrowedFd<'_>) -> liblu::Result<()> {
    /// match client.serve(guest, &[signals])? {
    ///     liblu::Wake::Ended => println!("the guest has ended"),
    ///     liblu::Wake::Other(_) => println!("the program is to end"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve<W: Workload>(
        &mut self,
        workload: &mut W,
        others: &[BorrowedFd<'_>],
    ) -> Result<Wake> {
        let retry = Timespec { tv_sec: 0, tv_nsec: RETRY.subsec_nanos().into() };
        loop {
            // Before it waits, so that one of the others that is always ready cannot keep it from here.
            if !self.is_complete() && self.attempted.is_none_or(|at| at.elapsed() >= RETRY) {
                self.try_again(workload);
            }
            let (has_ended, other, has_event) = {
                let ended = workload.ended();
                let all = others.iter().chain(&ended);
                let mut polled: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
                polled.extend(self.participant.as_ref().map(|it| PollFd::new(it, PollFlags::IN)));
                match poll(&mut polled, (!self.is_complete()).then_some(&retry)) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(Error::system("poll", errno)),
                }
                let is_set: Vec<_> = polled.iter().map(|it| !it.revents().is_empty()).collect();
                let (first, rest) = is_set.split_at(others.len());
                let mut rest = rest.iter();
                let has_ended = ended.is_some() && rest.next() == Some(&true);
                (has_ended, first.iter().position(|it| *it), rest.next() == Some(&true))
            };
            if has_ended {
                return Ok(Wake::Ended);
            }
            // First, for its deadline runs; and a program that is to end may be so because all are ready.
            if has_event {
                self.handle_events(workload);
            }
            if let Some(other) = other {
                return Ok(Wake::Other(other));
            }
        }
    }

    /// Whether the session is complete and with the agent: the next kernel gets the workload, and this process may end.
    ///
    /// ```no_run
    /// # let client = liblu::Client::new(liblu::Provider::find()?, "vm-17");
    /// assert!(!client.is_ready());
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn is_ready(&self) -> bool {
        matches!(self.session, Session::Ready(_))
    }

    /// Gives the session up: the workload has ended for good.
    ///
    /// # Errors
    ///
    /// Those of [`Provider::discard`].
    ///
    /// ```no_run
    /// liblu::Client::new(liblu::Provider::find()?, "vm-17").discard()?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn discard(self) -> Result<()> {
        drop(self.session);
        self.provider.discard(&self.label, soon())
    }

    /// Whether nothing is missing for the next update.
    fn is_complete(&self) -> bool {
        self.participant.is_some()
            && !matches!(self.session, Session::None)
            && self.work != Work::Stuck
            && !self.is_untold
    }

    fn complete<W: Workload>(&mut self, workload: &mut W) -> std::result::Result<(), W::Error> {
        if self.work == Work::Stuck {
            self.resume(workload)?;
        }
        if self.is_untold {
            self.provider.restored(&self.label, soon())?;
            self.is_untold = false;
        }
        if self.participant.is_none() {
            self.take_part(workload)?;
        }
        if matches!(self.session, Session::None) {
            self.open(workload)?;
        }
        self.failures = 0;
        self.attempted = None;
        Ok(())
    }

    fn try_again<W: Workload>(&mut self, workload: &mut W) {
        if let Err(error) = self.complete(workload) {
            self.failures = self.failures.saturating_add(1);
            self.attempted = Some(Instant::now());
            if self.failures == REPORTED {
                workload.report(&format!("no part in updates yet: {error:#}"));
            }
        }
    }

    fn open<W: Workload>(&mut self, workload: &mut W) -> std::result::Result<(), W::Error> {
        let session = self.provider.open(&self.label, soon())?;
        if let Err(error) = workload.preserve(&session) {
            drop(session);
            let _ = self.provider.discard(&self.label, soon());
            return Err(error);
        }
        self.session = Session::Open(session);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
