// SPDX-License-Identifier: MIT OR Apache-2.0

//! Closing of sessions, and descriptors of one session in several processes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};
use liblu::passing::{self, Message};
use liblu::{IncomingSession, OutgoingSession};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::stage::{
    Log, Stage, check_callbacks, check_memfd, create, dup, fails, finish, memfd, retrieve,
    test_file, try_create, try_retrieve,
};
use super::{Kernel, Scenario};
use crate::abi;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("closing_an_outgoing_session_unpreserves_from_the_last_file", outgoing),
    Scenario::here("a_copy_of_the_descriptor_keeps_the_session", copy),
    Scenario::across("closing_a_retrieved_session_loses_nothing", loses_before, loses_after),
    Scenario::across(
        "a_process_without_rights_does_all_by_a_passed_session",
        pass_before,
        pass_after,
    ),
];

/// The user `nobody`, which has no rights.
const NOBODY: u32 = 65534;

/// Name of the session that is sent to the process without rights.
const PASSED: &str = "pass";

/// Argument of the init program that makes it the process without rights.
pub(super) const CHILD: &str = "--child-without-rights";

fn outgoing(_: &mut Stage<'_>) -> Result<()> {
    let session = create("close")?;
    for number in 1..=3_u32 {
        session.preserve(number.into(), test_file(number.into(), 0)?).context("PRESERVE_FD")?;
    }
    let mut log = Log::begin()?;
    drop(session);
    let expected =
        ["unpreserve 3 true", "unpreserve 2 true", "unpreserve 1 true", "object unpreserve true"];
    check_callbacks(&mut log, &expected)?;
    create("close").context("the name must be free").map(drop)
}

fn copy(_: &mut Stage<'_>) -> Result<()> {
    let session = create("copy")?;
    let copy = OutgoingSession::from_fd(dup(&session)?, &"copy".parse()?)?;
    drop(session);
    copy.preserve(1.into(), memfd("x")?).context("PRESERVE_FD on the copy")?;
    fails("its name", try_create("copy"), Errno::EXIST)?;
    drop(copy);
    create("copy").context("the name must be free").map(drop)
}

fn loses_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("loses")?;
    session.preserve(1.into(), memfd("x")?).context("PRESERVE_FD")?;
    session.preserve(2.into(), memfd("y")?).context("PRESERVE_FD")?;
    session.preserve(3.into(), test_file(79, 0)?).context("PRESERVE_FD")?;
    stage.keep(session);
    stage.hand_over(DROPPED, memfd("z")?)
}

/// The session that the client drops, and does not close.
const DROPPED: &str = "loses-dropped";

/// Whether liblu has said that closing this session would destroy it.
static IS_SAID: AtomicBool = AtomicBool::new(false);

/// liblu tells the two kernels apart: where closing destroys files, a session that is dropped stays
/// open, with a complaint.
fn is_kept_by_liblu(stage: &Stage<'_>) -> Result<()> {
    liblu::set_loss_hook(|name| match name {
        Some(name) if name.as_bytes() == DROPPED.as_bytes() => {
            IS_SAID.store(true, Ordering::Relaxed);
        }
        other => eprintln!("init: the session {other:?} is dropped"),
    });
    let session = retrieve(DROPPED)?;
    let number = session.as_fd().as_raw_fd();
    drop(session);
    let is_said = IS_SAID.load(Ordering::Relaxed);
    ensure!(is_said == stage.kernel.pick(true, false), "liblu complains: {is_said}");
    let again = try_retrieve(DROPPED);
    if stage.kernel == Kernel::C {
        fails("RETRIEVE_SESSION of a session that is open", again, Errno::INVAL)?;
        return abi::finish_racing(number).context("FINISH of a session that stays open");
    }
    finish(again.context("RETRIEVE_SESSION of a session that was closed")?).map(drop)
}

