// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rules, with all names resolved.

use std::time::Duration;

use super::Place;
use super::pattern::Pattern;
use crate::owner::Owner;
use crate::update::OnFailure;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The line on which it begins.
    pub(super) place: Place,
    pub(super) subject: Subject,
    pub(super) settings: Settings,
}

/// The owners that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    All,
    Unit(Pattern),
    User(u32),
    /// Users that are members.
    Group(u32),
}

/// The settings of a rule. `None` is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) participate: Option<bool>,
    pub(super) sessions: Option<u32>,
    pub(super) required: Option<bool>,
    pub(super) longest_deadline: Option<Duration>,
    pub(super) on_failure: Option<OnFailure>,
    pub(super) keep: Option<bool>,
    pub(super) carry: Option<bool>,
}

impl Subject {
    /// Whether the rule is for this owner, whose groups count if it is a user.
    pub(super) fn matches(&self, owner: &Owner, gids: &[u32]) -> bool {
        match (self, owner) {
            (Self::All, _) => true,
            (Self::Unit(pattern), Owner::Unit(name)) => pattern.matches(name),
            (Self::User(uid), Owner::User(of)) => uid == of,
            (Self::Group(gid), Owner::User(_)) => gids.contains(gid),
            (Self::Unit(_), Owner::User(_)) | (Self::User(_) | Self::Group(_), Owner::Unit(_)) => {
                false
            }
        }
    }

    /// Whether all owners of the other subject are known to be among those of this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Unit(pattern), Self::Unit(other)) => pattern.covers(other),
            (one, other) => one == other,
        }
    }

    /// The owner, if there is only one.
    pub(super) fn owner(&self) -> Option<Owner> {
        match self {
            Self::Unit(Pattern::Name(name)) => Some(Owner::Unit(name.clone())),
            Self::User(uid) => Some(Owner::User(*uid)),
            Self::All | Self::Unit(Pattern::Glob(_)) | Self::Group(_) => None,
        }
    }

    /// Whether none of its owners takes part by default.
    pub(super) fn is_refused_by_default(&self) -> bool {
        match self {
            Self::All | Self::Unit(_) | Self::User(0) => false,
            Self::User(_) | Self::Group(_) => true,
        }
    }
}
