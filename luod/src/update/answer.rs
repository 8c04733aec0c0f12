// SPDX-License-Identifier: MIT OR Apache-2.0

//! The answers of clients.

use std::time::Duration;

use super::participant::Answer;
use super::{Action, AnswerError, Generation, Machine, ParticipantId, Reason, Step, Time};

impl Machine {
    /// A client is ready.
    ///
    /// # Errors
    ///
    /// [`AnswerError`].
    pub fn ready(
        &mut self,
        now: Time,
        id: ParticipantId,
        generation: Generation,
    ) -> Result<(), AnswerError> {
        self.asked(id, generation)?;
        self.participants.change(id, |it| it.answer = Answer::Ready);
        self.actions.push_back(Action::Changed);
        self.settle(now);
        Ok(())
    }

    /// A client cannot take part.
    ///
    /// # Errors
    ///
    /// [`AnswerError`].
    pub fn refuse(
        &mut self,
        now: Time,
        id: ParticipantId,
        generation: Generation,
        reason: String,
    ) -> Result<(), AnswerError> {
        self.asked(id, generation)?;
        self.fail(now, id, Reason::Refused(reason));
        Ok(())
    }

    /// A client needs so much time from now on. It gets as much as its rule allows, and the phase.
    ///
    /// # Errors
    ///
    /// [`AnswerError`].
    pub fn extend(
        &mut self,
        now: Time,
        id: ParticipantId,
        generation: Generation,
        time: Duration,
    ) -> Result<Duration, AnswerError> {
        let until = self.update.as_ref().map_or(now, |update| update.until);
        self.asked(id, generation)?;
        let extended = self.participants.change(id, |it| it.extend(now.after(time)));
        let deadline = extended.unwrap_or(until).min(until);
        self.actions.push_back(Action::Changed);
        Ok(now.until(deadline))
    }

    /// Whether an answer to this update is awaited of the client.
    fn asked(&self, id: ParticipantId, generation: Generation) -> Result<(), AnswerError> {
        let preparing = self.update.as_ref().filter(|update| update.step == Step::Preparing);
        let current = preparing.map(|update| update.generation);
        let participant = self.participants.get(id).filter(|it| it.is_connected);
        let participant = participant.ok_or(AnswerError::NoSuchParticipant(id))?;
        if current != Some(generation) {
            return Err(AnswerError::Stale { current });
        }
        if participant.deadline().is_none() {
            return Err(AnswerError::Answered);
        }
        Ok(())
    }
}
