// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds that other processes use: one has it mapped, or one that may use little memory retrieves it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, Result, bail, ensure};
use liblu::IncomingSession;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::Scenario;
use super::holes::{TOKEN, allocated, check_page, take_over};
use super::memory::becomes_free;
use super::stage::{Stage, fails, finish, not_applicable, retrieve};
use super::unusual::{PAGES, check_marks, child, full, store_marks};
use crate::abi;
use crate::abi::mapped::MappedMut;
use crate::free_memory::free;
use crate::mounts::mount_new;

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("stores_of_another_process_cross", before_shared, after_shared),
    Scenario::across(
        "a_memfd_is_charged_to_the_process_that_retrieves_it",
        before_charged,
        after_charged,
    ),
    Scenario::across(
        "a_memfd_for_which_its_process_has_no_room_is_not_retrieved",
        before_limited,
        after_limited,
    ),
];

/// Argument of the process that maps the memfd that is its standard output. Its standard input is a socket.
pub(super) const WRITER: &str = "--child-that-stores";

/// Says that the memfd is mapped, and stores a mark in each page when it is told to.
pub(super) fn writer_main() -> Result<()> {
    let file = File::from(std::io::stdout().as_fd().try_clone_to_owned().context("dup")?);
    let socket = std::io::stdin().as_fd().try_clone_to_owned().context("dup")?;
    let mut socket = UnixStream::from(socket);
    let mut mapped = MappedMut::new(&file).context("map a memfd")?;
    (0..usize::try_from(PAGES)?).for_each(|page| _ = mapped.load(page));
    socket.write_all(b"m").context("say that it is mapped")?;
    socket.read_exact(&mut [0]).context("wait")?;
    store_marks(&mut mapped, PAGES, PAGES)
}

fn before_shared(stage: &mut Stage<'_>) -> Result<()> {
    let file = full(PAGES)?;
    let (mut here, there) = UnixStream::pair().context("a pair of sockets")?;
    let mut writer = child(WRITER, OwnedFd::from(there), file.try_clone().context("dup")?)?;
    here.read_exact(&mut [0]).context("wait for the child")?;
    stage.hand_over("others-shared", &file)?;
    here.write_all(b"s").context("tell the child")?;
    let status = writer.wait().context("wait for the child")?;
    ensure!(status.success(), "the child ends with {status}");
    Ok(())
}

fn after_shared(_: &mut Stage<'_>) -> Result<()> {
    let file = take_over("others-shared")?;
    check_marks(&MappedMut::new(&file).context("map a memfd")?, PAGES, PAGES)
}

/// Where control groups are mounted.
const GROUPS: &str = "/tmp/groups";

/// The folder of a control group, until it is dropped.
struct Group(PathBuf);

impl Group {
    /// Makes a group whose processes may use so many bytes. `None` if the kernel has no such groups.
    fn with_most(bytes: u64) -> Result<Option<Self>> {
        if !fs::exists("/proc/cgroups").context("look for control groups")? {
            return Ok(None);
        }
        mount_new("cgroup2", GROUPS, "")?;
        let group = Self(Path::new(GROUPS).join("retriever"));
        let control = Path::new(GROUPS).join("cgroup.subtree_control");
        fs::write(control, "+memory").context("limit memory by groups")?;
        fs::create_dir(&group.0).context("make a group")?;
        fs::write(group.0.join("memory.max"), bytes.to_string()).context("set a limit")?;
        Ok(Some(group))
    }

    /// Bytes that are charged to the group.
    fn current(&self) -> Result<u64> {
        let text = fs::read_to_string(self.0.join("memory.current"));
        Ok(text.context("read memory.current")?.trim().parse()?)
    }

    /// How a process of this group ends that retrieves the memfd of a session: its exit code is the error.
    fn retrieve(&self, session: &IncomingSession) -> Result<ExitStatus> {
        let processes = File::options().write(true).open(self.0.join("cgroup.procs"));
        let session = session.as_fd().try_clone_to_owned().context("dup")?;
        let mut child = child(RETRIEVER, session, processes.context("open the group")?)?;
        child.wait().context("wait for the child")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
        let _ = unmount(GROUPS, UnmountFlags::DETACH);
    }
}

const NO_GROUPS: &str = "this kernel has no control groups";

/// Argument of the process that retrieves a memfd of the session that is its standard input. Its standard output is
/// the list of processes of a group.
pub(super) const RETRIEVER: &str = "--child-that-retrieves";

pub(super) fn retriever_main() -> Result<()> {
    let mut group = File::from(std::io::stdout().as_fd().try_clone_to_owned().context("dup")?);
    group.write_all(b"0").context("enter a group")?;
    match abi::retrieve_fd(std::io::stdin(), TOKEN.into()) {
        Ok(_) => Ok(()),
        Err(error) => std::process::exit(error.raw_os_error()),
    }
}

/// Bytes of a memfd, and fewer than a process needs for it.
const BYTES: u64 = 16 << 20;
const LITTLE: u64 = 4 << 20;

fn before_charged(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("others-charged", allocated(BYTES)?)
}

fn after_charged(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("others-charged")?;
    let Some(group) = Group::with_most(4 * BYTES)? else {
        finish(session)?;
        return not_applicable(NO_GROUPS);
    };
    let before = group.current()?;
    let status = group.retrieve(&session)?;
    ensure!(status.success(), "RETRIEVE_FD: {status}");
    let charged = group.current()?.saturating_sub(before);
    ensure!((BYTES..2 * BYTES).contains(&charged), "{charged} bytes are charged");
    // The pages are charged once, by whichever process.
    let file = File::from(session.retrieve(TOKEN.into()).context("RETRIEVE_FD")?);
    check_page(&file, 0, false)?;
    finish(session).map(drop)
}

fn before_limited(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("others-limited", allocated(BYTES)?)
}

fn after_limited(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("others-limited")?;
    let before = free()?;
    let Some(group) = Group::with_most(LITTLE)? else {
        finish(session)?;
        return not_applicable(NO_GROUPS);
    };
    let status = group.retrieve(&session)?;
    // The process is killed since it is the only one of its group.
    if status.signal() != Some(9) {
        bail!("RETRIEVE_FD of {BYTES} bytes in a group that may have {LITTLE}: {status}");
    }
    let again = session.retrieve(TOKEN.into());
    fails("RETRIEVE_FD, again", again, Errno::NOMEM)?;
    finish(session)?;
    becomes_free(before, BYTES / 2)
}
