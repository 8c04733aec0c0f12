// SPDX-License-Identifier: MIT OR Apache-2.0

//! `reboot(LINUX_REBOOT_CMD_KEXEC)` that waits for a callback, and then fails or is killed.

use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, ensure};
use liblu::kexec;
use rustix::io::Errno;
use rustix::thread::gettid;

use super::drain::slow_preserve;
use super::leaving::until_reboot_sleeps;
use super::stage::{
    Go, Log, Stage, check_came, create, fails, failure, joined, not_applicable, test_device,
    test_file, try_create,
};
use super::{Kernel, Scenario};
use crate::test_device::{FREEZE_FAILS_ONCE, PLAIN};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("a_signal_ends_the_wait_of_reboot", signal_before, signal_after),
    Scenario::across(
        "a_session_closed_while_reboot_waits_is_gone_if_freeze_fails",
        freeze_before,
        freeze_after,
    ),
];

/// Argument of the init program that makes it a process that calls `reboot(2)`.
pub(super) const CHILD: &str = "--child-that-reboots";

/// The process that calls `reboot(2)`.
pub(super) fn child_main() -> Result<()> {
    Err(kexec::reboot()).context("reboot(2)")
}

/// A process that is killed, also if the test fails.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) -> Result<()> {
        self.0.kill().context("kill the child")?;
        self.0.wait().context("wait for the child").map(drop)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Checks that a session that was closed is gone, with its file of this number.
fn check_gone(log: &mut Log, name: &str, number: u64) -> Result<()> {
    create(name).context("the name of the closed session")?;
    let said = log.callbacks()?;
    let unpreserved = said.contains(&format!("unpreserve {number} true"));
    ensure!(unpreserved, "the file of the closed session is not unpreserved: {said:?}");
    Ok(())
}

/// Only the wait of Rust can be killed: on C, the files are preserved and nothing more is tested.
fn signal_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("signal")?;
    session.preserve(2.into(), test_file(162, PLAIN)?).context("PRESERVE_FD")?;
    if stage.kernel == Kernel::C {
        session.preserve(1.into(), test_file(161, PLAIN)?).context("PRESERVE_FD")?;
        session.preserve(3.into(), test_file(163, PLAIN)?).context("PRESERVE_FD")?;
        stage.keep(session);
        return not_applicable("on C, no signal ends the wait of reboot(2)");
    }
    let closed = create("signal-closed")?;
    closed.preserve(1.into(), test_file(160, PLAIN)?).context("PRESERVE_FD")?;
    (stage.load)()?;
    let device = test_device()?;
    let mut log = Log::begin()?;
    let slow = slow_preserve(&session, 161)?;
    let go = Go(&device, 161);
    // It is killed before the slow callback goes on; otherwise `reboot(2)` would do the kexec.
    let mut command = Command::new("/proc/self/exe");
    let mut child = Killed(command.arg(CHILD).spawn().context("start a child")?);
    let process = child.0.id();
    let thread = i32::try_from(process).context("the child")?;
    until_reboot_sleeps(process, thread, || slow.is_over())?;
    fails("CREATE_SESSION", try_create("signal-new"), Errno::BUSY)?;
    let preserved = session.preserve(3.into(), test_file(163, PLAIN)?);
    fails("PRESERVE_FD", preserved, Errno::BUSY)?;
    drop(closed);
    child.kill()?;

    // The gate is open, although the slow callback still waits.
    ensure!(!slow.is_over(), "the slow PRESERVE_FD is over");
    check_gone(&mut log, "signal-closed", 160)?;
    create("signal-new").context("CREATE_SESSION after the signal")?;
    slow.end()?.context("the slow PRESERVE_FD")?;
    drop(go);
    session.preserve(3.into(), test_file(163, PLAIN)?).context("PRESERVE_FD after the signal")?;
    stage.keep(session);
    Ok(())
}

/// No file is lost, and a later reboot has handed them over.
fn signal_after(_: &mut Stage<'_>) -> Result<()> {
    check_came("signal", &[(1, 161), (2, 162), (3, 163)])
}

fn freeze_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("give-up")?;
    let bad = test_file(172, PLAIN | FREEZE_FAILS_ONCE)?;
    session.preserve(2.into(), bad).context("PRESERVE_FD")?;
    let closed = create("give-up-closed")?;
    closed.preserve(1.into(), test_file(170, PLAIN)?).context("PRESERVE_FD")?;
    (stage.load)()?;
    let mut log = Log::begin()?;
    let slow = slow_preserve(&session, 171)?;
    let (send, receive) = mpsc::channel();
    let reboot = thread::spawn(move || {
        let _ = send.send(gettid().as_raw_nonzero().get());
        kexec::reboot()
    });
    let thread = receive.recv().context("the thread that reboots")?;
    until_reboot_sleeps(std::process::id(), thread, || reboot.is_finished())?;
    let mut close = Some(thread::spawn(move || drop(closed)));
    if stage.kernel == Kernel::Rust {
        // It does not wait, and is over while the reboot waits.
        close.take().map_or(Ok(()), |close| joined(close.join()))?;
        fails("CREATE_SESSION", try_create("give-up-new"), Errno::BUSY)?;
    }
    slow.end()?.context("the slow PRESERVE_FD")?;
    let error = joined(reboot.join())?;
    ensure!(error.errno() == failure(), "reboot(2) says {error:?}, not {:?}", failure());
    // On C, it has waited for the reboot.
    close.map_or(Ok(()), |close| joined(close.join()))?;
    check_gone(&mut log, "give-up-closed", 170)?;
    create("give-up-new").context("CREATE_SESSION after the reboot")?;
    stage.keep(session);
    Ok(())
}

fn freeze_after(_: &mut Stage<'_>) -> Result<()> {
    check_came("give-up", &[(1, 171), (2, 172)])
}
