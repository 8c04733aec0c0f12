// SPDX-License-Identifier: MIT OR Apache-2.0

//! `reboot(LINUX_REBOOT_CMD_KEXEC)`: all or nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use liblu::{IncomingSession, OutgoingSession};
use rustix::io::Errno;

use super::stage::{
    Log, Stage, check_memfd, create, dup, fails, failure, finish, memfd, number_of, retrieve,
    test_device, test_file, wait_for_slow,
};
use super::trace::{ALL_EVENTS, Trace, check_event};
use super::{Kernel, Scenario};
use crate::{abi, test_device};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("a_freeze_that_fails_can_be_tried_again", freeze_before, freeze_after),
    Scenario::across("reboot_waits_for_no_file_that_is_being_preserved", slow_before, slow_after),
    Scenario::across("commands_after_the_handover_are_ebusy", late_before, late_after),
];

fn freeze_before(stage: &mut Stage<'_>) -> Result<()> {
    let (first, second) = (create("refreeze-1")?, create("refreeze-2")?);
    first.preserve(1.into(), test_file(1, 0)?).context("PRESERVE_FD")?;
    first.preserve(2.into(), test_file(2, 0)?).context("PRESERVE_FD")?;
    second.preserve(3.into(), test_file(3, 0)?).context("PRESERVE_FD")?;
    second
        .preserve(4.into(), test_file(4, test_device::FREEZE_FAILS_ONCE)?)
        .context("PRESERVE_FD")?;
    second.preserve(5.into(), test_file(5, 0)?).context("PRESERVE_FD")?;

    let mut log = Log::begin()?;
    let trace = (stage.kernel == Kernel::Rust).then(|| Trace::begin(ALL_EVENTS)).transpose()?;
    let error = (stage.leave)()?;
    ensure!(error.errno() == failure(), "reboot(2) says {error:?}, not {:?}", failure());
    if trace.is_some() {
        let events = Trace::seen()?;
        let [event] = &events[..] else { bail!("the events are {events:?}") };
        check_event(event, "freeze: sessions=", -failure().raw_os_error())?;
    }
    let said = log.callbacks()?;
    // Files of other scenarios are frozen before these.
    let mine = said.iter().rposition(|line| line == "freeze 1").context("file 1 is not frozen")?;
    let (froze, undone) = said.split_at(mine + 4);
    ensure!(
        froze.ends_with(&["freeze 1", "freeze 2", "freeze 3", "freeze 4 fails"].map(String::from)),
        "{said:?}"
    );
    ensure!(undone.starts_with(&["unfreeze 3".to_owned()]), "{said:?}");
    let frozen = said.iter().filter(|line| line.starts_with("freeze")).count() - 1;
    let unfrozen: Vec<_> = undone.iter().filter(|line| line.starts_with("unfreeze")).collect();
    ensure!(unfrozen.len() == frozen, "{frozen} files frozen, {} unfrozen", unfrozen.len());
    if stage.kernel == Kernel::Rust {
        // The last one first, over all sessions. C goes forward within each session.
        let numbers = |lines: &[String], word: &str| -> Vec<String> {
            lines.iter().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect()
        };
        let mut order = numbers(froze, "freeze ");
        order.pop();
        order.reverse();
        ensure!(order == numbers(undone, "unfreeze "), "frozen {froze:?}, unfrozen {undone:?}");
    }

    // Everything is usable again.
    first.preserve(6.into(), memfd("after the failure")?).context("PRESERVE_FD afterwards")?;
    stage.keep(first);
    stage.keep(second);
    Ok(())
}

fn freeze_after(_: &mut Stage<'_>) -> Result<()> {
    let (first, second) = (retrieve("refreeze-1")?, retrieve("refreeze-2")?);
    for (session, tokens) in [(&first, 1..=2_u32), (&second, 3..=5)] {
        for token in tokens {
            let file = session.retrieve(token.into()).context("RETRIEVE_FD")?;
            let number = number_of(&file)?;
            ensure!(u32::try_from(number) == Ok(token), "token {token} is file {number}");
            // The second attempt froze every file again, also those that the first one froze, and
            // what freeze said last is what came.
            let times = abi::number(file, test_device::TIMES_FROZEN, 0).context("ask it")?;
            let expected = if token == 5 { 1 } else { 2 };
            ensure!(times == expected, "token {token} was frozen {times} times");
        }
    }
    check_memfd(first.retrieve(6.into()).context("RETRIEVE_FD")?, "after the failure")?;
    finish(first)?;
    finish(second).map(drop)
}

/// Holds the reboot behind the point of no return, until it is told to go on.
const HOLD: &str = "/sys/kernel/debug/luo_test_hold_reboot";

/// What the memfd holds until somebody has seen all answers, and from then on: one byte a command.
const NOT_SEEN: &str = ".........";
const SEEN: &str = "BBBBBB=..";
const SEEN_WITH_INCOMING: &str = "BBBBBB=BB";

/// Room for events, in bytes.
const EVENTS: usize = 512;

