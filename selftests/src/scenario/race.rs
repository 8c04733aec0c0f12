// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two threads that run commands at once: each gets the right answer, in either order.
//!
//! The commands are raw ones: nothing stands between the threads and the kernel. The threads meet at
//! a barrier. In the first rounds they go on together, then one of them, in turns, is late. In the
//! last two, it waits for the end of the other command. Each order must have happened.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;

use super::stage::{
    Stage, check_memfd, create, device, fails, joined, memfd, not_applicable, retrieve,
    try_retrieve,
};
use super::{Kernel, Scenario};
use crate::abi;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("one_of_two_threads_preserves_a_file", preserve),
    Scenario::here("two_threads_cannot_have_one_token", token),
    Scenario::here("one_of_two_threads_creates_a_session", create_session),
    Scenario::across("one_of_two_threads_retrieves_a_session", before, retrieve_session),
    Scenario::across("one_of_two_threads_finishes_a_session", finish_before, finish),
    Scenario::across("finish_and_retrieve_do_not_mix", mix_before, mix),
    Scenario::here("a_file_is_free_as_soon_as_its_session_is_closed", preserve_beside_close),
    Scenario::here("a_session_is_closed_beside_its_preserve", preserve_while_closed),
    Scenario::across(
        "a_session_is_closed_beside_its_finish",
        finish_while_closed_before,
        finish_while_closed,
    ),
    Scenario::across(
        "a_session_is_retrieved_once_it_is_closed",
        close_before,
        retrieve_beside_close,
    ),
];

/// The number of tries; most pairs of commands do not run at the same time.
pub(super) const ROUNDS: usize = 20;

/// In each second round, a thread is late by this time more.
const LATER: Duration = Duration::from_micros(100);

/// How far the command of one thread is.
#[derive(Default)]
struct Progress {
    has_begun: AtomicBool,
    has_ended: AtomicBool,
}

impl Progress {
    fn run<T>(&self, command: impl FnOnce() -> T) -> T {
        self.has_begun.store(true, Ordering::Release);
        let result = command();
        self.has_ended.store(true, Ordering::Release);
        result
    }

    /// Waits for its begin and for some time more, or for its end.
    fn wait(&self, time: Option<Duration>) {
        let flag = if time.is_some() { &self.has_begun } else { &self.has_ended };
        while !flag.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let (begin, time) = (Instant::now(), time.unwrap_or_default());
        while begin.elapsed() < time {
            std::hint::spin_loop();
        }
    }
}

/// Runs two functions at once, in round `round`. Neither may need the other one to end, or panic.
pub(super) fn both<A: Send, B: Send>(
    round: usize,
    one: impl FnOnce() -> A + Send,
    two: impl FnOnce() -> B + Send,
) -> Result<(A, B)> {
    let (first, second) = (Progress::default(), Progress::default());
    let barrier = Barrier::new(2);
    // The time counts from the begin of the other command: a thread that the barrier wakes may go on
    // much later than the other.
    let steps = u32::try_from(round / 2).context("too many rounds")?;
    let late = (round + 2 < ROUNDS).then_some(LATER * steps);
    let meet = |other: &Progress, is_late: bool| {
        barrier.wait();
        if is_late && late != Some(Duration::ZERO) {
            other.wait(late);
        }
    };
    thread::scope(|scope| {
        let one = scope.spawn(|| {
            meet(&second, round.is_multiple_of(2));
            first.run(one)
        });
        meet(&first, !round.is_multiple_of(2));
        let two = second.run(two);
        Ok((joined(one.join())?, two))
    })
}

/// How often each of two threads was the first.
#[derive(Debug, Default)]
struct Orders {
    one: usize,
    two: usize,
}

impl Orders {
    fn count(&mut self, one_was_first: bool) {
        if one_was_first {
            self.one += 1;
        } else {
            self.two += 1;
        }
    }

    /// Exactly one of the two has succeeded, and the other has failed with this error.
    fn check_one<T: std::fmt::Debug>(
        &mut self,
        results: &(rustix::io::Result<T>, rustix::io::Result<T>),
        errno: Errno,
    ) -> Result<()> {
        match results {
            (Ok(_), Err(error)) if *error == errno => self.count(true),
            (Err(error), Ok(_)) if *error == errno => self.count(false),
            _ => bail!("{results:?}, not success and {errno:?}"),
        }
        Ok(())
    }

