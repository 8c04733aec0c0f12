// SPDX-License-Identifier: MIT OR Apache-2.0

//! Callbacks that run when `reboot(LINUX_REBOOT_CMD_KEXEC)` begins: it waits for them, and then
//! freezes. A file that had begun to be preserved is handed over; a session that had begun to close
//! is not.

use std::fs::File;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;

use super::holes::{allocated, hole};
use super::leaving::check_left;
use super::shown::check_name;
use super::stage::{
    Log, Stage, check_came, create, dup, fails, finish, joined, memfd, not_applicable, number_of,
    retrieve, test_device, test_file, try_create, try_retrieve, wait_for_slow,
};
use super::unusual::Progress;
use super::{Kernel, Scenario};
use crate::abi;
use crate::test_device::{
    FINISH_IS_SLOW, GO, PLAIN, PRESERVE_IS_SLOW, RETRIEVE_IS_SLOW, UNPRESERVE_IS_SLOW,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across(
        "a_file_that_is_being_preserved_when_reboot_begins_is_handed_over",
        preserve_before,
        preserve_after,
    ),
    Scenario::across("commands_are_ebusy_while_reboot_waits", commands_before, commands_after),
    Scenario::across(
        "a_session_that_is_being_closed_when_reboot_begins_is_not_handed_over",
        close_before,
        close_after,
    ),
    Scenario::across(
        "a_session_of_a_process_that_is_killed_when_reboot_begins_is_not_handed_over",
        killed_before,
        killed_after,
    ),
    Scenario::across(
        "closing_a_session_while_reboot_waits_takes_nothing_from_the_handover",
        late_before,
        late_after,
    ),
    Scenario::across(
        "reboot_waits_for_a_file_that_is_being_retrieved",
        retrieve_before,
        retrieve_after,
    ),
    Scenario::across(
        "reboot_waits_for_a_session_that_is_being_finished",
        finish_before,
        finish_after,
    ),
];

/// Last of those that run while `reboot(2)` runs, so that its command still runs when the others are ready for the reboot.
pub(super) const LAST: &[Scenario] = &[Scenario::across(
    "a_large_memfd_that_is_being_preserved_when_reboot_begins_is_handed_over",
    memfd_before,
    memfd_after,
)];

/// Argument of the init program that makes it a process that holds a session.
pub(super) const CHILD: &str = "--child-that-holds-a-session";

/// The process that holds a session, until it is killed.
pub(super) fn child_main() -> Result<()> {
    loop {
        thread::park();
    }
}

/// A thread that waits in a callback of a slow file. If a test fails, the thread goes on, so that
/// `reboot(2)` does not wait for it and the next kernel can tell why.
pub(super) struct Slow<T> {
    number: u64,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Slow<T> {
    /// Begins `work` in a thread, and returns when it is in a callback of file `number`.
    pub(super) fn begin(number: u64, work: impl FnOnce() -> T + Send + 'static) -> Result<Self> {
        let thread = thread::spawn(work);
        wait_for_slow(&test_device()?, number, || thread.is_finished())?;
        Ok(Self { number, thread: Some(thread) })
    }

    /// Whether the thread has ended, without having been told to go on.
    pub(super) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Lets the thread go on, and waits for its end.
    pub(super) fn end(mut self) -> Result<T> {
        ensure!(!self.is_over(), "the slow one did not wait");
        let thread = self.thread.take().context("the slow one has ended")?;
        go_on(self.number)?;
        joined(thread.join())
    }
}

impl<T> Drop for Slow<T> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = go_on(self.number);
        }
    }
}

fn go_on(number: u64) -> Result<()> {
    abi::number(test_device()?, GO, number).context("let it go on").map(drop)
}

/// Begins a PRESERVE_FD under token 1 that waits in the handler, on a file of this number.
pub(super) fn slow_preserve(
    session: impl AsFd,
    number: u64,
) -> Result<Slow<rustix::io::Result<()>>> {
    let (session, file) = (dup(session)?, test_file(number, PLAIN | PRESERVE_IS_SLOW)?);
    Slow::begin(number, move || abi::preserve_fd(&session, &file, 1))
}

/// Keeps a file open until the kexec: on C, closing it would block for ever.
fn leave_open(file: impl Into<OwnedFd>) {
    mem::forget(file.into());
}

fn preserve_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.while_leaving("drain-preserve", |leaving| {
        let session = create("drain-preserve")?;
        let slow = slow_preserve(&session, 101)?;
        leaving.until_reboot_waits()?;
        slow.end()?.context("the slow PRESERVE_FD")?;
        leave_open(session);
        Ok(())
    })
}

fn preserve_after(_: &mut Stage<'_>) -> Result<()> {
    check_left("drain-preserve")?;
    check_came("drain-preserve", &[(1, 101)])
}

/// Why a part is not for the first hop, and the next part not for the second.
const NOTHING_CAME: &str = "the first kernel of a chain has no session that came";

/// Checks that `reboot(2)` of the previous kernel has waited for a command on a session that came.
fn check_waited(stage: &Stage<'_>, name: &str) -> Result<()> {
    if stage.hop > 2 { check_left(name) } else { not_applicable(NOTHING_CAME) }
}

