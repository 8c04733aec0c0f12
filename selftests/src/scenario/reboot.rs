// SPDX-License-Identifier: MIT OR Apache-2.0

//! `reboot(LINUX_REBOOT_CMD_KEXEC)`: all or nothing.

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;

use super::leaving::check_left;
use super::stage::{
    Log, Stage, check_memfd, create, fails, failure, finish, memfd, not_applicable, number_of,
    retrieve, test_file,
};
use super::trace::{ALL_EVENTS, Trace, check_event};
use super::{Kernel, Scenario};
use crate::{abi, test_device};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("a_freeze_that_fails_can_be_tried_again", freeze_before, freeze_after),
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
    let error = stage.leave()?;
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
        // From the last file to the first, over all sessions. C goes forward within each session.
        let numbers = |lines: &[String], word: &str| -> Vec<String> {
            lines.iter().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect()
        };
        let mut order = numbers(froze, "freeze ");
        order.pop();
        order.reverse();
        ensure!(order == numbers(undone, "unfreeze "), "frozen {froze:?}, unfrozen {undone:?}");
    }

    // All sessions can be used again.
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
            // The second attempt froze every file again, also those that the first one had frozen.
            // The last result of freeze is handed over.
            let times = abi::number(file, test_device::TIMES_FROZEN, 0).context("ask it")?;
            let expected = if token == 5 { 1 } else { 2 };
            ensure!(times == expected, "token {token} was frozen {times} times");
        }
    }
    check_memfd(first.retrieve(6.into()).context("RETRIEVE_FD")?, "after the failure")?;
    finish(first)?;
    finish(second).map(drop)
}

const BLOCK: &str = "on C, commands that come late block for ever";

/// Room for events, in bytes.
const EVENTS: usize = 512;

/// All commands are tried when the handover is written, and all descriptors closed. The tracepoints
/// of the reboot are written into a page that is handed over already.
fn late_before(stage: &mut Stage<'_>) -> Result<()> {
    let incoming = stage.retrieve_if_any("late-incoming")?;
    stage.keep(create("late-incoming")?);
    let (session, file) = (create("late")?, memfd("x")?);
    session.preserve(1.into(), &file).context("PRESERVE_FD")?;
    session.preserve(2.into(), test_file(80, 0)?).context("PRESERVE_FD")?;
    if stage.kernel == Kernel::C {
        stage.keep(session);
        if let Some(incoming) = incoming {
            stage.keep(incoming);
        }
        return not_applicable(BLOCK);
    }
    // With room for the text that is written into it after it was handed over.
    let events = memfd(&" ".repeat(EVENTS))?;
    session.preserve(4.into(), &events).context("PRESERVE_FD")?;
    stage.while_leaving("late", move |leaving| {
        let freeze = Trace::begin("events/liveupdate/luo_freeze")?;
        let serialize = Trace::begin("events/liveupdate/luo_serialize")?;
        leaving.until_handed_over()?;
        let device = abi::open().context("open the device")?;
        let is_busy = |what, result: rustix::io::Result<()>| fails(what, result, Errno::BUSY);
        is_busy("PRESERVE_FD", abi::preserve_fd(&session, &file, 3))?;
        is_busy("PRESERVE_FD under a used token", abi::preserve_fd(&session, &file, 1))?;
        is_busy("CREATE_SESSION", abi::create(&device, "too late").map(drop))?;
        is_busy("RETRIEVE_SESSION", abi::retrieve(&device, "late").map(drop))?;
        is_busy("RETRIEVE_FD on an outgoing session", abi::retrieve_fd(&session, 1).map(drop))?;
        is_busy("FINISH of an outgoing session", abi::finish(&session))?;
        abi::name_of(&session).context("GET_NAME")?;
        if let Some(incoming) = &incoming {
            is_busy("RETRIEVE_FD", abi::retrieve_fd(incoming, 1).map(drop))?;
            is_busy("FINISH", abi::finish(incoming))?;
        }
        // Closing it must not unpreserve anything.
        drop((session, incoming, freeze, serialize));
        let mut seen = Trace::seen()?.join("\n").into_bytes();
        seen.truncate(EVENTS);
        rustix::io::pwrite(&events, &seen, 0).context("write the events").map(drop)
    })
}

fn late_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("late")?;
    check_memfd(session.retrieve(1.into()).context("RETRIEVE_FD")?, "x")?;
    if stage.last == Some(Kernel::Rust) {
        check_left("late")?;
        let file = session.retrieve(4.into()).context("RETRIEVE_FD")?;
        let mut text = vec![0; EVENTS];
        rustix::io::pread(file, &mut text, 0).context("read the events")?;
        let text = String::from_utf8(text).context("the events are no text")?;
        let events: Vec<_> = text.trim_end().lines().collect();
        let [freeze, serialize] = events[..] else { bail!("the events are {events:?}") };
        check_event(freeze, "freeze: sessions=", 0)?;
        check_event(serialize, "serialize: sessions=", 0)?;
    }
    // The session was closed after the handover was written, and has lost nothing by that.
    let file = session.retrieve(2.into()).context("RETRIEVE_FD")?;
    ensure!(number_of(file)? == 80, "another file came back");
    if stage.hop == stage.hops {
        finish(retrieve("late-incoming")?)?;
    }
    finish(session)?;
    if stage.last == Some(Kernel::C) {
        return not_applicable(BLOCK);
    }
    Ok(())
}