    /// Both orders have happened.
    fn check(self) -> Result<()> {
        ensure!(self.one > 0 && self.two > 0, "only one order has happened: {self:?}");
        Ok(())
    }
}

fn preserve(_: &mut Stage<'_>) -> Result<()> {
    let sessions = [create("race-one")?, create("race-two")?];
    let mut orders = Orders::default();
    for (token, round) in (0..).zip(0..ROUNDS) {
        let file = memfd("x")?;
        let [one, two] = sessions.each_ref();
        let preserve = |session| abi::preserve_fd(session, &file, token);
        let results = both(round, || preserve(one), || preserve(two))?;
        orders.check_one(&results, Errno::BUSY)?;
    }
    orders.check()
}

fn token(_: &mut Stage<'_>) -> Result<()> {
    let session = create("race-token")?;
    let mut orders = Orders::default();
    for (token, round) in (0..).zip(0..ROUNDS) {
        let (one, two) = (memfd("a")?, memfd("b")?);
        let preserve = |file| abi::preserve_fd(&session, file, token);
        let results = both(round, || preserve(&one), || preserve(&two))?;
        orders.check_one(&results, Errno::EXIST)?;
    }
    orders.check()
}

fn create_session(_: &mut Stage<'_>) -> Result<()> {
    let device = device()?;
    let mut orders = Orders::default();
    for round in 0..ROUNDS {
        let create = || abi::create(&device, "race-name");
        let results = both(round, create, create)?;
        orders.check_one(&results, Errno::EXIST)?;
    }
    orders.check()
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    make(stage, "race-session")
}

/// Sessions named by a name and a number, with one file each.
fn make(stage: &mut Stage<'_>, name: &str) -> Result<()> {
    (0..ROUNDS).try_for_each(|round| stage.hand_over(format!("{name}-{round}"), memfd("x")?))
}

fn retrieve_session(_: &mut Stage<'_>) -> Result<()> {
    let device = device()?;
    let mut orders = Orders::default();
    for round in 0..ROUNDS {
        let name = format!("race-session-{round}");
        let retrieve = || abi::retrieve(&device, &name);
        let results = both(round, retrieve, retrieve)?;
        orders.check_one(&results, Errno::INVAL)?;
        for session in results.0.into_iter().chain(results.1) {
            abi::finish(&session).context("FINISH")?;
        }
    }
    orders.check()
}

fn finish_before(stage: &mut Stage<'_>) -> Result<()> {
    make(stage, "race-finish")
}

fn finish(stage: &mut Stage<'_>) -> Result<()> {
    let mut orders = Orders::default();
    for round in 0..ROUNDS {
        let session = retrieve(format!("race-finish-{round}"))?.into_fd();
        let finish = || abi::finish(&session);
        let results = both(round, finish, finish)?;
        match stage.kernel {
            // On C, a finished session can be finished again.
            Kernel::C => ensure!(results == (Ok(()), Ok(())), "{results:?}"),
            Kernel::Rust => orders.check_one(&results, Errno::INVAL)?,
        }
    }
    if stage.kernel == Kernel::C {
        return not_applicable("on C, FINISH of a finished session succeeds");
    }
    orders.check()
}

fn mix_before(stage: &mut Stage<'_>) -> Result<()> {
    make(stage, "race-mix")
}

fn mix(stage: &mut Stage<'_>) -> Result<()> {
    let too_late = stage.kernel.pick(Errno::NOENT, Errno::INVAL);
    let mut orders = Orders::default();
    for round in 0..ROUNDS {
        let session = retrieve(format!("race-mix-{round}"))?.into_fd();
        let (finish, retrieve) =
            both(round, || abi::finish(&session), || abi::retrieve_fd(&session, 1).map(drop))?;
        finish.context("FINISH")?;
        ensure!(
            matches!(retrieve, Ok(())) || retrieve == Err(too_late),
            "RETRIEVE_FD beside FINISH: {retrieve:?}"
        );
        orders.count(retrieve.is_err());
    }
    orders.check()
}

