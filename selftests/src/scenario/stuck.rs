// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands that stop while they read their argument or write their answer, because a page of the
//! client's memory is missing: other commands do not wait for them.
//!
//! The C implementation holds its locks in the meantime, so the rule does not hold there. The scenarios check that a
//! stopped command goes on, and are not applicable.

use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};
use liveupdate_uapi::{Command, CreateSession, PreserveFd, RetrieveFd};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::leaving::check_left;
use super::stage::{
    Stage, check_memfd, create, device, dup, fails, finish, joined, memfd, not_applicable,
    retrieve, test_file, try_create, try_retrieve,
};
use super::{Kernel, Scenario};
use crate::abi::{
    self,
    fault::{self, Faults, Page},
};
use crate::test_device::PLAIN;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("a_preserve_that_stops_at_its_memory_keeps_nobody_waiting", preserve),
    Scenario::here("a_create_that_stops_at_its_memory_keeps_nobody_waiting", create_session),
    Scenario::across(
        "a_retrieve_that_stops_at_its_memory_keeps_nobody_waiting",
        retrieve_before,
        retrieve_after,
    ),
    Scenario::across(
        "reboot_waits_for_no_command_that_stops_at_its_memory",
        reboot_before,
        reboot_after,
    ),
];

/// A thread with a command that has stopped.
struct Stopped {
    faults: Faults,
    thread: JoinHandle<rustix::io::Result<i32>>,
}

impl Stopped {
    /// Sends a command with a missing page, and returns when it has stopped there.
    fn begin<C: Command>(on: impl AsFd, page: rustix::io::Result<(Page, Faults)>) -> Result<Self> {
        let (page, faults) = page.context("userfaultfd")?;
        let on = dup(on)?;
        let thread = thread::spawn(move || page.send(&on, C::OPCODE));
        while !faults.has_stopped_one().context("poll a userfaultfd")? {
            ensure!(!thread.is_finished(), "the command has not stopped at its memory");
            thread::yield_now();
        }
        Ok(Self { faults, thread })
    }

    /// Lets the command go on; returns its answer.
    fn end(self) -> Result<rustix::io::Result<()>> {
        let went_on = self.thread.is_finished();
        drop(self.faults);
        let done = joined(self.thread.join())?;
        ensure!(!went_on, "the command went on by itself: {done:?}");
        Ok(done.map(drop))
    }
}

/// PRESERVE_FD of a file that stops when it writes its answer.
fn stopped_preserve(session: impl AsFd, file: &OwnedFd, token: u64) -> Result<Stopped> {
    let argument = PreserveFd::new(file.as_raw_fd(), token);
    Stopped::begin::<PreserveFd>(session, fault::protected(argument.as_bytes()))
}

fn stopped_retrieve(session: impl AsFd, token: u64) -> Result<Stopped> {
    let argument = RetrieveFd::new(token);
    Stopped::begin::<RetrieveFd>(session, fault::protected(argument.as_bytes()))
}

/// Why a part is not for C.
const LOCKS_ARE_HELD: &str = "C holds locks while a command stops at its memory";

fn preserve(stage: &mut Stage<'_>) -> Result<()> {
    let (session, file) = (create("stopped")?, memfd("x")?);
    for (token, stops_at_answer) in [(1, false), (2, true)] {
        let stopped = if stops_at_answer {
            stopped_preserve(&session, &file, token)?
        } else {
            Stopped::begin::<PreserveFd>(&session, fault::missing())?
        };
        if stage.kernel == Kernel::Rust {
            abi::preserve_fd(&session, memfd("y")?, 10 + token).context("beside it")?;
            abi::name_of(&session).context("GET_NAME beside it")?;
            create("beside-a-stopped").context("CREATE_SESSION beside it")?;
        }
        let done = stopped.end()?;
        if stops_at_answer {
            done.context("the command that had stopped at its answer")?;
            fails("its token", abi::preserve_fd(&session, memfd("z")?, token), Errno::EXIST)?;
        } else {
            // The page is full of zeros, and so is the size word.
            fails("the command that had stopped at its argument", done, Errno::INVAL)?;
        }
    }
    if stage.kernel == Kernel::C {
        return not_applicable(LOCKS_ARE_HELD);
    }
    Ok(())
}

