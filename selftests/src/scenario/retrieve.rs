// SPDX-License-Identifier: MIT OR Apache-2.0

//! RETRIEVE_FD and FINISH.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, ensure};
use liblu::{Error, ErrorKind, IncomingSession, OutgoingSession};
use liveupdate_uapi::{Command, Finish};
use rustix::io::{Errno, FdFlags, fcntl_getfd};
use rustix::thread::gettid;
use zerocopy::IntoBytes;

use super::stage::{
    Go, Log, Stage, check_callbacks, check_memfd, create, fails, failure, finish, joined, memfd,
    number_of, retrieve, test_device, test_file, try_retrieve, wait_for_slow,
};
use super::{Kernel, Scenario};
use crate::{abi, test_device};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("files_come_back_in_any_order_and_more_than_once", order_before, order_after),
    Scenario::across("a_retrieve_that_failed_fails_for_ever", failed_before, failed_after),
    Scenario::across("a_command_in_the_wrong_direction_is_einval", wrong_before, wrong_after),
    Scenario::across("finish_is_all_or_nothing", busy_before, busy_after),
    Scenario::across("finish_goes_from_the_last_file_to_the_first", lifo_before, lifo_after),
    Scenario::across("a_slow_retrieve_keeps_nobody_waiting", late_before, late_after),
    Scenario::across(
        "two_retrieves_of_one_file_at_once_get_the_same_file",
        twice_before,
        twice_after,
    ),
    Scenario::across("a_slow_finish_keeps_nobody_waiting", slow_before, slow_after),
    Scenario::across("a_retrieved_file_is_held_until_finish", hold_before, hold_after),
];

/// Preserves a session with numbered files of these behaviours, under their numbers.
fn preserve(stage: &mut Stage<'_>, name: &str, behaviours: &[u64]) -> Result<()> {
    let session = create(name)?;
    for (number, behaviour) in (1_u32..).zip(behaviours) {
        session
            .preserve(number.into(), test_file(number.into(), *behaviour)?)
            .context("PRESERVE_FD")?;
    }
    stage.keep(session);
    Ok(())
}

fn order_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("order")?;
    for token in 1..=5_u32 {
        session.preserve(token.into(), memfd(&token.to_string())?).context("PRESERVE_FD")?;
    }
    stage.keep(session);
    Ok(())
}

fn order_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("order")?;
    for token in [3_u32, 1, 5, 2, 4] {
        let file = session.retrieve(token.into()).context("RETRIEVE_FD")?;
        check_memfd(&file, &token.to_string())?;
        let flags = fcntl_getfd(&file).context("F_GETFD")?;
        ensure!(flags.contains(FdFlags::CLOEXEC), "not close-on-exec");
        let again = session.retrieve(token.into()).context("RETRIEVE_FD again")?;
        // One open file: both descriptors have the same position.
        let seek = |file: &OwnedFd, to| File::from(file.as_fd().try_clone_to_owned()?).seek(to);
        seek(&file, SeekFrom::Start(7)).context("seek")?;
        let at = seek(&again, SeekFrom::Current(0)).context("seek")?;
        ensure!(at == 7, "token {token} came back as two files: at {at}");
    }
    fails("an unknown token", session.retrieve(6.into()), Errno::NOENT)?;
    finish(session).map(drop)
}

fn failed_before(stage: &mut Stage<'_>) -> Result<()> {
    preserve(stage, "failed", &[test_device::RETRIEVE_FAILS, 0])
}

fn failed_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("failed")?;
    let mut log = Log::begin()?;
    fails("RETRIEVE_FD", session.retrieve(1.into()), failure())?;
    for _ in 0..2 {
        // liblu would remember the result, and not ask the kernel again.
        fails("RETRIEVE_FD again", abi::retrieve_fd(&session, 1), failure())?;
    }
    check_callbacks(&mut log, &["retrieve 1"])?;
    let file = session.retrieve(2.into()).context("the other file")?;
    ensure!(number_of(&file)? == 2, "another file came back");
    let _finished = finish(session)?;
    let said = log.callbacks()?;
    let expected = ["retrieve 2", "finish 2 retrieved", "finish 1 failed"];
    ensure!(said.get(..3).is_some_and(|said| said == expected), "{said:?}");
    Ok(())
}

