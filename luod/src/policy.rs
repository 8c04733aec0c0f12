// SPDX-License-Identifier: MIT OR Apache-2.0

//! The policy: who may take part in updates, and how.
//!
//! The administrator writes it in TOML. The main file is `/etc/luod/luod.toml`, or else
//! `/run/luod/luod.toml`, or else `/usr/lib/luod/luod.toml`. Drop-ins, `*.toml` in `luod.toml.d` beneath
//! the same three folders, are read after it, sorted by their names over all folders. A drop-in replaces
//! that of the same name beneath a folder later in this list, and a link to `/dev/null` in its place masks
//! it. Of a setting that is there more than once, the last one counts. See [`Sources`].
//!
//! ```toml
//! # Members of this group are administrators, besides root. With "", root is the only one.
//! administrators = "wheel"
//!
//! [update]
//! default-deadline = "60s"   # the time of clients, unless an update is given another one
//! longest-prepare = "5min"   # of all clients together
//! longest-freeze = "10s"     # of freezing sessions
//! longest-leave = "5min"     # from the commit until the kernel is left
//!
//! [[rule]]
//! unit = "vmm@*.service"     # or user = NAME|UID, or group = NAME|GID, or none: all owners
//! participate = true         # default: true for services and root, false for other users
//! sessions = 16              # the most at a time
//! required = false           # without a ready client of this owner, there is no update
//! longest-deadline = "2min"  # extensions included; default: twice the default deadline
//! on-failure = "fail"        # the update; "drop": it goes on without the client
//! keep = false               # outgoing sessions of a client that has died before it was ready
//! carry = false              # no update while there are sessions that no client has restored
//! ```
//!
//! The values above are the defaults, but for the group and the unit. The first rule that matches an owner
//! decides, alone. Rules stand in the order of their file, those of later files before those of earlier
//! ones.
//!
//! A rule with `unit` is for services, one with `user` or `group` for users: the owner decides, so that the
//! same rule holds for a session whose client has ended, or comes only after the update. A service that
//! runs as some user is not that user.

use std::time::Duration;

use crate::owner::Owner;
use crate::update::Limits;

mod decision;
mod error;
mod file;
mod merge;
mod pattern;
mod place;
mod rule;
mod sources;
mod value;
mod warning;

pub use decision::{Admission, Decision, Presence, Unclaimed, Unready};
pub use error::{Fault, PolicyError};
pub use pattern::PatternError;
pub use place::Place;
pub use sources::{File, Sources};
pub use warning::{Caution, Warning};

use rule::Rule;

/// The policy. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    default_deadline: Duration,
    limits: Limits,
    administrators: Option<u32>,
    /// The first that matches decides.
    rules: Vec<Rule>,
}

/// The credentials of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its user.
    pub uid: u32,
    /// All of its groups.
    pub gids: Vec<u32>,
}

/// The users and groups of the machine, which the caller knows.
pub trait Names {
    /// The number of a user; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// Those of asking, which are not the same as no user.
    fn user(&self, name: &str) -> std::io::Result<Option<u32>>;

    /// The number of a group; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// Those of asking, which are not the same as no group.
    fn group(&self, name: &str) -> std::io::Result<Option<u32>>;
}

impl Policy {
    /// The policy of a machine, and what is unwise in it, in the order of the files. Without any file it is
    /// the default one.
    ///
    /// # Errors
    ///
    /// The first error in the first file that has one. A file that cannot be read is no absent file.
    pub fn load(sources: &Sources, names: &dyn Names) -> Result<(Self, Vec<Warning>), PolicyError> {
        Self::parse(&sources.read()?, names)
    }

    /// The policy in these files, of which later ones count more, and what is unwise in it.
    ///
    /// # Errors
    ///
    /// The first error in the first file that has one.
    pub fn parse(files: &[File], names: &dyn Names) -> Result<(Self, Vec<Warning>), PolicyError> {
        merge::merge(files, names)
    }

    /// The decision on an owner. The groups count for users alone, and may be asked for when no client is
    /// there.
    pub fn of(&self, owner: &Owner, credentials: &Credentials) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.subject.matches(owner, &credentials.gids));
        Decision::new(owner, rule, self.default_deadline)
    }

    /// Owners that the policy requires by name, so that they are missed also if they have never been there.
    /// Those that it requires by pattern or group are known by [`Decision::presence`] when they come.
    pub fn required(&self) -> impl Iterator<Item = Owner> {
        let named = self.rules.iter().filter_map(|rule| rule.subject.owner());
        // No groups: for a user by name, a rule of a group before it may decide otherwise.
        let nobody = Credentials { uid: u32::MAX, gids: Vec::new() };
        let mut all: Vec<_> =
            named.filter(|owner| self.of(owner, &nobody).presence == Presence::Required).collect();
        all.sort();
        all.dedup();
        all.into_iter()
    }

    /// Whether a peer may see all sessions, and act for any owner: root, and members of the group.
    pub fn is_administrator(&self, credentials: &Credentials) -> bool {
        let group = self.administrators;
        credentials.uid == 0 || group.is_some_and(|group| credentials.gids.contains(&group))
    }

    /// The time that clients have, unless an update is given another one.
    pub fn default_deadline(&self) -> Duration {
        self.default_deadline
    }

    /// The longest times of the phases of an update.
    pub fn limits(&self) -> Limits {
        self.limits
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_deadline: Duration::from_mins(1),
            limits: Limits {
                prepare: Duration::from_mins(5),
                freeze: Duration::from_secs(10),
                // Services have 90 seconds to stop, one after the other if they depend on each other.
                leave: Duration::from_mins(5),
            },
            administrators: None,
            rules: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
