// SPDX-License-Identifier: MIT OR Apache-2.0

//! `reboot(LINUX_REBOOT_CMD_KEXEC)`: all or nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;

use super::stage::{
    Log, Stage, check_memfd, create, failure, memfd, number_of, retrieve, test_device, test_file,
    wait_for_slow,
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
    abi::preserve_fd(&first, test_file(1, 0)?, 1).context("PRESERVE_FD")?;
    abi::preserve_fd(&first, test_file(2, 0)?, 2).context("PRESERVE_FD")?;
    abi::preserve_fd(&second, test_file(3, 0)?, 3).context("PRESERVE_FD")?;
    abi::preserve_fd(&second, test_file(4, test_device::FREEZE_FAILS_ONCE)?, 4)
        .context("PRESERVE_FD")?;
    abi::preserve_fd(&second, test_file(5, 0)?, 5).context("PRESERVE_FD")?;

    let mut log = Log::begin()?;
    let trace = (stage.kernel == Kernel::Rust).then(|| Trace::begin(ALL_EVENTS)).transpose()?;
    let error = (stage.leave)()?;
    ensure!(error == failure(), "reboot(2) says {error:?}, not {:?}", failure());
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
    abi::preserve_fd(&first, memfd("after the failure")?, 6).context("PRESERVE_FD afterwards")?;
    stage.keep(first);
    stage.keep(second);
    Ok(())
}

fn freeze_after(_: &mut Stage<'_>) -> Result<()> {
    let (first, second) = (retrieve("refreeze-1")?, retrieve("refreeze-2")?);
    for (session, tokens) in [(&first, 1..=2), (&second, 3..=5)] {
        for token in tokens {
            let file = abi::retrieve_fd(session, token).context("RETRIEVE_FD")?;
            let number = number_of(&file)?;
            ensure!(u64::try_from(number) == Ok(token), "token {token} is file {number}");
            // The second attempt froze every file again, also those that the first one froze, and
            // what freeze said last is what came.
            let times = abi::number(file, test_device::TIMES_FROZEN, 0).context("ask it")?;
            let expected = if token == 5 { 1 } else { 2 };
            ensure!(times == expected, "token {token} was frozen {times} times");
        }
    }
    check_memfd(abi::retrieve_fd(&first, 6).context("RETRIEVE_FD")?, "after the failure")?;
    abi::finish(&first).context("FINISH")?;
    abi::finish(&second).context("FINISH")
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
    abi::preserve_fd(&session, &file, 1).context("PRESERVE_FD")?;
    abi::preserve_fd(&session, test_file(80, 0)?, 2).context("PRESERVE_FD")?;
    stage.keep(create("late-incoming")?);
    if stage.kernel == Kernel::C {
        // C blocks for ever.
        stage.keep(session);
        return Ok(());
    }
    std::fs::write(HOLD, "1").context("hold the reboot")?;
    // From the second hop on there is an incoming session too, which nobody has finished.
    let incoming = (stage.hop > 1).then(|| retrieve("late-incoming")).transpose()?;
    // With room for what is written into it when it is on its way.
    let events = memfd(&" ".repeat(EVENTS))?;
    abi::preserve_fd(&session, &events, 4).context("PRESERVE_FD")?;
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
    let file = abi::retrieve_fd(&session, 1).context("RETRIEVE_FD")?;
    let seen = if stage.hop > 2 { SEEN_WITH_INCOMING } else { SEEN };
    let expected = stage.last.context("no last kernel")?.pick(NOT_SEEN, seen);
    check_memfd(&file, expected)?;
    if stage.last == Some(Kernel::Rust) {
        let file = abi::retrieve_fd(&session, 4).context("RETRIEVE_FD")?;
        let mut text = vec![0; EVENTS];
        rustix::io::pread(file, &mut text, 0).context("read the events")?;
        let text = String::from_utf8(text).context("the events are no text")?;
        let events: Vec<_> = text.trim_end().lines().collect();
        let [freeze, serialize] = events[..] else { bail!("the events are {events:?}") };
        check_event(freeze, "freeze: sessions=", 0)?;
        check_event(serialize, "serialize: sessions=", 0)?;
    }
    // The session was closed after the handover, and lost nothing by that.
    let file = abi::retrieve_fd(&session, 2).context("RETRIEVE_FD")?;
    ensure!(number_of(file)? == 80, "another file came back");
    if stage.kernel == Kernel::C || stage.hop == stage.hops {
        abi::finish(retrieve("late-incoming")?).context("FINISH")?;
    }
    abi::finish(&session).context("FINISH")
}

/// A file that is being preserved for as long as this kernel runs.
fn slow_before(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::C {
        // C waits for it, for ever.
        return Ok(());
    }
    let device = test_device()?;
    let session = create("slow-late")?;
    abi::preserve_fd(&session, memfd("beside")?, 2).context("PRESERVE_FD")?;
    let slow = test_file(81, test_device::PRESERVE_IS_SLOW)?;
    let asked = session.try_clone().context("dup")?;
    let work = std::thread::spawn(move || abi::preserve_fd(&asked, &slow, 1));
    wait_for_slow(&device, || work.is_finished())?;
    stage.keep(session);
    Ok(())
}

fn slow_after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.last == Some(Kernel::C) {
        return Ok(());
    }
    let session = retrieve("slow-late")?;
    check_memfd(abi::retrieve_fd(&session, 2).context("RETRIEVE_FD")?, "beside")?;
    let slow = abi::retrieve_fd(&session, 1).map(drop);
    super::stage::fails("the slow file", slow, Errno::NOENT)?;
    abi::finish(&session).context("FINISH")
}
