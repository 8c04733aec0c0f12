// SPDX-License-Identifier: MIT OR Apache-2.0

//! PRESERVE_FD.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;

use super::stage::{
    Go, Log, Stage, check_callbacks, check_memfd, create, fails, failure, finish, joined, memfd,
    not_applicable, number_of, retrieve, test_device, test_file, wait_for_slow,
};
use super::{Kernel, Scenario, race};
use crate::{abi, test_device};

/// Files that each of two threads preserves.
const RACERS: u32 = 64;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("preserve_errors_come_in_order", errors),
    Scenario::here("a_file_is_preserved_once_over_all_sessions", once),
    Scenario::here("a_file_is_what_its_handler_says_it_is", same),
    Scenario::here("a_handler_that_fails_leaves_nothing", handler_fails),
    Scenario::here("the_file_is_held_until_it_is_unpreserved", held),
    Scenario::here("a_slow_preserve_keeps_nobody_waiting", slow),
    Scenario::across("two_threads_may_use_one_session", race_before, race_after),
    Scenario::across("any_number_is_a_token", tokens_before, tokens_after),
];

fn errors(_: &mut Stage<'_>) -> Result<()> {
    let (session, file) = (create("errors")?, memfd("x")?);
    fails("no file", abi::preserve_number(&session, 999_999, 1), Errno::BADF)?;
    fails("a negative file", abi::preserve_number(&session, -1, 1), Errno::BADF)?;
    let null = File::open("/dev/null").context("open /dev/null")?;
    fails("a file without a handler", session.preserve(1.into(), &null), Errno::NOENT)?;
    fails("a session", session.preserve(1.into(), &session), Errno::NOENT)?;
    session.preserve(1.into(), &file).context("after these errors")?;
    let other = memfd("y")?;
    fails("a used token", session.preserve(1.into(), &other), Errno::EXIST)?;
    // The token is checked before the file.
    fails("a used token and no file", abi::preserve_number(&session, -1, 1), Errno::EXIST)?;
    session.preserve(2.into(), &other).context("another token")
}

fn once(_: &mut Stage<'_>) -> Result<()> {
    let (one, two, file) = (create("one")?, create("two")?, memfd("x")?);
    one.preserve(1.into(), &file).context("PRESERVE_FD")?;
    fails("the same session", one.preserve(2.into(), &file), Errno::BUSY)?;
    fails("another session", two.preserve(1.into(), &file), Errno::BUSY)?;
    // Another open file of the same memory.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let again = File::options().read(true).write(true).open(path).context("reopen the memfd")?;
    fails("the same memory", two.preserve(1.into(), &again), Errno::BUSY)?;
    drop(one);
    two.preserve(1.into(), &file).context("after the first was closed")
}

fn same(_: &mut Stage<'_>) -> Result<()> {
    let session = create("same")?;
    let (one, two) = (test_file(1, test_device::SAME)?, test_file(2, test_device::SAME)?);
    session.preserve(1.into(), &one).context("PRESERVE_FD")?;
    fails("the same by its handler", session.preserve(2.into(), &two), Errno::BUSY)?;
    drop(session);
    let session = create("same")?;
    session.preserve(2.into(), &two).context("after the first was closed")
}

fn handler_fails(_: &mut Stage<'_>) -> Result<()> {
    let session = create("handler-fails")?;
    let bad = test_file(1, test_device::PRESERVE_FAILS)?;
    let mut log = Log::begin()?;
    fails("PRESERVE_FD", session.preserve(1.into(), &bad), failure())?;
    check_callbacks(&mut log, &["object preserve", "preserve 1", "object unpreserve true"])?;
    // Neither the token nor the file is taken.
    fails("PRESERVE_FD again", session.preserve(1.into(), &bad), failure())?;
    let good = test_file(2, 0)?;
    session.preserve(1.into(), &good).context("another file under the token")
}

