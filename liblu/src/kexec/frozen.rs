// SPDX-License-Identifier: MIT OR Apache-2.0

//! File systems that are frozen.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::read;
use crate::{Error, Result, sys};

/// File systems that nobody can write to, so that they are clean when the next kernel mounts them. They are
/// thawed when this value is dropped.
///
/// Whoever writes to one of them waits meanwhile, also this process: between [`Frozen::all`] and the
/// end of this value, write nothing to a file.
#[derive(Debug)]
#[must_use = "file systems are thawed when it is dropped"]
pub struct Frozen(Vec<OwnedFd>);

/// The mounts of this process.
const MOUNTS: &str = "/proc/self/mountinfo";

impl Frozen {
    /// Writes back and freezes all file systems on block devices that are mounted for writing, those that were
    /// mounted last first. File systems that cannot be frozen, or that others have frozen, are left alone.
    ///
    /// # Errors
    ///
    /// The mounts cannot be read; [`ErrorKind::NoPermission`](crate::ErrorKind::NoPermission) without
    /// `CAP_SYS_ADMIN`; a file system cannot be written back. All are thawed then.
    ///
    /// ```no_run
    /// let frozen = liblu::kexec::Frozen::all()?;
    /// let error = liblu::kexec::reboot();
    /// drop(frozen);
    /// eprintln!("{error}");
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn all() -> Result<Self> {
        let mounts = read(MOUNTS)?;
        let mut frozen = Self(Vec::new());
        for point in writable(&mounts).into_iter().rev() {
            let failed = |errno| {
                let error = Error::system(&format!("freeze the file system at {point:?}"), errno);
                if errno == Errno::PERM {
                    error.with_kind(crate::ErrorKind::NoPermission)
                } else {
                    error
                }
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOCTTY;
            let root = match rustix::fs::open(point.as_str(), flags, Mode::empty()) {
                Ok(root) => root,
                // Something else was mounted there later, or it is a file.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => continue,
                Err(errno) => return Err(failed(errno)),
            };
            match sys::freeze(root.as_fd()) {
                Ok(()) => frozen.0.push(root),
                Err(Errno::OPNOTSUPP | Errno::BUSY | Errno::NOTTY | Errno::INVAL) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(frozen)
    }

    /// The number of file systems that are frozen.
    ///
    /// ```no_run
    /// println!("{} file systems are frozen", liblu::kexec::Frozen::all()?.count());
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for root in self.0.iter().rev() {
            // Another process may have thawed it.
            let _ = sys::thaw(root.as_fd());
        }
    }
}

/// The mount points of file systems on block devices that can be written to, each file system once.
fn writable(mounts: &str) -> Vec<String> {
    let mut devices = HashSet::new();
    let mut points = Vec::new();
    for line in mounts.lines() {
        // See proc_pid_mountinfo(5): optional fields end with a dash.
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let (mut mount, mut file_system) = (mount.split(' '), file_system.split(' '));
        let (Some(device), Some(point)) = (mount.nth(2), mount.nth(1)) else { continue };
        let (Some(source), Some(options)) = (file_system.nth(1), file_system.next()) else {
            continue;
        };
        let is_writable = options.split(',').any(|option| option == "rw");
        if source.starts_with("/dev/") && is_writable && devices.insert(device) {
            points.push(unescaped(point));
        }
    }
    points
}

/// Spaces, tabs, line feeds and backslashes are octal numbers there.
fn unescaped(point: &str) -> String {
    let mut text = point.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escape, character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_on_devices_are_frozen_once_and_others_never() {
        let mounts = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
23 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=4k
24 22 8:1 /var /var\\040data ro,relatime - ext4 /dev/sda1 rw
25 22 8:2 / /usr ro,relatime - squashfs /dev/sda2 ro
26 22 0:40 / /data\\011\\134x rw master:1 propagate_from:2 - btrfs /dev/sdb rw,ssd
27 22 0:50 / /srv rw - nfs4 host:/srv rw
malformed";
        assert_eq!(writable(mounts), ["/", "/data\t\\x"]);
        assert!(writable("").is_empty());
    }
}