/// A thread waits for `EBUSY`, then tries all commands. What it sees it writes into a page that is on
/// its way to the next kernel already. The reboot is held meanwhile.
fn late_before(stage: &mut Stage<'_>) -> Result<()> {
    let (session, file) = (create("late")?, memfd(NOT_SEEN)?);
    session.preserve(1.into(), &file).context("PRESERVE_FD")?;
    session.preserve(2.into(), test_file(80, 0)?).context("PRESERVE_FD")?;
    stage.keep(create("late-incoming")?);
    if stage.kernel == Kernel::C {
        // C blocks for ever.
        stage.keep(session);
        return Ok(());
    }
    std::fs::write(HOLD, "1").context("hold the reboot")?;
    // From the second hop on there is an incoming session too, which nobody has finished.
    let incoming = (stage.hop > 1).then(|| retrieve("late-incoming")).transpose()?;
    let incoming = incoming.map(IncomingSession::into_custody);
    // With room for what is written into it when it is on its way.
    let events = memfd(&" ".repeat(EVENTS))?;
    session.preserve(4.into(), &events).context("PRESERVE_FD")?;
    let freeze = Trace::begin("events/liveupdate/luo_freeze")?;
    let serialize = Trace::begin("events/liveupdate/luo_serialize")?;
    std::thread::spawn(move || {
        // The reboot waits for this thread. Without a pause, kmemleak would chase after what each
        // command allocates, and not come to an end.
        while abi::preserve_fd(&session, &file, 1) == Err(Errno::EXIST) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let device = abi::open();
        let answer = |result: rustix::io::Result<()>| match result {
            Err(Errno::BUSY) => b'B',
            Err(_) => b'e',
            Ok(()) => b'o',
        };
        let mut answers = vec![
            answer(abi::preserve_fd(&session, &file, 3)),
            answer(abi::preserve_fd(&session, &file, 1)),
        ];
        if let Ok(device) = &device {
            answers.push(answer(abi::create(device, "too late").map(drop)));
            answers.push(answer(abi::retrieve(device, "late").map(drop)));
        }
        answers.push(answer(abi::retrieve_fd(&session, 1).map(drop)));
        answers.push(answer(abi::finish(&session)));
        let name = abi::name_of(&session).is_ok();
        answers.push(if name { b'=' } else { b'n' });
        if let Some(incoming) = &incoming {
            answers.push(answer(abi::retrieve_fd(incoming, 1).map(drop)));
            answers.push(answer(abi::finish(incoming)));
        }
        // Closing it must not unpreserve anything.
        drop((session, incoming));
        let _ = rustix::io::pwrite(&file, &answers, 0);
        let mut seen = Trace::seen().unwrap_or_default().join("\n").into_bytes();
        seen.truncate(EVENTS);
        let _ = rustix::io::pwrite(&events, &seen, 0);
        drop((freeze, serialize));
        let _ = std::fs::write(HOLD, "0");
    });
    Ok(())
}

fn late_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("late")?;
    let file = session.retrieve(1.into()).context("RETRIEVE_FD")?;
    let seen = if stage.hop > 2 { SEEN_WITH_INCOMING } else { SEEN };
    let expected = stage.last.context("no last kernel")?.pick(NOT_SEEN, seen);
    check_memfd(&file, expected)?;
    if stage.last == Some(Kernel::Rust) {
        let file = session.retrieve(4.into()).context("RETRIEVE_FD")?;
        let mut text = vec![0; EVENTS];
        rustix::io::pread(file, &mut text, 0).context("read the events")?;
        let text = String::from_utf8(text).context("the events are no text")?;
        let events: Vec<_> = text.trim_end().lines().collect();
        let [freeze, serialize] = events[..] else { bail!("the events are {events:?}") };
        check_event(freeze, "freeze: sessions=", 0)?;
        check_event(serialize, "serialize: sessions=", 0)?;
    }
    // The session was closed after the handover, and lost nothing by that.
    let file = session.retrieve(2.into()).context("RETRIEVE_FD")?;
    ensure!(number_of(file)? == 80, "another file came back");
    if stage.kernel == Kernel::C || stage.hop == stage.hops {
        finish(retrieve("late-incoming")?)?;
    }
    finish(session).map(drop)
}

/// A file that is being preserved for as long as this kernel runs.
fn slow_before(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::C {
        // C waits for it, for ever.
        return Ok(());
    }
    let device = test_device()?;
    let session = create("slow-late")?;
    session.preserve(2.into(), memfd("beside")?).context("PRESERVE_FD")?;
    let slow = test_file(81, test_device::PRESERVE_IS_SLOW)?;
    let asked = OutgoingSession::from_fd(dup(&session)?, &"slow-late".parse()?)?;
    let work = std::thread::spawn(move || asked.preserve(1.into(), &slow));
    wait_for_slow(&device, || work.is_finished())?;
    stage.keep(session);
    Ok(())
}

fn slow_after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.last == Some(Kernel::C) {
        return Ok(());
    }
    let session = retrieve("slow-late")?;
    check_memfd(session.retrieve(2.into()).context("RETRIEVE_FD")?, "beside")?;
    let slow = session.retrieve(1.into()).map(drop);
    fails("the slow file", slow, Errno::NOENT)?;
    finish(session).map(drop)
}
