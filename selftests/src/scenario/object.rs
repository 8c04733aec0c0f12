// SPDX-License-Identifier: MIT OR Apache-2.0

//! FLBs: file-lifecycle-bound state, on which files depend.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context, Result, ensure};
use liblu::ErrorKind;
use rustix::io::Errno;

use super::stage::{
    Go, Log, Stage, ask, check_callbacks, create, fails, failure, finish, joined, retrieve,
    test_device, test_file, try_retrieve, wait_for_slow,
};
use super::{Kernel, Scenario};
use crate::{abi, test_device};

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("an_object_is_preserved_by_the_first_file_of_all_sessions", first_and_last),
    Scenario::here("an_object_that_cannot_be_preserved_fails_the_file", fails_file),
    Scenario::here("two_first_files_at_once_preserve_an_object_once", two_first),
    Scenario::here("whoever_holds_an_object_keeps_it_preserved", held),
    Scenario::across("an_object_outlives_the_kernel", outlives_before, outlives_after),
];

pub(super) const FIRST: &[Scenario] =
    &[Scenario::across("an_object_is_retrieved_on_demand_and_once", demand_before, demand_after)];

pub(super) const LAST: &[Scenario] =
    &[Scenario::across("an_object_is_finished_after_the_last_file", last_before, last_after)];

fn value(command: u32) -> rustix::io::Result<i32> {
    ask(command, 0)
}

fn first_and_last(_: &mut Stage<'_>) -> Result<()> {
    let object = i32::try_from(test_device::OBJECT).context("the FLB")?;
    fails("without a file", value(test_device::OUTGOING_OBJECT), Errno::NOENT)?;
    let (one, two) = (create("object-1")?, create("object-2")?);
    let mut log = Log::begin()?;
    one.preserve(1.into(), test_file(1, 0)?).context("PRESERVE_FD")?;
    two.preserve(1.into(), test_file(2, 0)?).context("PRESERVE_FD")?;
    check_callbacks(&mut log, &["object preserve", "preserve 1", "preserve 2"])?;
    let there = value(test_device::OUTGOING_OBJECT).context("the FLB")?;
    ensure!(there == object, "the FLB is {there:#x}");
    drop(one);
    check_callbacks(&mut log, &["unpreserve 1 true"])?;
    drop(two);
    check_callbacks(&mut log, &["unpreserve 2 true", "object unpreserve true"])?;
    fails("after the last file", value(test_device::OUTGOING_OBJECT), Errno::NOENT)
}

fn fails_file(_: &mut Stage<'_>) -> Result<()> {
    let session = create("object-fails")?;
    let file = test_file(1, 0)?;
    ask(test_device::OBJECT_FAILS, 0).context("tell the test device")?;
    let mut log = Log::begin()?;
    fails("PRESERVE_FD", session.preserve(1.into(), &file), failure())?;
    check_callbacks(&mut log, &["object preserve"])?;
    session.preserve(1.into(), &file).context("PRESERVE_FD again")
}

fn two_first(_: &mut Stage<'_>) -> Result<()> {
    let device = test_device()?;
    let sessions = [create("two-first-1")?, create("two-first-2")?];
    let files = [test_file(1, 0)?, test_file(2, 0)?];
    abi::number(&device, test_device::OBJECT_IS_SLOW, 0).context("tell the test device")?;
    let mut log = Log::begin()?;
    twice(&device, |nth| {
        let (session, file) = sessions.get(nth).zip(files.get(nth)).context("no such thread")?;
        session.preserve(1.into(), file).context("PRESERVE_FD")
    })?;
    let said = log.callbacks()?;
    let preserved = said.iter().filter(|line| *line == "object preserve").count();
    ensure!((preserved, said.len()) == (1, 3), "{said:?}");
    Ok(())
}

/// Runs `work` in two threads. One of them waits in a callback of the FLB until both have begun.
fn twice(device: &File, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let begun = AtomicUsize::new(0);
    thread::scope(|scope| {
        let threads = [0, 1].map(|nth| {
            let (begun, work) = (&begun, &work);
            scope.spawn(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                work(nth)
            })
        });
        let go = Go(device, 0);
        wait_for_slow(device, 0, || threads.iter().all(ScopedJoinHandle::is_finished))?;
        while begun.load(Ordering::Relaxed) < 2 {
            thread::yield_now();
        }
        drop(go);
        for thread in threads {
            let done = joined(thread.join())?;
            done.context("one of two threads")?;
        }
        Ok(())
    })
}

fn hold(command: u32, is_held: bool) -> Result<()> {
    ask(command, is_held.into()).map(drop).context("hold the FLB")
}

