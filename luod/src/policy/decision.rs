// SPDX-License-Identifier: MIT OR Apache-2.0

//! Decisions on owners.

use std::time::Duration;

use super::Place;
use super::rule::Rule;
use crate::owner::Owner;
use crate::update::{self, OnFailure};

/// The decision of the policy on an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether its clients may take part.
    pub admission: Admission,
    /// The most sessions that it may have at a time.
    pub sessions: u32,
    /// Whether an update needs it.
    pub presence: Presence,
    /// The longest time that a client may take, extensions included.
    pub longest_deadline: Duration,
    /// The meaning of a client's failure for the update.
    pub on_failure: OnFailure,
    /// Outgoing sessions of a client that has died before it was ready.
    pub unready: Unready,
    /// Sessions that no client has claimed when the next update comes.
    pub unclaimed: Unclaimed,
    /// The rule that has decided; `None` for the defaults.
    pub by: Option<Place>,
}

/// Whether clients of an owner may take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// They may.
    Admitted,
    /// All that they ask for is refused.
    Refused,
}

/// Whether an update needs an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The update begins and goes on without it.
    Optional,
    /// At least one of its clients must be ready.
    Required,
}

/// The fate of outgoing sessions whose client has died before it was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    /// They are closed, since their memory would stay pinned for nothing.
    Close,
    /// They are kept for the next process of the owner.
    Keep,
}

/// The fate of sessions that no client has claimed when the next update comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclaimed {
    /// They end with this kernel.
    Leave,
    /// Their files are preserved again.
    Carry,
}

/// The sessions of an owner, unless a rule says otherwise.
const SESSIONS: u32 = 16;

impl Decision {
    /// The decision by `rule`, and by the defaults in all that it leaves out.
    pub(super) fn new(owner: &Owner, rule: Option<&Rule>, default_deadline: Duration) -> Self {
        let by = rule.map(|rule| rule.place.clone());
        let settings = rule.map(|rule| rule.settings).unwrap_or_default();
        // System services were chosen by the administrator; other users have to be.
        let is_trusted = matches!(owner, Owner::Unit(_) | Owner::User(0));
        Self {
            admission: if settings.participate.unwrap_or(is_trusted) {
                Admission::Admitted
            } else {
                Admission::Refused
            },
            sessions: settings.sessions.unwrap_or(SESSIONS),
            presence: match settings.required {
                Some(true) => Presence::Required,
                Some(false) | None => Presence::Optional,
            },
            longest_deadline: settings
                .longest_deadline
                .unwrap_or_else(|| default_deadline.saturating_mul(2)),
            on_failure: settings.on_failure.unwrap_or_default(),
            unready: match settings.keep {
                Some(true) => Unready::Keep,
                Some(false) | None => Unready::Close,
            },
            unclaimed: match settings.carry {
                Some(true) => Unclaimed::Carry,
                Some(false) | None => Unclaimed::Leave,
            },
            by,
        }
    }
}

impl From<&Decision> for update::Rule {
    fn from(decision: &Decision) -> Self {
        Self { on_failure: decision.on_failure, longest: decision.longest_deadline }
    }
}
