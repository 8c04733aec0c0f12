// SPDX-License-Identifier: MIT OR Apache-2.0

//! The process of QEMU: started new or with a guest that came, and its state.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use command_fds::{CommandFdExt as _, FdMapping};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::json;

use crate::arguments::{Guest, MEMORY_FD, MONITOR_FD, STATE_FD, state_uri};
use crate::qmp::Monitor;

/// What a state begins with whose guest has run; QEMU's begin with `QEVM`.
const SPENT: [u8; 4] = *b"SPNT";

/// The files of a guest, which cross the kexec.
pub(crate) struct Files {
    pub(crate) memory: OwnedFd,
    pub(crate) state: OwnedFd,
}

impl Files {
    /// Memory of this size, and room for the state, both new.
    pub(crate) fn new(memory: u64) -> Result<Self> {
        let memfd = |name| memfd_create(name, MemfdFlags::CLOEXEC).context("memfd_create");
        let files = Self { memory: memfd("guest")?, state: memfd("state")? };
        ftruncate(&files.memory, memory).context("set the size of the memory")?;
        Ok(files)
    }

    /// Whether the guest has run since it was saved.
    pub(crate) fn is_spent(&self) -> Result<bool> {
        let mut begin = [0; SPENT.len()];
        // A state that is too short is QEMU's to refuse.
        Ok(self.state_file()?.read_exact_at(&mut begin, 0).is_ok() && begin == SPENT)
    }

    /// The guest runs from here on, so its memory is newer than its state: a second start from that state would
    /// corrupt the guest.
    pub(crate) fn spend(&self) -> Result<()> {
        self.state_file()?.write_all_at(&SPENT, 0).context("mark the state")
    }

    fn state_file(&self) -> Result<File> {
        Ok(File::from(self.state.try_clone().context("duplicate a descriptor")?))
    }

    /// How many bytes the state has.
    fn state_size(&self) -> Result<u64> {
        Ok(self.state_file()?.metadata().context("look at the state")?.len())
    }
}

/// A QEMU that runs.
pub(crate) struct Qemu {
    child: Child,
    /// Is readable when the process has ended.
    ended: OwnedFd,
    pub(crate) monitor: Monitor,
}

impl Qemu {
    /// Starts QEMU. If the guest `comes`, it waits for its state.
    pub(crate) fn start(guest: &Guest, files: &Files, comes: bool) -> Result<Self> {
        let words = guest.complete(comes);
        let (program, options) = words.split_first().context("no program")?;
        let (ours, theirs) = UnixStream::pair().context("make sockets")?;
        let mut command = Command::new(program);
        command.args(options);
        let duplicate = |fd: &OwnedFd| fd.try_clone().context("duplicate a descriptor");
        command
            .fd_mappings(vec![
                FdMapping { parent_fd: duplicate(&files.memory)?, child_fd: MEMORY_FD },
                FdMapping { parent_fd: duplicate(&files.state)?, child_fd: STATE_FD },
                FdMapping { parent_fd: theirs.into(), child_fd: MONITOR_FD },
            ])
            .map_err(|_| anyhow!("descriptors collide"))?;
        let mut child = command.spawn().with_context(|| format!("start {program}"))?;
        // Its copies of the descriptors; QEMU's own end is the only one from here on.
        drop(command);
        let pid = Pid::from_child(&child);
        let ended = pidfd_open(pid, PidfdFlags::empty()).context("watch QEMU")?;
        match Monitor::new(ours) {
            Ok(monitor) => Ok(Self { child, ended, monitor }),
            Err(error) => {
                let _ = child.kill();
                let status = child.wait().context("wait for QEMU")?;
                Err(error.context(format!("QEMU does not start ({status}); its messages say why")))
            }
        }
    }

    /// Gives the state that came to QEMU; the guest stands still then.
    pub(crate) fn receive(&mut self, deadline: Instant) -> Result<()> {
        self.monitor.exclude_memory()?;
        // After an error QEMU stays, and says the reason.
        let arguments = json!({ "uri": state_uri(), "exit-on-error": false });
        self.monitor.command("migrate-incoming", &arguments)?;
        self.monitor.wait_for_migration(deadline).context("QEMU cannot take over the guest")
    }

    /// Stops the guest, and writes the state of its devices. Returns its size in bytes.
    pub(crate) fn save(&mut self, files: &Files, deadline: Instant) -> Result<u64> {
        ftruncate(&files.state, 0).context("empty the state")?;
        self.monitor.exclude_memory()?;
        self.monitor.command("migrate", &json!({ "uri": state_uri() }))?;
        let done = self.monitor.wait_for_migration(deadline);
        if done.is_err() {
            let _ = self.monitor.command("migrate_cancel", &json!({}));
        }
        done.context("QEMU cannot write its state")?;
        // Memory in it would be a copy, and too late: the mistake is in the command line.
        let size = files.state_size()?;
        ensure!(size <= MOST_STATE, "the state has {size} bytes: memory is in it");
        Ok(size)
    }

    /// Lets a guest run again that was stopped for its state.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        if self.monitor.status()? == "running" {
            return Ok(());
        }
        self.monitor.command("cont", &json!({})).map(drop)
    }

    /// The end of the process, for `poll(2)`.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(mut self) -> Result<ExitStatus> {
        self.child.wait().context("wait for QEMU")
    }

    /// Ends QEMU as a user would: the guest's disks are closed in order.
    pub(crate) fn terminate(self) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("end QEMU")?;
        self.wait()
    }

    /// Ends QEMU at once: its guest stands still, and is in the files.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().context("end QEMU")?;
        self.wait().map(drop)
    }
}

/// Devices of a large guest have less, but for the picture of a graphics card.
const MOST_STATE: u64 = 256 << 20;
