// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the state machine wants to be done.

use std::fmt;
use std::time::Duration;

use super::{Generation, ParticipantId};
use crate::owner::Owner;

/// How the kernel is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `systemctl kexec`: services are stopped, and systemd carries the sessions.
    Systemctl,
    /// `reboot(2)` at once: nothing is stopped.
    Now,
    /// Somebody else leaves it, and cannot be stopped: clients that fail are left behind, whatever the policy
    /// says.
    Elsewhere,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Ask a client, which has so much time.
    Prepare {
        /// The client.
        to: ParticipantId,
        /// The update.
        generation: Generation,
        /// The time that is left.
        left: Duration,
    },
    /// Tell a client that the update is off, for all or for it alone.
    Abort {
        /// The client.
        to: ParticipantId,
        /// The update.
        generation: Generation,
        /// The reason.
        reason: Reason,
    },
    /// Tell a client that the kernel is left now.
    Commit {
        /// The client.
        to: ParticipantId,
        /// The update.
        generation: Generation,
    },
    /// Note that the update goes on without a client, and give its sessions up.
    GoOnWithout {
        /// The client, which may be gone.
        id: ParticipantId,
        /// Its owner.
        owner: Owner,
        /// The reason.
        reason: Reason,
    },
    /// Freeze the sessions as far as the kernel can, and call [`Machine::frozen`](super::Machine::frozen).
    Freeze {
        /// The update.
        generation: Generation,
        /// The number of this attempt.
        attempt: u32,
    },
    /// Undo a freeze.
    Thaw {
        /// The update.
        generation: Generation,
    },
    /// Leave the kernel, and call [`Machine::not_left`](super::Machine::not_left) if that fails.
    Leave {
        /// How.
        method: Method,
        /// The update.
        generation: Generation,
    },
    /// The update is off: close the sessions that were made for it, and tell the administrator.
    Ended {
        /// The update.
        generation: Generation,
        /// The reason.
        reason: Reason,
    },
    /// The phase, or who is awaited, has changed: tell those who watch.
    Changed,
}

/// Why an update is off, or goes on without a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// An administrator has called it off.
    Cancelled,
    /// Another kernel was loaded meanwhile.
    OtherKernel,
    /// The kernel was unloaded meanwhile.
    Unloaded,
    /// A client has failed that the policy does not let the update go on without.
    Participant {
        /// Its owner.
        owner: Owner,
        /// Why it has failed.
        why: Box<Reason>,
    },
    /// The client cannot take part.
    Refused(String),
    /// The client has not answered in time.
    Late,
    /// The client has ended, or has closed its connection, before it was ready.
    Gone,
    /// No client of a required owner is ready.
    Missing(Owner),
    /// Sessions could not be frozen.
    FreezeFailed(String),
    /// Freezing the sessions took too long.
    FreezeLate,
    /// The kernel could not be left.
    NotLeft(String),
    /// The kernel was not left in time.
    StillHere,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("an administrator has called the update off"),
            Self::OtherKernel => f.write_str("another kernel was loaded meanwhile"),
            Self::Unloaded => f.write_str("the kernel was unloaded meanwhile"),
            Self::Participant { owner, why } => write!(f, "{owner}: {why}"),
            Self::Refused(why) => write!(f, "the client cannot take part: {why}"),
            Self::Late => f.write_str("the client has not answered in time"),
            Self::Gone => f.write_str("the client has ended before it was ready"),
            Self::Missing(owner) => {
                write!(f, "no client of {owner} is ready, which the policy requires")
            }
            Self::FreezeFailed(why) => write!(f, "sessions could not be frozen: {why}"),
            Self::FreezeLate => f.write_str("freezing the sessions took too long"),
            Self::NotLeft(why) => write!(f, "the kernel could not be left: {why}"),
            Self::StillHere => f.write_str("the kernel was not left in time"),
        }
    }
}
