// SPDX-License-Identifier: MIT OR Apache-2.0

//! Parts that run while `reboot(2)` runs, and their results in the next kernel.
//!
//! A part begins right before PID 1 calls `reboot(KEXEC)`, in a thread of its own. The reboot is
//! held after the handover is written, until all parts have ended. Each part writes its result into
//! a memfd that is handed over already.

use std::any::Any;
use std::fs;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::stage::{Stage, finish, memfd, retrieve};

/// File that holds the reboot after the handover is written, and tells whether the reboot is held.
const HOLD: &str = "/sys/kernel/debug/luo_test_hold_reboot";

/// Room for the result of a part, in bytes.
const NOTES: usize = 2048;

/// The result of a part that went well.
const WELL: &str = "well";

/// The longest time until a part is ready for the reboot.
const READY: Duration = Duration::from_mins(1);

/// The number of `reboot(2)`.
#[cfg(target_arch = "x86_64")]
const REBOOT: &str = "169 ";
#[cfg(not(target_arch = "x86_64"))]
const REBOOT: &str = "142 ";

/// The work of a part.
type Work = Box<dyn FnOnce(&Leaving) -> Result<()> + Send>;

/// A part that runs while `reboot(2)` runs.
pub struct LeavingPart {
    notes: OwnedFd,
    work: Work,
}

impl Stage<'_> {
    /// Runs `work` while `reboot(2)` runs. The next kernel checks the result with [`check_left`].
    /// `key` is the beginning of a session's name.
    pub(super) fn while_leaving(
        &mut self,
        key: &str,
        work: impl FnOnce(&Leaving) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let notes = memfd(&" ".repeat(NOTES))?;
        self.hand_over(session_of(key), &notes)?;
        self.leaving.push(LeavingPart { notes, work: Box::new(work) });
        Ok(())
    }
}

fn session_of(key: &str) -> String {
    format!("{key}.notes")
}

/// Checks that the part with this `key` went well in the previous kernel.
pub(super) fn check_left(key: &str) -> Result<()> {
    let session = retrieve(session_of(key))?;
    let notes = session.retrieve(1.into()).context("RETRIEVE_FD of the notes")?;
    let mut text = vec![0; NOTES];
    rustix::io::pread(notes, &mut text, 0).context("read the notes")?;
    finish(session)?;
    let text = String::from_utf8_lossy(&text);
    match text.trim_end_matches(['\0', ' ']) {
        WELL => Ok(()),
        "" => bail!("in the previous kernel: it has not ended"),
        text => bail!("in the previous kernel: {text}"),
    }
}

/// Begins all parts, one after the other: the next when one is ready for the reboot.
pub fn begin(parts: Vec<LeavingPart>) -> Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    fs::write(HOLD, "1").context("hold the reboot")?;
    let held = Arc::new(Held);
    for part in parts {
        let (ready, wait) = mpsc::channel();
        let held = Arc::clone(&held);
        thread::spawn(move || {
            part.play(&Leaving { ready });
            drop(held);
        });
        // A part that has ended closes its channel, so there is no wait for it.
        if wait.recv_timeout(READY) == Err(mpsc::RecvTimeoutError::Timeout) {
            bail!("a part that runs while reboot(2) runs is not ready");
        }
    }
    Ok(())
}

impl LeavingPart {
    fn play(self, leaving: &Leaving) {
        let played = catch_unwind(AssertUnwindSafe(|| (self.work)(leaving)));
        let text = match played {
            Ok(Ok(())) => WELL.to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => format!("panicked: {}", panic_text(&*panic)),
        };
        if text != WELL {
            // If the next kernel cannot read the notes, the log still has the text.
            eprintln!("init: while reboot(2) runs: {text}");
        }
        let mut bytes = text.into_bytes();
        bytes.truncate(NOTES);
        let _ = rustix::io::pwrite(&self.notes, &bytes, 0);
    }
}

/// The text of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

/// Holds the reboot until it is dropped.
struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::write(HOLD, "0");
    }
}

/// Lets a part wait for moments of `reboot(2)`.
pub(super) struct Leaving {
    ready: Sender<()>,
}

impl Leaving {
    /// Lets PID 1 call `reboot(2)`, and returns when the call waits for a callback.
    pub(super) fn until_reboot_waits(&self) -> Result<()> {
        let _ = self.ready.send(());
        // PID 1 calls `reboot(2)` in its first thread.
        until_reboot_sleeps(1, 1, || false)?;
        ensure!(!is_handed_over()?, "reboot(2) waits for nothing: the handover is written");
        Ok(())
    }

    /// Lets PID 1 call `reboot(2)`, and returns when the handover is written and the reboot is
    /// held.
    pub(super) fn until_handed_over(&self) -> Result<()> {
        let _ = self.ready.send(());
        while !is_handed_over()? {
            thread::yield_now();
        }
        Ok(())
    }
}

fn is_handed_over() -> Result<bool> {
    Ok(fs::read_to_string(HOLD).with_context(|| format!("read {HOLD}"))?.starts_with('1'))
}

/// Returns when a thread of a process sleeps in `reboot(2)`; fails if it `has_ended`.
pub(super) fn until_reboot_sleeps(
    process: u32,
    thread: i32,
    has_ended: impl Fn() -> bool,
) -> Result<()> {
    let path = format!("/proc/{process}/task/{thread}/syscall");
    loop {
        // A thread that has ended has no such file.
        let call = fs::read_to_string(&path).unwrap_or_default();
        if call.starts_with(REBOOT) {
            return Ok(());
        }
        ensure!(!has_ended(), "reboot(2) has not waited");
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told() {
        let panic = catch_unwind(|| panic!("one {}", "two")).unwrap_err();
        assert_eq!(panic_text(&*panic), "one two");
        let panic: Result<(), _> = catch_unwind(|| panic!("plain"));
        assert_eq!(panic_text(&*panic.unwrap_err()), "plain");
    }
}
