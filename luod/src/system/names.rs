// SPDX-License-Identifier: MIT OR Apache-2.0

//! The users and groups of this machine.

use std::io;

use nix::unistd::{Group, User};

use crate::policy::Names;

/// The users and groups that the machine knows, wherever it has them from (NSS). Asking may take long.
#[derive(Clone, Copy, Debug)]
pub struct MachineNames;

impl Names for MachineNames {
    fn user(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
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
    }
}
