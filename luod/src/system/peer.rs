// SPDX-License-Identifier: MIT OR Apache-2.0

//! The process at the other end of a connection, and its owner.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;

use crate::owner::{CgroupError, Owner};
use crate::policy::Credentials;
use crate::polled::polled;
use crate::process::Process;
use crate::varlink::Stream;

/// A process at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The owner of its sessions.
    pub owner: Owner,
    /// Its user and groups.
    pub credentials: Credentials,
    /// The process.
    pub process: Process,
    /// A descriptor of it.
    pub life: Life,
}

/// Why a process at the other end has no owner.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The kernel does not say.
    #[error("the process at the other end is not known")]
    Unknown(#[source] io::Error),
    /// It is in a PID namespace that is not below that of luod.
    #[error("the process at the other end is outside of the PID namespace of luod")]
    Outside,
    /// It ended before luod could look.
    #[error("the process at the other end has ended")]
    Ended,
    /// Its cgroup does not say.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

impl Peer {
    /// The process that has made this connection.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn of(stream: &mut Stream, services: Services) -> Result<Self, PeerError> {
        let credentials = stream.peer_credentials().await.map_err(PeerError::Unknown)?;
        let pid = u32::try_from(credentials.process_id().as_raw_pid()).unwrap_or_default();
        if pid == 0 {
            return Err(PeerError::Outside);
        }
        let uid = credentials.unix_user_id().as_raw();
        let mut gids = vec![credentials.unix_primary_group_id().as_raw()];
        gids.extend(credentials.unix_supplementary_group_ids().iter().map(|gid| gid.as_raw()));
        let life = match credentials.process_fd() {
            Some(pidfd) => pidfd.try_clone_to_owned().map_err(PeerError::Unknown)?,
            None => open(pid).map_err(PeerError::Unknown)?.ok_or(PeerError::Ended)?,
        };
        let life = Life(Rc::new(life));
        let inode = life.inode().map_err(PeerError::Unknown)?;
        let owner = match services {
            Services::None => Owner::User(uid),
            Services::ByCgroup => {
                let cgroup = fs::read(format!("/proc/{pid}/cgroup"));
                let owner = cgroup.map(|text| Owner::of_process(&text, uid));
                // Another process may have got the number meanwhile.
                if life.has_ended() {
                    return Err(PeerError::Ended);
                }
                owner.map_err(PeerError::Unknown)??
            }
        };
        Ok(Self {
            owner,
            credentials: Credentials { uid, gids },
            process: Process { pid, inode },
            life,
        })
    }
}

/// Whether processes of services can be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Services {
    /// By their cgroups, as under systemd.
    ByCgroup,
    /// There are none.
    None,
}

/// A descriptor of a process, by which its end is seen.
#[derive(Clone, Debug)]
pub struct Life(Rc<OwnedFd>);

impl Life {
    /// A process that was known before, if it lives.
    ///
    /// # Errors
    ///
    /// It is not known whether it lives.
    pub fn find(process: Process) -> io::Result<Option<Self>> {
        let Some(life) = Self::of(process.pid)? else { return Ok(None) };
        let is_it = life.inode()? == process.inode;
        Ok((is_it && !life.has_ended()).then_some(life))
    }

    /// A process by its number; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of `pidfd_open(2)` that say something else.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        Ok(open(pid)?.map(|pidfd| Self(Rc::new(pidfd))))
    }

    /// The inode of its pidfds.
    ///
    /// # Errors
    ///
    /// Those of `fstat(2)`.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(fstat(&self.0)?.st_ino)
    }

    fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    ///
    /// Those of the runtime.
    pub async fn end(&self) -> io::Result<()> {
        let pidfd = polled(self.0.try_clone()?, Interest::READABLE)?;
        while !self.has_ended() {
            pidfd.readable().await?.clear_ready();
            tokio::time::sleep(Duration::ZERO).await;
        }
        Ok(())
    }
}

impl AsFd for Life {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_a_process_is_seen_once_and_no_other_is_taken_for_it() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pidfd = open(child.id()).unwrap().unwrap();
        let process = Process { pid: child.id(), inode: fstat(&pidfd).unwrap().st_ino };
        let life = Life::find(process).unwrap().unwrap();
        let other = Process { inode: process.inode + 1, ..process };
        assert!(Life::find(other).unwrap().is_none());
        let early = tokio::time::timeout(Duration::from_millis(20), life.end()).await;
        assert!(early.is_err(), "it lives");
        drop(child.stdin.take());
        tokio::time::timeout(Duration::from_secs(10), life.end()).await.unwrap().unwrap();
        // Ended, and not yet waited for.
        assert!(Life::find(process).unwrap().is_none());
        child.wait().unwrap();
        assert!(Life::find(process).unwrap().is_none());
    }
}
