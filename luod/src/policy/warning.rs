// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is legal but unwise.

use std::fmt;
use std::time::Duration;

use humantime::format_duration;

use super::rule::Rule;
use super::{File, Place, Policy};
use crate::update::OnFailure;

/// Something in a file that is legal but unwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line.
    pub place: Place,
    /// The key, such as `rule[0].required`.
    pub key: String,
    /// The reason.
    pub caution: Caution,
}

/// Why something is unwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caution {
    /// An earlier rule matches all owners of this one.
    NeverMatches {
        /// The earlier rule.
        earlier: Place,
    },
    /// The rule gives settings to owners that do not take part by default, and does not admit them.
    NotAdmitted,
    /// No update can begin: the owner is required, and must not take part.
    RequiredButRefused,
    /// The update goes on without a client that has failed, only to stop because its owner is required.
    RequiredButDropped,
    /// An owner that takes part has no session to hand over.
    NoSessions,
    /// Clients get less time than an update gives by default.
    ShorterThanDefault {
        /// The time that an update gives.
        default: Duration,
    },
    /// Clients cannot use all of the time, since the phase ends before.
    LongerThanPhase {
        /// The longest time of the phase.
        phase: Duration,
    },
}

/// Places of settings about which there can be a warning.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) default_deadline: Option<Place>,
    pub(super) longest_prepare: Option<Place>,
    /// One for each rule of the policy.
    pub(super) rules: Vec<RuleMarks>,
}

/// Those of a rule.
#[derive(Debug)]
pub(super) struct RuleMarks {
    pub(super) sessions: Option<Place>,
    pub(super) required: Option<Place>,
    pub(super) longest_deadline: Option<Place>,
    /// The place of the rule among those of its file.
    pub(super) index: usize,
}

/// All that is unwise in a policy, in the order of its files.
pub(super) fn all(policy: &Policy, marks: &Marks, files: &[File]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let phase = policy.limits.prepare;
    // The last file that has set one of the two has made them so.
    let order = |place: &Place| {
        let file = files.iter().position(|file| file.path == place.path);
        (file.unwrap_or(files.len()), place.line)
    };
    let times = [
        (&marks.default_deadline, "update.default-deadline"),
        (&marks.longest_prepare, "update.longest-prepare"),
    ];
    let times = times.into_iter().filter_map(|(place, key)| Some((place.clone()?, key)));
    if policy.default_deadline > phase
        && let Some((place, key)) = times.max_by_key(|(place, _)| order(place))
    {
        let caution = Caution::LongerThanPhase { phase };
        warnings.push(Warning { place, key: key.into(), caution });
    }
    for (at, (rule, marks)) in policy.rules.iter().zip(&marks.rules).enumerate() {
        let earlier = policy.rules.iter().take(at);
        let covering = earlier.into_iter().find(|earlier| earlier.subject.covers(&rule.subject));
        match covering {
            Some(earlier) => {
                let caution = Caution::NeverMatches { earlier: earlier.place.clone() };
                let (place, key) = (rule.place.clone(), format!("rule[{}]", marks.index));
                warnings.push(Warning { place, key, caution });
            }
            None => of_rule(rule, marks, policy, &mut warnings),
        }
    }
    warnings.sort_by_key(|warning| order(&warning.place));
    warnings
}

/// All that is unwise in a rule that matches some owners.
fn of_rule(rule: &Rule, marks: &RuleMarks, policy: &Policy, warnings: &mut Vec<Warning>) {
    let settings = rule.settings;
    let mut warn = |place: &Option<Place>, name: &str, caution| {
        let place = place.clone().unwrap_or_else(|| rule.place.clone());
        let dot = if name.is_empty() { "" } else { "." };
        let key = format!("rule[{}]{dot}{name}", marks.index);
        warnings.push(Warning { place, key, caution });
    };
    let is_admitted = settings.participate.unwrap_or(!rule.subject.is_refused_by_default());
    if settings.participate.is_none() && !is_admitted {
        warn(&None, "", Caution::NotAdmitted);
    }
    if settings.required == Some(true) {
        if settings.participate == Some(false) {
            warn(&marks.required, "required", Caution::RequiredButRefused);
        } else if settings.on_failure == Some(OnFailure::Drop) {
            warn(&marks.required, "required", Caution::RequiredButDropped);
        }
    }
    if is_admitted && settings.sessions == Some(0) {
        warn(&marks.sessions, "sessions", Caution::NoSessions);
    }
    if let Some(longest) = settings.longest_deadline {
        let (default, phase) = (policy.default_deadline, policy.limits.prepare);
        if longest < default {
            let caution = Caution::ShorterThanDefault { default };
            warn(&marks.longest_deadline, "longest-deadline", caution);
        } else if longest > phase {
            let caution = Caution::LongerThanPhase { phase };
            warn(&marks.longest_deadline, "longest-deadline", caution);
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.key, self.caution)
    }
}

impl fmt::Display for Caution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverMatches { earlier } => {
                write!(f, "the rule never matches, since that of {earlier} matches first")
            }
            Self::NotAdmitted => f.write_str(
                "users other than root take part only with `participate = true`; if they must not, write \
                 `participate = false`",
            ),
            Self::RequiredButRefused => f.write_str(
                "no update can begin, since `participate = false` keeps out what is required",
            ),
            Self::RequiredButDropped => f.write_str(
                "a failure stops the update all the same, in spite of `on-failure = \"drop\"`, unless \
                 another client of the owner is ready",
            ),
            Self::NoSessions => f.write_str(
                "a client without sessions hands nothing over; `participate = false` keeps it out",
            ),
            Self::ShorterThanDefault { default } => {
                let default = format_duration(*default);
                write!(f, "clients get less time than `default-deadline`, {default}")
            }
            Self::LongerThanPhase { phase } => {
                let phase = format_duration(*phase);
                write!(f, "clients get no more time than `longest-prepare`, {phase}")
            }
        }
    }
}