fn held(_: &mut Stage<'_>) -> Result<()> {
    let object = i32::try_from(test_device::OBJECT).context("the FLB")?;
    let session = create("held-object")?;
    let mut log = Log::begin()?;
    session.preserve(1.into(), test_file(1, 0)?).context("PRESERVE_FD")?;
    hold(test_device::HOLD_OUTGOING, true)?;
    drop(session);
    check_callbacks(&mut log, &["object preserve", "preserve 1", "unpreserve 1 true"])?;
    let there = value(test_device::OUTGOING_OBJECT).context("the FLB, held")?;
    ensure!(there == object, "the FLB is {there:#x}");
    // The FLB is still preserved when the next file comes.
    let session = create("held-object")?;
    session.preserve(1.into(), test_file(2, 0)?).context("PRESERVE_FD")?;
    drop(session);
    check_callbacks(&mut log, &["preserve 2", "unpreserve 2 true"])?;
    hold(test_device::HOLD_OUTGOING, false)?;
    check_callbacks(&mut log, &["object unpreserve true"])?;
    fails("an FLB that is not held", value(test_device::OUTGOING_OBJECT), Errno::NOENT)
}

fn outlives_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("outlives")?;
    for token in 1..=2_u32 {
        session.preserve(token.into(), test_file(token.into(), 0)?).context("PRESERVE_FD")?;
    }
    stage.keep(session);
    Ok(())
}

fn demand_before(stage: &mut Stage<'_>) -> Result<()> {
    if stage.hop == 1 {
        fails("an FLB in the first kernel", value(test_device::INCOMING_OBJECT), Errno::NODATA)?;
    }
    stage.hand_over("demand", test_file(1, 0)?)
}

/// First of all scenarios. On C, the kernel warns if a file is finished before the FLB was asked
/// for, because it has not counted the files yet.
fn demand_after(_: &mut Stage<'_>) -> Result<()> {
    let object = i32::try_from(test_device::OBJECT).context("the FLB")?;
    let earlier = Log::from_the_beginning()?.callbacks()?;
    ensure!(earlier.is_empty(), "before the FLB was asked for: {earlier:?}");
    let mut log = Log::begin()?;
    // Two threads ask at once for the FLB, which is not retrieved yet.
    let device = test_device()?;
    abi::number(&device, test_device::OBJECT_IS_SLOW, 0).context("tell the test device")?;
    twice(&device, |_| value(test_device::INCOMING_OBJECT).map(drop).context("the FLB"))?;
    let there = value(test_device::INCOMING_OBJECT).context("the FLB")?;
    ensure!(there == object, "the FLB is {there:#x}");
    check_callbacks(&mut log, &["object retrieve"])
}

fn last_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("last", test_file(1, 0)?)?;
    if stage.kernel == Kernel::Rust {
        // C would count this hold as a file, and the FLB would never be finished.
        hold(test_device::HOLD_OUTGOING, true)?;
    }
    Ok(())
}

/// Last of those with an object: only these two sessions of them remain.
fn last_after(_: &mut Stage<'_>) -> Result<()> {
    let finished = || -> Result<usize> {
        let said = Log::from_the_beginning()?.callbacks()?;
        Ok(said.iter().filter(|line| line.starts_with("object finish")).count())
    };
    hold(test_device::HOLD_INCOMING, true)?;
    for name in ["demand", "last"] {
        let session = match try_retrieve(name) {
            // The other scenario was not played.
            Err(error) if error.kind() == ErrorKind::NoSession && name == "demand" => continue,
            session => session.context("RETRIEVE_SESSION")?,
        };
        ensure!(finished()? == 0, "the FLB was finished before the last file");
        finish(session)?;
    }
    ensure!(finished()? == 0, "the FLB was finished while it was held");
    hold(test_device::HOLD_INCOMING, false)?;
    let times = finished()?;
    ensure!(times == 1, "the FLB was finished {times} times");
    fails("the FLB", value(test_device::INCOMING_OBJECT), Errno::NODATA)
}

/// Other scenarios have files that depend on this FLB too.
fn outlives_after(_: &mut Stage<'_>) -> Result<()> {
    let object = i32::try_from(test_device::OBJECT).context("the FLB")?;
    let there = value(test_device::INCOMING_OBJECT);
    let mut log = Log::begin()?;
    let session = retrieve("outlives")?;
    ensure!(there == Ok(object), "the FLB of the previous kernel is {there:?}");
    let _finished = finish(session)?;
    let said = log.callbacks()?;
    let files: Vec<_> = said.iter().filter(|line| line.starts_with("finish")).collect();
    ensure!(files == ["finish 2 not-tried", "finish 1 not-tried"], "{said:?}");
    Ok(())
}
