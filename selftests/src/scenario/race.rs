// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two threads that run the same command at once: one succeeds, the other gets the right error.
//!
//! The commands are raw ones: nothing stands between the threads and the kernel.

use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;

use super::stage::{Stage, create, device, joined, memfd, retrieve};
use super::{Kernel, Scenario};
use crate::abi;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("one_of_two_threads_preserves_a_file", preserve),
    Scenario::here("one_of_two_threads_creates_a_session", create_session),
    Scenario::across("one_of_two_threads_retrieves_a_session", before, retrieve_session),
    Scenario::across("one_of_two_threads_finishes_a_session", finish_before, finish),
    Scenario::across("finish_and_retrieve_do_not_mix", mix_before, mix),
];

/// The number of tries; most pairs of commands do not run at the same time.
const ROUNDS: usize = 20;

/// Runs two functions at once.
fn both<T: Send>(
    one: impl FnOnce() -> rustix::io::Result<T> + Send,
    two: impl FnOnce() -> rustix::io::Result<T> + Send,
) -> Result<[rustix::io::Result<T>; 2]> {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let two = two();
        let one = joined(one.join())?;
        Ok([one, two])
    })
}

/// Checks that one has succeeded and the other has failed with this error.
fn check_one<T: std::fmt::Debug>(results: &[rustix::io::Result<T>; 2], errno: Errno) -> Result<()> {
    let is_fair = matches!(results, [Ok(_), Err(error)] | [Err(error), Ok(_)] if *error == errno);
    ensure!(is_fair, "{results:?}, not success and {errno:?}");
    Ok(())
}

fn preserve(_: &mut Stage<'_>) -> Result<()> {
    let sessions = [create("race-one")?, create("race-two")?];
    for token in (0..).take(ROUNDS) {
        let file = memfd("x")?;
        let [one, two] = sessions.each_ref();
        let results =
            both(|| abi::preserve_fd(one, &file, token), || abi::preserve_fd(two, &file, token))?;
        check_one(&results, Errno::BUSY)?;
    }
    Ok(())
}

fn create_session(_: &mut Stage<'_>) -> Result<()> {
    let device = device()?;
    for _ in 0..ROUNDS {
        let results =
            both(|| abi::create(&device, "race-name"), || abi::create(&device, "race-name"))?;
        check_one(&results, Errno::EXIST)?;
    }
    Ok(())
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
    for round in 0..ROUNDS {
        let name = format!("race-session-{round}");
        let results = both(|| abi::retrieve(&device, &name), || abi::retrieve(&device, &name))?;
        check_one(&results, Errno::INVAL)?;
        for session in results.into_iter().flatten() {
            abi::finish(&session).context("FINISH")?;
        }
    }
    Ok(())
}

fn finish_before(stage: &mut Stage<'_>) -> Result<()> {
    make(stage, "race-finish")
}

fn finish(stage: &mut Stage<'_>) -> Result<()> {
    for round in 0..ROUNDS {
        let session = retrieve(format!("race-finish-{round}"))?.into_custody();
        let results = both(|| abi::finish(&session), || abi::finish(&session))?;
        match stage.kernel {
            // On C, a finished session can be finished again.
            Kernel::C => ensure!(results == [Ok(()), Ok(())], "{results:?}"),
            Kernel::Rust => check_one(&results, Errno::INVAL)?,
        }
    }
    Ok(())
}

fn mix_before(stage: &mut Stage<'_>) -> Result<()> {
    make(stage, "race-mix")
}

fn mix(stage: &mut Stage<'_>) -> Result<()> {
    let too_late = stage.kernel.pick(Errno::NOENT, Errno::INVAL);
    for round in 0..ROUNDS {
        let session = retrieve(format!("race-mix-{round}"))?.into_custody();
        let [finish, retrieve] =
            both(|| abi::finish(&session), || abi::retrieve_fd(&session, 1).map(drop))?;
        finish.context("FINISH")?;
        ensure!(
            matches!(retrieve, Ok(())) || retrieve == Err(too_late),
            "RETRIEVE_FD beside FINISH: {retrieve:?}"
        );
    }
    Ok(())
}