fn create_session(stage: &mut Stage<'_>) -> Result<()> {
    let device = device()?;
    let argument = CreateSession::new(abi::session_name(b"stopped-create").context("name")?);
    let stopped = Stopped::begin::<CreateSession>(&device, fault::protected(argument.as_bytes()))?;
    if stage.kernel == Kernel::Rust {
        let other = abi::create(&device, "beside-a-stopped").context("beside it")?;
        abi::preserve_fd(other, memfd("x")?, 1).context("PRESERVE_FD beside it")?;
        let nobody = abi::retrieve(&device, "beside-a-stopped");
        fails("RETRIEVE_SESSION beside it", nobody, Errno::NOENT)?;
    }
    stopped.end()?.context("the command that had stopped")?;
    drop(device);
    // The number of the descriptor is in the page, so the descriptor is still open.
    fails("its name", try_create("stopped-create"), Errno::EXIST)?;
    if stage.kernel == Kernel::C {
        return not_applicable(LOCKS_ARE_HELD);
    }
    Ok(())
}

fn retrieve_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("stopped-retrieve")?;
    session.preserve(1.into(), memfd("one")?).context("PRESERVE_FD")?;
    session.preserve(2.into(), memfd("two")?).context("PRESERVE_FD")?;
    stage.keep(session);
    Ok(())
}

fn retrieve_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("stopped-retrieve")?.into_fd();
    let stopped = stopped_retrieve(&session, 1)?;
    if stage.kernel == Kernel::C {
        stopped.end()?.context("the command that had stopped")?;
        abi::finish(&session).context("FINISH")?;
        return not_applicable(LOCKS_ARE_HELD);
    }
    for (token, text) in [(2, "two"), (1, "one")] {
        let file = abi::retrieve_fd(&session, token).context("RETRIEVE_FD beside it")?;
        check_memfd(file, text)?;
    }
    abi::finish(&session).context("FINISH beside it")?;
    fails("RETRIEVE_SESSION", try_retrieve("stopped-retrieve"), Errno::NOENT)?;
    // The command had found the file before FINISH, or was too late: both results are right.
    let done = stopped.end()?;
    ensure!(matches!(done, Ok(()) | Err(Errno::INVAL)), "the command that had stopped: {done:?}");
    Ok(())
}

fn reboot_before(stage: &mut Stage<'_>) -> Result<()> {
    let incoming = stage.retrieve_if_any("stopped-incoming")?;
    stage.hand_over("stopped-incoming", test_file(190, PLAIN)?)?;
    if stage.kernel == Kernel::C {
        if let Some(incoming) = incoming {
            stage.keep(incoming);
        }
        return not_applicable(LOCKS_ARE_HELD);
    }
    stage.while_leaving("stopped-reboot", move |leaving| {
        let (session, file) = (create("stopped-reboot")?, memfd("x")?);
        session.preserve(2.into(), memfd("beside")?).context("PRESERVE_FD")?;
        let mut stopped = vec![
            Stopped::begin::<PreserveFd>(&session, fault::missing())?,
            stopped_preserve(&session, &file, 1)?,
        ];
        if let Some(incoming) = &incoming {
            stopped.push(stopped_retrieve(incoming, 1)?);
        }
        leaving.until_handed_over()?;
        let went_on = stopped.iter().any(|stopped| stopped.thread.is_finished());
        ensure!(!went_on, "a command has not stopped at its memory until the end");
        // The commands stay stopped.
        mem::forget((stopped, session, incoming));
        Ok(())
    })
}

fn reboot_after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.hop == stage.hops {
        finish(retrieve("stopped-incoming")?)?;
    }
    if stage.last == Some(Kernel::C) {
        return not_applicable(LOCKS_ARE_HELD);
    }
    check_left("stopped-reboot")?;
    let session = retrieve("stopped-reboot")?;
    check_memfd(session.retrieve(2.into()).context("RETRIEVE_FD")?, "beside")?;
    finish(session).map(drop)
}
