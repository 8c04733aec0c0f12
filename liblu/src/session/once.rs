// SPDX-License-Identifier: MIT OR Apache-2.0

//! Kernels that take a file twice, which the next kernel restores twice: liblu refuses the second.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FsWord, fstat, fstatfs};
use rustix::io::Errno;

use crate::defect::DOUBLE_PRESERVE;
use crate::running;

/// The file system of memfds. Other files may share an inode without being the same.
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// The files that this process has preserved in a session. Those of other sessions and processes are not
/// known here.
#[derive(Debug, Default)]
pub(super) struct Once(Mutex<Vec<(u64, u64)>>);

impl Once {
    /// Later kernels see to it themselves.
    pub(super) fn if_needed(session: BorrowedFd<'_>) -> Option<Self> {
        running::has(session, &DOUBLE_PRESERVE).then(Self::default)
    }

    /// Preserves a file with `preserve`; as later kernels, [`Errno::BUSY`] if that was done before.
    pub(super) fn preserve(
        &self,
        file: BorrowedFd<'_>,
        preserve: impl FnOnce() -> rustix::io::Result<()>,
    ) -> rustix::io::Result<()> {
        let Some(identity) = identity(file) else { return preserve() };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(&identity) {
            return Err(Errno::BUSY);
        }
        preserve()?;
        seen.push(identity);
        Ok(())
    }
}

/// Device and inode, if they say which file it is.
fn identity(file: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let is_memory = fstatfs(file).is_ok_and(|system| system.f_type == TMPFS_MAGIC);
    let stat = fstat(file).ok().filter(|_| is_memory)?;
    Some((stat.st_dev, stat.st_ino))
}