/// Why a part is not for C.
const COMMANDS_WAIT: &str = "on C, commands wait for reboot(2), and for ever if it succeeds";

fn commands_before(stage: &mut Stage<'_>) -> Result<()> {
    let incoming = stage.retrieve_if_any("drain-incoming")?;
    stage.hand_over("drain-incoming", test_file(103, PLAIN)?)?;
    if stage.kernel == Kernel::C {
        incoming.into_iter().for_each(leave_open);
        return not_applicable(COMMANDS_WAIT);
    }
    stage.while_leaving("drain-commands", move |leaving| {
        let session = create("drain-commands")?;
        abi::preserve_fd(&session, memfd("x")?, 2).context("PRESERVE_FD")?;
        let slow = slow_preserve(&session, 102)?;
        leaving.until_reboot_waits()?;
        fails("CREATE_SESSION", try_create("drain-new"), Errno::BUSY)?;
        fails("CREATE_SESSION of a used name", try_create("drain-commands"), Errno::BUSY)?;
        fails("RETRIEVE_SESSION", try_retrieve("drain-nobody"), Errno::BUSY)?;
        for token in [2, 3] {
            let preserved = abi::preserve_fd(&session, memfd("y")?, token);
            fails("PRESERVE_FD", preserved, Errno::BUSY)?;
        }
        if let Some(incoming) = &incoming {
            fails("RETRIEVE_FD", abi::retrieve_fd(incoming, 1), Errno::BUSY)?;
            fails("FINISH", abi::finish(incoming), Errno::BUSY)?;
            check_name(incoming, "drain-incoming")?;
        }
        check_name(&session, "drain-commands")?;
        slow.end()?.context("the slow PRESERVE_FD")?;
        leave_open(session);
        incoming.into_iter().for_each(leave_open);
        Ok(())
    })
}

fn commands_after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.hop == stage.hops {
        finish(retrieve("drain-incoming")?)?;
    }
    if stage.last == Some(Kernel::C) {
        return not_applicable(COMMANDS_WAIT);
    }
    check_left("drain-commands")?;
    check_came("drain-commands", &[(1, 102)])
}

/// Closes a session by `close`, so that unpreserving one of its files is slow when `reboot(2)`
/// begins.
fn closing(
    stage: &mut Stage<'_>,
    key: &'static str,
    number: u64,
    close: impl FnOnce(OwnedFd) -> Result<()> + Send + 'static,
) -> Result<()> {
    // One file at least is frozen.
    stage.hand_over(format!("{key}-stays"), test_file(number + 2, PLAIN)?)?;
    stage.while_leaving(key, move |leaving| {
        let session = create(key)?;
        let slow = test_file(number, PLAIN | UNPRESERVE_IS_SLOW)?;
        session.preserve(1.into(), test_file(number + 1, PLAIN)?).context("PRESERVE_FD")?;
        session.preserve(2.into(), slow).context("PRESERVE_FD")?;
        let mut log = Log::begin()?;
        let slow = Slow::begin(number, move || close(session.into()))?;
        leaving.until_reboot_waits()?;
        slow.end()??;
        leaving.until_handed_over()?;
        let said = log.callbacks()?;
        let place = |what: String| said.iter().position(|line| line.starts_with(&what));
        let unpreserved = place(format!("unpreserve {} ", number + 1));
        let unpreserved = unpreserved.context("a file is not unpreserved")?;
        let frozen = place("freeze ".into()).context("no file is frozen")?;
        ensure!(unpreserved < frozen, "a file is frozen before all are unpreserved: {said:?}");
        Ok(())
    })
}

fn closed(key: &str, number: u64) -> Result<()> {
    check_left(key)?;
    fails("the session that was closed", try_retrieve(key), Errno::NOENT)?;
    check_came(&format!("{key}-stays"), &[(1, number + 2)])
}

fn close_before(stage: &mut Stage<'_>) -> Result<()> {
    closing(stage, "drain-close", 110, |session| {
        drop(session);
        Ok(())
    })
}

fn close_after(_: &mut Stage<'_>) -> Result<()> {
    closed("drain-close", 110)
}

fn killed_before(stage: &mut Stage<'_>) -> Result<()> {
    closing(stage, "drain-killed", 120, |session| {
        // The child has the only descriptor.
        let mut command = Command::new("/proc/self/exe");
        let mut child =
            command.arg(CHILD).stdin(Stdio::from(session)).spawn().context("start a child")?;
        drop(command);
        child.kill().context("kill the child")?;
        child.wait().context("wait for the child").map(drop)
    })
}

fn killed_after(_: &mut Stage<'_>) -> Result<()> {
    closed("drain-killed", 120)
}

