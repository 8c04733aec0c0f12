// SPDX-License-Identifier: MIT OR Apache-2.0

//! An FLB that counts its files in memory that it hands over: the count and the files agree.
//!
//! Threads preserve files and close sessions until `reboot(2)` has written the handover.
//! `--hops rust*50` with this test alone tries it often.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use liblu::{ErrorKind, OutgoingSession};
use rustix::io::Errno;

use super::Scenario;
use super::leaving::check_left;
use super::stage::{Log, Stage, ask, create, finish, test_device, try_retrieve};
use crate::{abi, test_device};

pub(super) const ALL: &[Scenario] = &[Scenario::across(
    "an_flb_and_the_files_that_it_counts_agree_in_the_next_kernel",
    before,
    after,
)];

/// Number of threads that preserve and close until `reboot(2)` has written the handover.
const THREADS: usize = 4;

/// Number of sessions that they take one after the other: more than they can finish.
const SESSIONS: usize = 400;

/// Files in each session, at the most.
const FILES: u64 = 4;

fn name(number: usize) -> String {
    format!("counted-{number}")
}

fn new_file() -> Result<OwnedFd> {
    abi::number_to_file(test_device()?, test_device::NEW_COUNTED, 0).context("make a counted file")
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    // This file is handed over in any case.
    stage.hand_over("counted-stays", new_file()?)?;
    stage.while_leaving("counted", |leaving| {
        // Other parts need the device, so all sessions are created before.
        let sessions: Vec<_> = (0..SESSIONS).map(|nth| create(name(nth))).collect::<Result<_>>()?;
        let sessions = Arc::new(Mutex::new(sessions));
        for _ in 0..THREADS {
            let sessions = Arc::clone(&sessions);
            // On C, this thread waits for ever in one of its commands.
            thread::spawn(move || {
                while let Some(session) = take(&sessions) {
                    if preserve(session).is_err() {
                        return;
                    }
                }
            });
        }
        leaving.until_handed_over()?;
        let sessions = mem::take(&mut *sessions.lock().unwrap_or_else(PoisonError::into_inner));
        ensure!(!sessions.is_empty(), "the threads were done before the handover was written");
        // On C, closing a session waits for ever.
        sessions.into_iter().for_each(mem::forget);
        Ok(())
    })
}

fn take(sessions: &Mutex<Vec<OutgoingSession>>) -> Option<OutgoingSession> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// Preserves files in a session and closes it.
fn preserve(session: OutgoingSession) -> Result<()> {
    let done = (1..=FILES).try_for_each(|token| {
        abi::preserve_fd(&session, new_file()?, token).context("PRESERVE_FD")
    });
    drop(session);
    done
}

fn after(_: &mut Stage<'_>) -> Result<()> {
    check_left("counted")?;
    let mut log = Log::begin()?;
    let count = ask(test_device::COUNTED, 0);
    let said = log.lines("luo_test: counted ")?;
    let count = count.with_context(|| format!("the count of the previous kernel: {said:?}"))?;
    let (mut files, mut finished) = (0, Vec::new());
    for name in (0..SESSIONS).map(name).chain(["counted-stays".into()]) {
        let session = match try_retrieve(&name) {
            // A thread has closed it.
            Err(error) if error.kind() == ErrorKind::NoSession => continue,
            session => session.with_context(|| format!("RETRIEVE_SESSION of {name}"))?,
        };
        for token in 1..=FILES {
            match abi::retrieve_fd(&session, token) {
                Ok(_) => files += 1,
                Err(Errno::NOENT) => break,
                Err(error) => return Err(error).context("RETRIEVE_FD"),
            }
        }
        finished.push(finish(session)?);
    }
    ensure!(count == files, "the FLB counts {count} files, and {files} came");
    let said = log.lines("luo_test: counted ")?;
    let expected = format!("{files} finished {files}");
    ensure!(said == [expected.as_str()], "the kernel says {said:?} of the FLB, not {expected}");
    Ok(())
}
