// SPDX-License-Identifier: MIT OR Apache-2.0

//! Owners of sessions: system services and users.
//!
//! An owner means the same after a restart and after a kexec, which no PID does. It is printed as
//! `unit:NAME` or `user:UID`, and this is its namespace in the kernel's names.

use std::fmt;
use std::str::FromStr;

use liblu::SessionName;
use serde::{Deserialize, Serialize};

use crate::label::Label;

pub use liblu::{CgroupError, ServiceName, ServiceNameError};

/// The owner of a client and of its sessions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Owner {
    /// A system service: all of its processes, of whichever user, in whichever cgroup below its own.
    Unit(ServiceName),
    /// A user, with all processes that are in no system service.
    User(u32),
}

/// Why a text is no owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// It begins with neither of the two words.
    #[error("an owner is `unit:NAME` or `user:UID`")]
    Form,
    /// The name is that of no service.
    #[error(transparent)]
    Service(#[from] ServiceNameError),
    /// The number is that of no user.
    #[error("a user is a number from 0 to 4294967294, without leading zeros")]
    Uid,
}

impl Owner {
    /// The owner of a process, by the text of its `/proc/PID/cgroup` and the user of its credentials.
    ///
    /// The owner is the service whose cgroup is the outermost one in the path that is no slice. So neither
    /// a payload in cgroups of its own (`Delegate=`) nor a user in the tree of their service manager can
    /// pass for another service, whatever names they give to their cgroups. All other processes belong to
    /// the user of their credentials and not to that of the cgroup: root in the session of a user is root.
    /// These are
    ///
    /// - those of service managers, `user@UID.service` and `capsule@NAME.service`, and all below;
    /// - those of scopes: the program that makes a scope chooses its name, often with a number that is
    ///   another one after the update;
    /// - those in no unit.
    ///
    /// # Errors
    ///
    /// [`CgroupError`] if the text does not say in which cgroup the process is. Such a process has no
    /// owner: its user alone could be that of many services.
    pub fn of_process(cgroup: &[u8], uid: u32) -> Result<Self, CgroupError> {
        Ok(ServiceName::of_cgroup(cgroup)?.map_or(Self::User(uid), Self::Unit))
    }

    /// The name by which the kernel knows the session that this owner calls `label`.
    ///
    /// # Errors
    ///
    /// None: neither an owner nor a label is empty or has a NUL, and an owner has no slash.
    pub fn session_name(&self, label: &Label) -> liblu::Result<SessionName> {
        SessionName::in_namespace(&self.to_string(), label.as_str())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(name) => write!(f, "unit:{name}"),
            Self::User(uid) => write!(f, "user:{uid}"),
        }
    }
}

impl FromStr for Owner {
    type Err = OwnerError;

    fn from_str(text: &str) -> Result<Self, OwnerError> {
        match text.split_once(':') {
            Some(("unit", name)) => Ok(Self::Unit(name.parse()?)),
            Some(("user", number)) => {
                let uid = number.parse().ok().filter(|uid| *uid != u32::MAX);
                // One owner has one spelling.
                let uid = uid.filter(|uid: &u32| uid.to_string() == number);
                uid.map(Self::User).ok_or(OwnerError::Uid)
            }
            _ => Err(OwnerError::Form),
        }
    }
}

impl TryFrom<String> for Owner {
    type Error = OwnerError;

    fn try_from(text: String) -> Result<Self, OwnerError> {
        text.parse()
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn owners_have_one_spelling() {
        for text in
            ["unit:vmm@17.service", r"unit:a\x2db@\x2f.service", "user:0", "user:4294967294"]
        {
            assert_eq!(text.parse::<Owner>().unwrap().to_string(), text);
        }
        let table = [
            ("", OwnerError::Form),
            ("root", OwnerError::Form),
            ("Unit:a.service", OwnerError::Form),
            (" user:0", OwnerError::Form),
            ("unit:", OwnerError::Service(ServiceNameError)),
            ("unit:a/b.service", OwnerError::Service(ServiceNameError)),
            ("user:", OwnerError::Uid),
            ("user:00", OwnerError::Uid),
            ("user:+1", OwnerError::Uid),
            ("user:-1", OwnerError::Uid),
            ("user:root", OwnerError::Uid),
            ("user:4294967295", OwnerError::Uid),
            ("user:4294967296", OwnerError::Uid),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Owner>(), Err(error), "{text}");
        }
    }

    #[test]
    fn sessions_are_named_within_their_owner() {
        let label: Label = "memory/0".parse().unwrap();
        let name = |owner: &str| owner.parse::<Owner>().unwrap().session_name(&label).unwrap();
        assert_eq!(name("unit:vmm@17.service").as_bytes(), b"unit:vmm@17.service/memory/0");
        assert_eq!(name("user:1000").as_bytes(), b"user:1000/memory/0");
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed_the_same(text in "(unit|user|x):[a-z0-9@.:\\\\/-]{0,12}(\\.service)?") {
            if let Ok(owner) = text.parse::<Owner>() {
                prop_assert_eq!(owner.to_string(), text);
            }
        }

        #[test]
        fn every_owner_names_every_label(
            owner in "unit:[a-z@:_.\\\\-]{1,247}\\.service|user:[1-9][0-9]{0,8}",
            label in "\\PC{1,60}",
        ) {
            let (Ok(owner), Ok(label)) = (owner.parse::<Owner>(), label.parse::<Label>()) else {
                return Ok(());
            };
            prop_assert!(owner.session_name(&label).is_ok());
        }
    }
}
