// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions as the registry knows them.

use std::time::Duration;

use liblu::SessionName;
use serde::{Deserialize, Serialize};

use crate::label::Label;
use crate::owner::Owner;
use crate::process::Process;
use crate::update::Generation;

/// A session that luod has in custody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(super) owner: Owner,
    pub(super) label: Label,
    /// It was made from a text, so it is UTF-8.
    pub(super) name: SessionName,
    pub(super) state: State,
    pub(super) made_for: Option<Generation>,
    pub(super) opened_by: Option<Process>,
    pub(super) is_kept: bool,
}

/// The direction of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// For the next kernel.
    Outgoing,
    /// Of the previous kernel.
    Incoming,
}

/// The state of a session, which says its direction too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is outgoing, and its client works on it.
    Open,
    /// It is outgoing, and its client has said that it is ready.
    Ready,
    /// It is incoming, and no client has claimed it.
    Waiting,
    /// It is incoming, and this client has claimed it.
    Claimed(Claim),
}

/// The claim of a session. It means nothing on another kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The process that has claimed it.
    #[serde(flatten)]
    pub by: Process,
    #[serde(rename = "sinceBootMSec")]
    since: u64,
}

impl Claim {
    /// A claim of a process at a time since boot.
    pub fn new(by: Process, since: Duration) -> Self {
        // Half a billion years are enough.
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { by, since }
    }

    /// When it has claimed the session, since boot.
    pub fn since(&self) -> Duration {
        Duration::from_millis(self.since)
    }

    /// The longest one when it is written.
    pub(super) const LONGEST: Self =
        Self { by: Process { pid: u32::MAX, inode: u64::MAX }, since: u64::MAX };
}

impl State {
    /// The direction of the session.
    pub fn direction(&self) -> Direction {
        match self {
            Self::Open | Self::Ready => Direction::Outgoing,
            Self::Waiting | Self::Claimed(_) => Direction::Incoming,
        }
    }
}

impl Entry {
    /// A session, with the name that the kernel knows it by. It was made for the update `made_for`, if one
    /// was being prepared.
    ///
    /// # Errors
    ///
    /// Those of [`Owner::session_name`].
    pub fn new(
        owner: Owner,
        label: Label,
        state: State,
        made_for: Option<Generation>,
    ) -> liblu::Result<Self> {
        let name = owner.session_name(&label)?;
        Ok(Self { owner, label, name, state, made_for, opened_by: None, is_kept: false })
    }

    /// The owner.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The label by which the owner knows it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The name by which the kernel knows it. An older luod may have named it in another way.
    pub fn name(&self) -> &SessionName {
        &self.name
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The update for which the session was made, if one was being prepared.
    pub fn made_for(&self) -> Option<Generation> {
        self.made_for
    }

    /// The same session, in another kernel.
    #[must_use]
    pub fn crossed(&self, state: State) -> Self {
        Self { state, made_for: None, opened_by: None, is_kept: false, ..self.clone() }
    }

    /// The process that has opened the session last, if it is outgoing.
    pub fn opened_by(&self) -> Option<Process> {
        self.opened_by
    }

    /// Whether the session stays when its clients end.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// What no two sessions of an owner have in common.
    pub(super) fn key(&self) -> (Label, Direction) {
        (self.label.clone(), self.state.direction())
    }
}