fn loses_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("loses")?;
    let mut log = Log::begin()?;
    let first = session.retrieve(1.into()).context("RETRIEVE_FD")?;
    rustix::fs::seek(&first, SeekFrom::Start(7)).context("seek")?;
    drop(session.retrieve(3.into()).context("RETRIEVE_FD")?);
    is_kept_by_liblu(stage)?;
    drop((session.into_fd(), first));
    if stage.kernel == Kernel::C {
        // C finishes the session of a process that crashes.
        check_callbacks(&mut log, &["retrieve 79", "finish 79 retrieved"])?;
        return fails("RETRIEVE_SESSION", try_retrieve("loses"), Errno::NOENT);
    }
    check_callbacks(&mut log, &["retrieve 79"])?;
    let session = retrieve("loses").context("after close")?;
    // The retrieved file is the same open file, and the other file still exists.
    let again = session.retrieve(1.into()).context("RETRIEVE_FD after close")?;
    let at = rustix::fs::seek(&again, SeekFrom::Current(0)).context("seek")?;
    ensure!(at == 7, "token 1 came back as another open file: at {at}");
    drop(session.retrieve(3.into()).context("RETRIEVE_FD after close")?);
    check_callbacks(&mut log, &[])?;
    check_memfd(session.retrieve(2.into()).context("RETRIEVE_FD")?, "y")?;
    finish(session).map(drop)
}

fn pass_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create(PASSED)?;
    let mine = child(&session, "preserve")?;
    ensure!(mine == "preserved", "the child says `{mine}`");
    stage.keep(session);
    Ok(())
}

fn pass_after(_: &mut Stage<'_>) -> Result<()> {
    // The child finishes it.
    let session = retrieve(PASSED)?.into_fd();
    let mine = child(&session, "retrieve")?;
    ensure!(mine == "retrieved", "the child says `{mine}`");
    Ok(())
}

/// Runs a process without rights, sends it the session and a command, and returns its answer.
fn child(session: impl AsFd, what: &str) -> Result<String> {
    let (here, there) = UnixStream::pair().context("socketpair")?;
    // The directory of the initramfs is open to all users; the child finds its program through
    // `/proc`.
    let mut command = Command::new("/proc/self/exe");
    command.arg(CHILD).stdin(Stdio::from(OwnedFd::from(there))).uid(NOBODY).gid(NOBODY);
    let mut child = command.spawn().context("start a child")?;
    drop(command);
    passing::send(&here, what.as_bytes(), &[session.as_fd()], None).context("send the session")?;
    here.shutdown(std::net::Shutdown::Write).context("shutdown")?;
    let answer = std::io::read_to_string(here).context("read the answer")?;
    child.wait().context("wait for the child")?;
    Ok(answer)
}

/// The process without rights: receives a session and a command, and carries out the command.
pub(super) fn child_main() -> Result<()> {
    let socket = UnixStream::from(dup(std::io::stdin())?);
    let message = passing::receive(&socket, 64, 1, None).context("receive the session")?;
    let Message { bytes, fds, .. } = message.context("the parent has hung up")?;
    let [session] = <[_; 1]>::try_from(fds).map_err(|fds| anyhow!("{} files came", fds.len()))?;
    let answer = do_as_child(session, &bytes).unwrap_or_else(|error| format!("{error:#}"));
    std::io::Write::write_all(&mut &socket, answer.as_bytes()).context("answer")
}

fn do_as_child(session: OwnedFd, what: &[u8]) -> Result<String> {
    let open = abi::open().err().and_then(|error| error.raw_os_error());
    ensure!(open == Some(Errno::ACCESS.raw_os_error()), "the device says {open:?}");
    let name = PASSED.parse()?;
    match what {
        b"preserve" => {
            let session = OutgoingSession::from_fd(session, &name)?;
            session.preserve(1.into(), memfd("from a child")?).context("PRESERVE_FD")?;
            Ok("preserved".into())
        }
        b"retrieve" => {
            let session = IncomingSession::from_fd(session, &name)?;
            let file = session.retrieve(1.into()).context("RETRIEVE_FD")?;
            check_memfd(&file, "from a child")?;
            finish(session)?;
            Ok("retrieved".into())
        }
        _ => bail!("told to do something else"),
    }
}
