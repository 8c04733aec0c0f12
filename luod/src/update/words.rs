// SPDX-License-Identifier: MIT OR Apache-2.0

//! The words in which the state machine and its caller talk.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Method;
use crate::owner::Owner;

/// A point in time, as the duration since an earlier one that the caller chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// Long after everything. It can be added to the time of any start.
    pub const NEVER: Self = Self(Duration::from_secs(u32::MAX as u64));

    pub(super) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    pub(super) fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// The number of an update. It is never used again, and 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// The number of a client that takes part. It is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParticipantId(pub u64);

/// An update that is to begin.
#[derive(Clone, Debug)]
pub struct Order {
    /// How the kernel is left.
    pub method: Method,
    /// The time that each client has to answer.
    pub deadline: Duration,
    /// Owners of which at least one client must be ready.
    pub required: BTreeSet<Owner>,
}

/// The longest times of phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of all answers together, extensions included.
    pub prepare: Duration,
    /// Of freezing sessions early.
    pub freeze: Duration,
    /// From the commit until the kernel is left.
    pub leave: Duration,
}

/// The phase of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No kernel is loaded.
    Idle,
    /// A kernel is loaded, and nothing else happens.
    Loaded,
    /// Clients are asked, up to this time at most.
    Preparing {
        /// When the phase ends whatever clients do.
        until: Time,
    },
    /// All clients are ready, and sessions are frozen as far as the kernel can.
    Freezing {
        /// When the phase fails.
        until: Time,
    },
    /// The kernel is being left. There is no cancel any more.
    Committing {
        /// When it has not been left.
        until: Time,
    },
}

/// Why an update does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// Load a kernel first.
    #[error("no kernel is loaded; run `luctl load` first")]
    NotLoaded,
    /// One at a time.
    #[error("an update is in progress; see `luctl status`")]
    InProgress,
}

/// Why an answer of a client has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It does not take part, or not any more.
    #[error("there is no participant {}", .0.0)]
    NoSuchParticipant(ParticipantId),
    /// Another update is being prepared, or none.
    #[error("that update is not being prepared")]
    Stale {
        /// The update that is being prepared.
        current: Option<Generation>,
    },
    /// It has answered already.
    #[error("the participant has answered already")]
    Answered,
}

/// Why an update cannot be called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// There is none.
    #[error("no update is in progress")]
    NoUpdate,
    /// The kernel is being left.
    #[error("the kernel is being left, which cannot be called off")]
    Committing,
}
