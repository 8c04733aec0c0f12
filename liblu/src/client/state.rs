// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a client is in its life.

use crate::{Handover, Ready};

/// Why [`Client::serve`](crate::Client::serve) returns.
///
/// ```
/// assert_ne!(liblu::Wake::Ended, liblu::Wake::Other(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The workload has ended.
    Ended,
    /// This one of the other descriptors can be read from, or has ended.
    Other(usize),
}

/// The session for the next update.
#[derive(Debug)]
pub(super) enum Session {
    /// Nothing is preserved.
    None,
    /// The workload works, or is to work again.
    Open(Handover),
    /// The workload stands still, and the session is complete.
    Ready(Ready),
}

/// What the workload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// It works.
    Goes,
    /// It stands still for an update, or may.
    Stopped,
    /// It stands still, and there is no update: resuming it has failed.
    Stuck,
}