fn wrong_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("wrong")?;
    fails("RETRIEVE_FD", abi::retrieve_fd(&session, 1), Errno::INVAL)?;
    fails("FINISH", abi::finish(&session), Errno::INVAL)?;
    session.preserve(1.into(), memfd("x")?).context("PRESERVE_FD")?;
    fails("RETRIEVE_FD", abi::retrieve_fd(&session, 1), Errno::INVAL)?;
    // By this, liblu tells one kind of session from the other.
    let taken = IncomingSession::try_from(OwnedFd::from(session));
    let refused = taken.err().context("liblu takes it for an incoming session")?;
    check_direction(refused.error())?;
    stage.keep(OutgoingSession::try_from(refused.into_fd())?);
    Ok(())
}

fn check_direction(error: &Error) -> Result<()> {
    ensure!(error.kind() == ErrorKind::WrongDirection, "liblu says {error:?}");
    Ok(())
}

fn wrong_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("wrong")?;
    fails("PRESERVE_FD", abi::preserve_fd(&session, memfd("y")?, 2), Errno::INVAL)?;
    let taken = OutgoingSession::try_from(OwnedFd::from(session));
    let refused = taken.err().context("liblu takes it for an outgoing session")?;
    check_direction(refused.error())?;
    let session = IncomingSession::try_from(refused.into_fd())?;
    let mut argument = Finish::new();
    argument.reserved = 1;
    let result = abi::raw(&session, Finish::OPCODE, argument.as_bytes()).map(|_| ());
    fails("FINISH with a reserved field", result, Errno::INVAL)?;
    check_memfd(session.retrieve(1.into()).context("RETRIEVE_FD")?, "x")?;
    finish(session).map(drop)
}

fn busy_before(stage: &mut Stage<'_>) -> Result<()> {
    preserve(stage, "busy", &[0, test_device::CANNOT_FINISH, 0])
}

fn busy_after(_: &mut Stage<'_>) -> Result<()> {
    let device = test_device()?;
    let may_finish = |may| abi::number(&device, test_device::MAY_FINISH, may).context("tell it");
    let session = retrieve("busy")?;
    may_finish(0)?;
    let mut log = Log::begin()?;
    let first = session.retrieve(1.into()).context("RETRIEVE_FD")?;
    let refused = session.finish().err().context("FINISH: succeeded, and it may not")?;
    let (session, error) = refused.into_parts();
    fails("FINISH", Err::<(), _>(error), Errno::BUSY)?;
    // Nothing has changed.
    check_callbacks(&mut log, &["retrieve 1"])?;
    let third = session.retrieve(3.into()).context("RETRIEVE_FD after FINISH")?;
    ensure!((number_of(&first)?, number_of(&third)?) == (1, 3), "other files came back");
    check_callbacks(&mut log, &["retrieve 3"])?;
    may_finish(1)?;
    let _finished = finish(session).context("when it may")?;
    let said = log.callbacks()?;
    let expected = ["finish 3 retrieved", "finish 2 not-tried", "finish 1 retrieved"];
    let finished: Vec<_> = said.iter().filter(|line| line.starts_with("finish")).collect();
    ensure!(finished == expected, "{said:?}");
    Ok(())
}

fn lifo_before(stage: &mut Stage<'_>) -> Result<()> {
    preserve(stage, "lifo", &[0; 4])
}

fn lifo_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("lifo")?;
    let mut log = Log::begin()?;
    drop(session.retrieve(2.into()).context("RETRIEVE_FD")?);
    let _finished = finish(session)?;
    let said = log.callbacks()?;
    let files: Vec<_> = said.iter().filter(|line| !line.starts_with("object")).collect();
    let expected = [
        "retrieve 2",
        "finish 4 not-tried",
        "finish 3 not-tried",
        "finish 2 retrieved",
        "finish 1 not-tried",
    ];
    ensure!(files == expected, "{said:?}");
    Ok(())
}

fn late_before(stage: &mut Stage<'_>) -> Result<()> {
    preserve(stage, "slow-retrieve", &[test_device::RETRIEVE_IS_SLOW, 0])
}

fn late_after(stage: &mut Stage<'_>) -> Result<()> {
    let device = test_device()?;
    let session = retrieve("slow-retrieve")?;
    thread::scope(|scope| {
        let work = scope.spawn(|| session.retrieve(1.into()));
        let go = Go(&device, 0);
        wait_for_slow(&device, 0, || work.is_finished())?;
        // C holds the lock of the session during this time.
        if stage.kernel == Kernel::Rust {
            let other = session.retrieve(2.into()).context("beside a slow one")?;
            ensure!(number_of(other)? == 2, "another file came back");
        }
        create("beside-a-slow-retrieve")?;
        drop(go);
        let file = joined(work.join())?;
        ensure!(number_of(file.context("the slow one")?)? == 1, "another file came back");
        Ok(())
    })?;
    finish(session).map(drop)
}