fn held(_: &mut Stage<'_>) -> Result<()> {
    let session = create("held")?;
    let mut log = Log::begin()?;
    // The only descriptor is closed, so only the session holds the file.
    session.preserve(1.into(), test_file(77, 0)?).context("PRESERVE_FD")?;
    ensure!(log.drops(77)? == 0, "the file is gone while it is preserved");
    drop(session);
    ensure!(log.drops(77)? == 1, "the file is not gone, or more than once");

    // A memfd that is not preserved any more can be resized again.
    let (session, file) = (create("held")?, memfd("x")?);
    session.preserve(1.into(), &file).context("PRESERVE_FD")?;
    drop(session);
    rustix::fs::ftruncate(&file, 1 << 20).context("resize it")?;
    abi::preserve_fd(create("held")?, &file, 1).context("PRESERVE_FD again")
}

fn slow(stage: &mut Stage<'_>) -> Result<()> {
    let device = test_device()?;
    let session = create("slow")?;
    let slow = test_file(1, test_device::PRESERVE_IS_SLOW)?;
    thread::scope(|scope| {
        let work = scope.spawn(|| session.preserve(1.into(), &slow));
        {
            let _go = Go(&device, 0);
            wait_for_slow(&device, 0, || work.is_finished())?;
            // C holds the lock of the session during this time, so other commands would wait for
            // ever.
            if stage.kernel == Kernel::Rust {
                // The same session, the token and the file in use, and another session.
                let quick = test_file(2, 0)?;
                session.preserve(2.into(), &quick).context("beside a slow one")?;
                fails("its token", session.preserve(1.into(), memfd("x")?), Errno::EXIST)?;
                fails("its file", session.preserve(3.into(), &slow), Errno::BUSY)?;
                create("quick").context("CREATE_SESSION")?;
            }
        }
        let done = joined(work.join())?;
        done.context("the slow one")
    })?;
    if stage.kernel == Kernel::C {
        return not_applicable("C holds the lock of a session during PRESERVE_FD");
    }
    Ok(())
}

fn race_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("race")?;
    let preserve = |first: u32| -> Result<()> {
        for token in first..first + RACERS {
            let file = memfd(&token.to_string())?;
            session.preserve(token.into(), &file).context("PRESERVE_FD")?;
        }
        Ok(())
    };
    let (one, two) = race::both(0, || preserve(0), || preserve(RACERS))?;
    one.and(two)?;
    stage.keep(session);
    Ok(())
}

fn race_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("race")?;
    let retrieve = |tokens: Vec<u32>| -> Result<Vec<OwnedFd>> {
        let one = |token: &u32| {
            let file = session.retrieve((*token).into()).context("RETRIEVE_FD")?;
            check_memfd(&file, &token.to_string())?;
            anyhow::Ok(file)
        };
        tokens.iter().map(one).collect()
    };
    // All files, by both threads, from both ends.
    let up: Vec<u32> = (0..2 * RACERS).collect();
    let down = up.iter().rev().copied().collect();
    let (up, down) = race::both(0, || retrieve(up), || retrieve(down))?;
    let files = up?.len() + down?.len();
    ensure!(files as u64 == u64::from(4 * RACERS), "{files} files");
    finish(session).map(drop)
}

/// The highest tokens are reserved by liblu, but not by the kernel: raw commands can use all of
/// them.
const TOKENS: [u64; 5] = [0, 1, 1 << 63, u64::MAX - 1, u64::MAX];

fn tokens_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("tokens")?;
    for (number, token) in (1..).zip(TOKENS) {
        abi::preserve_fd(&session, test_file(number, 0)?, token).context("PRESERVE_FD")?;
    }
    stage.keep(session);
    Ok(())
}

fn tokens_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("tokens")?;
    for (at, token) in TOKENS.into_iter().enumerate().rev() {
        let file = abi::retrieve_fd(&session, token).context("RETRIEVE_FD")?;
        let number = number_of(&file)?;
        ensure!(usize::try_from(number) == Ok(at + 1), "token {token:#x} is file {number}");
    }
    finish(session).map(drop)
}
