// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who closes what, and who else may hold it.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::stage::{
    Log, Stage, check_callbacks, check_memfd, create, device, fails, memfd, retrieve, test_file,
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

/// Neither root nor anybody else: nobody.
const NOBODY: u32 = 65534;

/// Argument of the init program that makes it the process without rights.
pub const CHILD: &str = "--child-without-rights";

fn outgoing(_: &mut Stage<'_>) -> Result<()> {
    let session = create("close")?;
    for number in 1..=3 {
        abi::preserve_fd(&session, test_file(number, 0)?, number).context("PRESERVE_FD")?;
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
    let copy = session.try_clone().context("dup")?;
    drop(session);
    abi::preserve_fd(&copy, memfd("x")?, 1).context("PRESERVE_FD on the copy")?;
    fails("its name", abi::create(device()?, "copy"), Errno::EXIST)?;
    drop(copy);
    create("copy").context("the name must be free").map(drop)
}

fn loses_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("loses")?;
    abi::preserve_fd(&session, memfd("x")?, 1).context("PRESERVE_FD")?;
    abi::preserve_fd(&session, memfd("y")?, 2).context("PRESERVE_FD")?;
    abi::preserve_fd(&session, test_file(79, 0)?, 3).context("PRESERVE_FD")?;
    stage.keep(session);
    Ok(())
}

fn loses_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("loses")?;
    let mut log = Log::begin()?;
    let first = abi::retrieve_fd(&session, 1).context("RETRIEVE_FD")?;
    rustix::fs::seek(&first, SeekFrom::Start(7)).context("seek")?;
    drop(abi::retrieve_fd(&session, 3).context("RETRIEVE_FD")?);
    drop((session, first));
    if stage.kernel == Kernel::C {
        // C finishes what a process leaves that crashes.
        check_callbacks(&mut log, &["retrieve 79", "finish 79 retrieved"])?;
        return fails("RETRIEVE_SESSION", abi::retrieve(device()?, "loses"), Errno::NOENT);
    }
    check_callbacks(&mut log, &["retrieve 79"])?;
    let session = retrieve("loses").context("after close")?;
    // What was retrieved is the same open file, and the other is still there.
    let again = abi::retrieve_fd(&session, 1).context("RETRIEVE_FD after close")?;
    let at = rustix::fs::seek(&again, SeekFrom::Current(0)).context("seek")?;
    ensure!(at == 7, "token 1 came back as another open file: at {at}");
    drop(abi::retrieve_fd(&session, 3).context("RETRIEVE_FD after close")?);
    check_callbacks(&mut log, &[])?;
    check_memfd(abi::retrieve_fd(&session, 2).context("RETRIEVE_FD")?, "y")?;
    abi::finish(&session).context("FINISH")
}

fn pass_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("pass")?;
    let mine = child(&session, "preserve")?;
    ensure!(mine == "preserved", "the child says `{mine}`");
    stage.keep(session);
    Ok(())
}

fn pass_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("pass")?;
    let mine = child(&session, "retrieve")?;
    ensure!(mine == "retrieved", "the child says `{mine}`");
    Ok(())
}

/// Runs a process without rights, sends it the session and what to do, and returns its answer.
fn child(session: &OwnedFd, what: &str) -> Result<String> {
    let (here, there) = UnixStream::pair().context("socketpair")?;
    // The directory of the initramfs is open to all, `/proc` lets the child find its program.
    let mut command = Command::new("/proc/self/exe");
    command.arg(CHILD).stdin(Stdio::from(OwnedFd::from(there))).uid(NOBODY).gid(NOBODY);
    let mut child = command.spawn().context("start a child")?;
    drop(command);
    let fds = [session.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let text = [IoSlice::new(what.as_bytes())];
    sendmsg(&here, &text, &mut control, SendFlags::empty()).context("send the session")?;
    here.shutdown(std::net::Shutdown::Write).context("shutdown")?;
    let answer = std::io::read_to_string(here).context("read the answer")?;
    child.wait().context("wait for the child")?;
    Ok(answer)
}

/// The process without rights: does what it is told with the session that it is sent.
pub fn child_main() -> Result<()> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().context("stdin")?);
    let mut text = [0; 64];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut text)];
    let received = recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        .context("receive the session")?;
    let mut sessions = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds.collect::<Vec<_>>()),
        _ => None,
    });
    let session = sessions.next().and_then(|mut fds| fds.pop()).context("no session came")?;
    let what = text.get(..received.bytes).unwrap_or_default();
    let answer = do_as_child(&session, what).unwrap_or_else(|error| format!("{error:#}"));
    std::io::Write::write_all(&mut &socket, answer.as_bytes()).context("answer")
}

fn do_as_child(session: &OwnedFd, what: &[u8]) -> Result<String> {
    let open = abi::open().err().and_then(|error| error.raw_os_error());
    ensure!(open == Some(Errno::ACCESS.raw_os_error()), "the device says {open:?}");
    match what {
        b"preserve" => {
            abi::preserve_fd(session, memfd("from a child")?, 1).context("PRESERVE_FD")?;
            Ok("preserved".into())
        }
        b"retrieve" => {
            let file = abi::retrieve_fd(session, 1).context("RETRIEVE_FD")?;
            check_memfd(&file, "from a child")?;
            abi::finish(session).context("FINISH")?;
            Ok("retrieved".into())
        }
        _ => bail!("told to do something else"),
    }
}
