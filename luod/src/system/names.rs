// SPDX-License-Identifier: MIT OR Apache-2.0

//! The users and groups of this machine.

use std::io;

use nix::errno::Errno;
use nix::unistd::{Group, User};

use crate::policy::Names;

/// The users and groups that the machine knows, wherever it has them from (NSS). Asking may take long.
#[derive(Clone, Copy, Debug)]
pub struct MachineNames;

impl Names for MachineNames {
    fn user(&self, name: &str) -> io::Result<Option<u32>> {
        known(User::from_name(name).map(|user| user.map(|user| user.uid.as_raw())))
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        known(Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw())))
    }
}

/// Some sources say by an error that they do not know a name; `getpwnam(3)` lists these. A machine without
/// `/etc/passwd` is one of them.
fn known(found: nix::Result<Option<u32>>) -> io::Result<Option<u32>> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_everywhere_and_nonsense_nowhere() {
        assert_eq!(MachineNames.user("root").unwrap(), Some(0));
        assert_eq!(MachineNames.group("root").unwrap(), Some(0));
        assert_eq!(MachineNames.user("no such user").unwrap(), None);
        assert_eq!(MachineNames.group("no such group").unwrap(), None);
        assert_eq!(known(Err(Errno::ENOENT)).unwrap(), None);
        assert!(known(Err(Errno::EIO)).is_err());
    }
}