fn late_before(stage: &mut Stage<'_>) -> Result<()> {
    let kernel = stage.kernel;
    stage.while_leaving("drain-late", move |leaving| {
        let (anchor, session) = (create("drain-late-anchor")?, create("drain-late")?);
        session.preserve(1.into(), test_file(130, PLAIN)?).context("PRESERVE_FD")?;
        let slow = slow_preserve(&anchor, 131)?;
        let mut log = Log::begin()?;
        leaving.until_reboot_waits()?;
        let close = thread::spawn(move || drop(session));
        if kernel == Kernel::Rust {
            // On C, it waits for ever.
            joined(close.join())?;
        }
        slow.end()?.context("the slow PRESERVE_FD")?;
        leaving.until_handed_over()?;
        leave_open(anchor);
        let said = log.callbacks()?;
        let is_gone = said.iter().any(|line| line.starts_with("unpreserve 130 "));
        ensure!(!is_gone, "the file is unpreserved: {said:?}");
        Ok(())
    })
}

fn late_after(_: &mut Stage<'_>) -> Result<()> {
    check_left("drain-late")?;
    check_came("drain-late", &[(1, 130)])?;
    check_came("drain-late-anchor", &[(1, 131)])
}

fn retrieve_before(stage: &mut Stage<'_>) -> Result<()> {
    const NAME: &str = "drain-retrieve";
    stage.hand_over(NAME, test_file(140, PLAIN | RETRIEVE_IS_SLOW)?)?;
    if stage.hop == 1 {
        return not_applicable(NOTHING_CAME);
    }
    stage.while_leaving(NAME, |leaving| {
        let session = retrieve(NAME)?.into_fd();
        let asked = dup(&session)?;
        let slow = Slow::begin(140, move || abi::retrieve_fd(&asked, 1))?;
        leaving.until_reboot_waits()?;
        let file = slow.end()?.context("the slow RETRIEVE_FD")?;
        ensure!(number_of(file)? == 140, "another file came back");
        leave_open(session);
        Ok(())
    })
}

fn retrieve_after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.hop == stage.hops {
        finish(retrieve("drain-retrieve")?)?;
    }
    check_waited(stage, "drain-retrieve")
}

fn finish_before(stage: &mut Stage<'_>) -> Result<()> {
    const NAME: &str = "drain-finish";
    stage.hand_over(NAME, test_file(150, PLAIN | FINISH_IS_SLOW)?)?;
    if stage.hop == 1 {
        return not_applicable(NOTHING_CAME);
    }
    stage.while_leaving(NAME, |leaving| {
        let slow = slow_finish(NAME)?;
        leaving.until_reboot_waits()?;
        slow.end()?.context("the slow FINISH")
    })
}

/// Begins a FINISH that waits in the handler, of a session that stays open.
fn slow_finish(name: &str) -> Result<Slow<rustix::io::Result<()>>> {
    let session = retrieve(name)?.into_fd();
    let asked = dup(&session)?;
    leave_open(session);
    Slow::begin(150, move || {
        let finished = abi::finish(&asked);
        leave_open(asked);
        finished
    })
}

fn finish_after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.hop == stage.hops {
        slow_finish("drain-finish")?.end()?.context("the slow FINISH")?;
    }
    check_waited(stage, "drain-finish")
}

/// Bytes of the large memfd.
const LARGE: u64 = 96 << 20;

/// The content at both of its ends.
const MARK: &[u8] = b"from the previous kernel";

fn memfd_before(stage: &mut Stage<'_>) -> Result<()> {
    let is_rust = stage.memfd == Kernel::Rust;
    // It takes a while, for which other parts should not wait.
    let file = if is_rust { allocated(LARGE)? } else { hole(LARGE)? };
    stage.while_leaving("drain-memfd", move |leaving| {
        let session = create("drain-memfd")?;
        for at in ends() {
            rustix::io::pwrite(&file, MARK, at).context("write the memfd")?;
        }
        let (asked, preserved) = (dup(&session)?, file.try_clone().context("dup")?);
        let before = blocks(&file)?;
        let work = thread::spawn(move || abi::preserve_fd(&asked, &preserved, 1));
        // The handler in C allocates all pages of the memfd. The one in Rust leaves holes, so all pages are there.
        let has_begun = || -> Result<bool> {
            if is_rust { Ok(Progress::of(&file)?.is_some()) } else { Ok(blocks(&file)? > before) }
        };
        while !has_begun()? && !work.is_finished() {
            thread::yield_now();
        }
        leaving.until_handed_over()?;
        let done = joined(work.join())?;
        done.context("the PRESERVE_FD that had begun")?;
        leave_open(session);
        Ok(())
    })
}

fn blocks(file: &File) -> Result<u64> {
    file.metadata().map(|of| of.blocks()).context("stat the memfd")
}

fn ends() -> [u64; 2] {
    [0, LARGE - MARK.len() as u64]
}

fn memfd_after(_: &mut Stage<'_>) -> Result<()> {
    check_left("drain-memfd")?;
    let session = retrieve("drain-memfd")?;
    let file = session.retrieve(1.into()).context("RETRIEVE_FD")?;
    for at in ends() {
        let mut there = [0; MARK.len()];
        rustix::io::pread(&file, &mut there, at).context("read the memfd")?;
        ensure!(there == MARK, "at {at} stands {}", there.escape_ascii());
    }
    finish(session).map(drop)
}
