// SPDX-License-Identifier: MIT OR Apache-2.0

//! How long a client that is ready stands still when its agent has gone.

use std::time::{Duration, Instant};

use super::{Event, Participant};
use crate::{ErrorKind, Result};

/// For so long an agent may be away that had not said yet how its update ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client that is ready knows of the update, and whether it stands still on when the agent hangs up.
///
/// A shutdown goes on without the agent that has delayed it, so an update may still be on. Only an agent that does not
/// leave the kernel lets a client take part again, or looks at its policy ([`ErrorKind::Refused`]). One that leaves says
/// [`ErrorKind::Leaving`].
///
/// ```no_run
/// # use liblu::{Agent, Error, Participant, Standstill};
/// fn take_part_again(standstill: &mut Standstill) -> Result<Participant, Error> {
///     let joined = Agent::new().participate(&["vm-17"], None);
///     if standstill.is_over(&joined) {
///         // As after `Event::Abort`: the guest goes on.
///     }
///     joined
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standstill(Update);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Update {
    /// The agent is there, and says how it ends. Or there is no update.
    #[default]
    Followed,
    /// The agent has gone before it said anything. If none is back by this time, there is no update.
    Unknown(Instant),
    /// The kernel is left, the agent has said.
    Committed,
}

impl Standstill {
    /// An event has come.
    ///
    /// ```
    /// let mut standstill = liblu::Standstill::default();
    /// standstill.heard(&liblu::Event::Commit { generation: 7 });
    /// assert_ne!(standstill, liblu::Standstill::default());
    /// ```
    pub fn heard(&mut self, event: &Event) {
        self.0 = match event {
            Event::Commit { .. } => Update::Committed,
            Event::Prepare { .. } | Event::Abort { .. } => Update::Followed,
        };
    }

    /// The agent has hung up while the client was ready.
    ///
    /// ```
    /// let mut standstill = liblu::Standstill::default();
    /// standstill.hung_up();
    /// assert_ne!(standstill, liblu::Standstill::default());
    /// ```
    pub fn hung_up(&mut self) {
        if self.0 == Update::Followed {
            let now = Instant::now();
            self.0 = Update::Unknown(now.checked_add(PATIENCE).unwrap_or(now));
        }
    }

    /// Whether the update is off, now that the client has tried to take part again. If so, it is forgotten.
    ///
    /// ```
    /// let mut standstill = liblu::Standstill::default();
    /// // There was no update.
    /// assert!(!standstill.is_over(&liblu::Agent::at("/nowhere").participate(&["vm-17"], None)));
    /// ```
    #[must_use]
    pub fn is_over(&mut self, joined: &Result<Participant>) -> bool {
        let error = joined.as_ref().err().map(crate::Error::kind);
        let is_over = match (self.0, error) {
            (Update::Followed, _) => false,
            (_, None | Some(ErrorKind::Refused)) => true,
            (_, Some(ErrorKind::Leaving)) => {
                self.0 = Update::Committed;
                false
            }
            (Update::Unknown(until), Some(_)) => until <= Instant::now(),
            (Update::Committed, Some(_)) => false,
        };
        if is_over {
            self.0 = Update::Followed;
        }
        is_over
    }

    /// As if the agent had been away for long, unless the kernel is left.
    #[cfg(test)]
    pub(crate) fn wait_no_longer(&mut self) {
        if let Update::Unknown(until) = &mut self.0 {
            *until = Instant::now();
        }
    }
}