fn preserve_beside_close(_: &mut Stage<'_>) -> Result<()> {
    let other = create("race-other")?;
    let mut orders = Orders::default();
    for (token, round) in (0..).zip(0..ROUNDS) {
        let file = memfd("x")?;
        let session = create("race-closed")?;
        abi::preserve_fd(&session, &file, 1).context("PRESERVE_FD")?;
        let ((), preserved) =
            both(round, || drop(session), || abi::preserve_fd(&other, &file, token))?;
        if preserved.is_err() {
            ensure!(preserved == Err(Errno::BUSY), "PRESERVE_FD beside close: {preserved:?}");
            abi::preserve_fd(&other, &file, token).context("PRESERVE_FD after close")?;
        }
        orders.count(preserved.is_ok());
        create("race-closed").context("the name of the closed session")?;
    }
    orders.check()
}

/// One thread closes the only descriptor on which the other one runs PRESERVE_FD.
fn preserve_while_closed(_: &mut Stage<'_>) -> Result<()> {
    let other = create("race-beside")?;
    let mut orders = Orders::default();
    for (token, round) in (0..).zip(0..ROUNDS) {
        let (session, file) = (OwnedFd::from(create("race-last")?), memfd("x")?);
        let number = session.as_raw_fd();
        let (preserved, ()) =
            both(round, || abi::preserve_racing(number, &file, 1), || drop(session))?;
        ensure!(matches!(preserved, Ok(()) | Err(Errno::BADF)), "PRESERVE_FD: {preserved:?}");
        orders.count(preserved.is_ok());
        // The session has gone in both cases, with all that it held.
        create("race-last").context("the name of the closed session")?;
        abi::preserve_fd(&other, &file, token).context("PRESERVE_FD after close")?;
    }
    orders.check()
}

fn finish_while_closed_before(stage: &mut Stage<'_>) -> Result<()> {
    make(stage, "race-end")
}

/// One thread closes the only descriptor on which the other one runs FINISH.
fn finish_while_closed(stage: &mut Stage<'_>) -> Result<()> {
    let mut orders = Orders::default();
    for round in 0..ROUNDS {
        let name = format!("race-end-{round}");
        let session = retrieve(&name)?.into_fd();
        let number = session.as_raw_fd();
        let (finished, ()) = both(round, || abi::finish_racing(number), || drop(session))?;
        ensure!(matches!(finished, Ok(()) | Err(Errno::BADF)), "FINISH: {finished:?}");
        orders.count(finished.is_ok());
        // On C, closing a session finishes it.
        if finished.is_err() && stage.kernel == Kernel::Rust {
            let session = retrieve(&name)?;
            check_memfd(session.retrieve(1.into()).context("RETRIEVE_FD")?, "x")?;
            session.finish().context("FINISH after close")?;
        }
        fails("RETRIEVE_SESSION after FINISH", try_retrieve(&name), Errno::NOENT)?;
    }
    orders.check()
}

fn close_before(stage: &mut Stage<'_>) -> Result<()> {
    make(stage, "race-close")
}

fn retrieve_beside_close(stage: &mut Stage<'_>) -> Result<()> {
    let device = device()?;
    let mut orders = Orders::default();
    for round in 0..ROUNDS {
        let name = format!("race-close-{round}");
        let session = abi::retrieve(&device, &name).context("RETRIEVE_SESSION")?;
        let ((), retrieved) = both(round, || drop(session), || abi::retrieve(&device, &name))?;
        let closed_first = match (retrieved, stage.kernel) {
            (Err(Errno::INVAL), _) => false,
            // On C, closing a session finishes it.
            (Err(Errno::NOENT), Kernel::C) => true,
            (Ok(session), Kernel::Rust) => {
                abi::finish(session).context("FINISH")?;
                true
            }
            (other, _) => bail!("RETRIEVE_SESSION beside close: {other:?}"),
        };
        orders.count(closed_first);
        if !closed_first && stage.kernel == Kernel::Rust {
            let session = abi::retrieve(&device, &name).context("RETRIEVE_SESSION after close")?;
            abi::finish(session).context("FINISH")?;
        }
    }
    orders.check()
}