fn twice_before(stage: &mut Stage<'_>) -> Result<()> {
    preserve(stage, "slow-retrieve-twice", &[test_device::PLAIN | test_device::RETRIEVE_IS_SLOW])
}

fn twice_after(_: &mut Stage<'_>) -> Result<()> {
    let device = test_device()?;
    let session = retrieve("slow-retrieve-twice")?.into_fd();
    let (send, receive) = mpsc::channel();
    let mut log = Log::begin()?;
    let (one, two) = thread::scope(|scope| {
        let one = scope.spawn(|| abi::retrieve_fd(&session, 1));
        let go = Go(&device, 0);
        wait_for_slow(&device, 0, || one.is_finished())?;
        let two = scope.spawn(|| {
            let _ = send.send(gettid().as_raw_nonzero().get());
            abi::retrieve_fd(&session, 1)
        });
        let thread = receive.recv().context("the second thread")?;
        until_blocked(thread, || two.is_finished())?;
        drop(go);
        let one = joined(one.join())?.context("the slow RETRIEVE_FD")?;
        anyhow::Ok((one, joined(two.join())?.context("the one that waits")?))
    })?;
    check_callbacks(&mut log, &["retrieve 1"])?;
    ensure!((number_of(&one)?, number_of(&two)?) == (1, 1), "another file came back");
    abi::finish(&session).context("FINISH")
}

/// Returns when a thread of this process waits in the kernel for another thread; fails if it
/// `has_ended`.
fn until_blocked(thread: i32, has_ended: impl Fn() -> bool) -> Result<()> {
    let path = format!("/proc/self/task/{thread}/stat");
    // A thread that has ended has no such file.
    while !fs::read_to_string(&path).is_ok_and(|stat| stat.contains(") D ")) {
        ensure!(!has_ended(), "a second RETRIEVE_FD has not waited");
        thread::yield_now();
    }
    Ok(())
}

fn slow_before(stage: &mut Stage<'_>) -> Result<()> {
    preserve(stage, "slow-finish", &[test_device::FINISH_IS_SLOW])
}

fn slow_after(stage: &mut Stage<'_>) -> Result<()> {
    let device = test_device()?;
    let session = retrieve("slow-finish")?;
    thread::scope(|scope| {
        let number = session.as_fd().as_raw_fd();
        let work = scope.spawn(|| finish(session));
        let go = Go(&device, 0);
        wait_for_slow(&device, 0, || work.is_finished())?;
        if stage.kernel == Kernel::Rust {
            // fdinfo shows that the session is being finished.
            let path = format!("/proc/self/fdinfo/{number}");
            let text = fs::read_to_string(path).context("read fdinfo")?;
            ensure!(text.contains("\"slow-finish\" state=finishing"), "fdinfo says {text}");
        }
        // Other sessions are created and looked up.
        create("beside-a-slow-finish")?;
        fails("another", try_retrieve("nobody"), Errno::NOENT)?;
        drop(go);
        joined(work.join())?.map(drop)
    })
}

fn hold_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("hold")?;
    session.preserve(1.into(), memfd("x")?).context("PRESERVE_FD")?;
    session.preserve(2.into(), test_file(78, 0)?).context("PRESERVE_FD")?;
    stage.keep(session);
    Ok(())
}

fn hold_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("hold")?;
    let mut log = Log::begin()?;
    for _ in 0..2 {
        // The only descriptor is closed each time, so only the session holds the file.
        drop(session.retrieve(2.into()).context("RETRIEVE_FD")?);
    }
    ensure!(log.drops(78)? == 0, "the file is gone before FINISH");
    let file = session.retrieve(1.into()).context("RETRIEVE_FD")?;
    let next = create("hold-next")?;
    fails("before FINISH", next.preserve(1.into(), &file), Errno::BUSY)?;
    let _finished = finish(session)?;
    ensure!(log.drops(78)? == 1, "the file is not gone after FINISH, or more than once");
    next.preserve(1.into(), &file).context("after FINISH")
}
