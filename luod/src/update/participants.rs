// SPDX-License-Identifier: MIT OR Apache-2.0

//! All clients that take part in updates, and which of them an answer is awaited of.

use std::collections::{BTreeMap, BTreeSet};

use super::participant::{Answer, Participant};
use super::{ParticipantId, Time};

/// All clients. Those that are asked are found without looking at the others, so that an update costs no more for
/// a client among many.
#[derive(Debug, Default)]
pub(super) struct Participants {
    all: BTreeMap<ParticipantId, Participant>,
    /// Those that have not answered, by the time when they are late.
    asked: BTreeSet<(Time, ParticipantId)>,
}

impl Participants {
    pub(super) fn insert(&mut self, id: ParticipantId, participant: Participant) {
        self.remove(id);
        self.asked.extend(participant.deadline().map(|deadline| (deadline, id)));
        self.all.insert(id, participant);
    }

    pub(super) fn remove(&mut self, id: ParticipantId) {
        let removed = self.all.remove(&id);
        if let Some(deadline) = removed.and_then(|it| it.deadline()) {
            self.asked.remove(&(deadline, id));
        }
    }

    pub(super) fn get(&self, id: ParticipantId) -> Option<&Participant> {
        self.all.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ParticipantId, &Participant)> {
        self.all.iter().map(|(id, it)| (*id, it))
    }

    /// Changes one.
    pub(super) fn change<T>(
        &mut self,
        id: ParticipantId,
        change: impl FnOnce(&mut Participant) -> T,
    ) -> Option<T> {
        let participant = self.all.get_mut(&id)?;
        let before = participant.deadline();
        let result = change(participant);
        let after = participant.deadline();
        if before != after {
            if let Some(before) = before {
                self.asked.remove(&(before, id));
            }
            self.asked.extend(after.map(|after| (after, id)));
        }
        Some(result)
    }

    /// Those of whom an answer is awaited, the first to be late first.
    pub(super) fn asked(&self) -> impl Iterator<Item = (Time, ParticipantId)> {
        self.asked.iter().copied()
    }

    /// No update is in progress any more: those that are gone are forgotten, the others are not asked.
    pub(super) fn end_update(&mut self) {
        self.asked.clear();
        self.all.retain(|_, it| it.is_connected);
        self.all.values_mut().for_each(|it| it.answer = Answer::NotAsked);
    }
}
