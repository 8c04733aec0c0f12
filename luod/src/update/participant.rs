// SPDX-License-Identifier: MIT OR Apache-2.0

//! Clients that take part in updates.

use std::time::Duration;

use super::{Reason, Time};
use crate::owner::Owner;

/// What the failure of a client means for the update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The update is off.
    #[default]
    Fail,
    /// The update goes on without the client.
    Drop,
}

/// The rule of the policy for a client.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What its failure means.
    pub on_failure: OnFailure,
    /// The longest time that it may take, extensions included.
    pub longest: Duration,
}

/// The answer of a client to the update in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was not asked.
    NotAsked,
    /// It was asked, and has not answered.
    Asked {
        /// When it was asked.
        since: Time,
        /// When it is late.
        until: Time,
    },
    /// It is ready.
    Ready,
    /// The update goes on without it, for this reason.
    Failed(Reason),
}

/// A client.
#[derive(Debug)]
pub(super) struct Participant {
    pub(super) owner: Owner,
    pub(super) rule: Rule,
    pub(super) answer: Answer,
    pub(super) is_connected: bool,
}

impl Participant {
    pub(super) fn new(owner: Owner, rule: Rule) -> Self {
        Self { owner, rule, answer: Answer::NotAsked, is_connected: true }
    }

    /// It is asked, and has so much time, or as much as its rule allows.
    pub(super) fn ask(&mut self, now: Time, time: Duration) -> Time {
        let until = now.after(time.min(self.rule.longest));
        self.answer = Answer::Asked { since: now, until };
        until
    }

    /// It wants to have time up to `wanted`, and gets as much as its rule allows.
    pub(super) fn extend(&mut self, wanted: Time) -> Time {
        let longest = self.rule.longest;
        match &mut self.answer {
            Answer::Asked { since, until } => {
                *until = wanted.min(since.after(longest)).max(*until);
                *until
            }
            _ => wanted,
        }
    }

    /// When it is late; `None` if no answer is awaited.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.answer {
            Answer::Asked { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Whether it was asked in this update, is still there, and was not told that it is out.
    pub(super) fn is_told(&self) -> bool {
        self.is_connected && matches!(self.answer, Answer::Asked { .. } | Answer::Ready)
    }
}
