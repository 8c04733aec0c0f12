// SPDX-License-Identifier: MIT OR Apache-2.0

//! The state machine of an update, without I/O and without a clock of its own.
//!
//! ```text
//!            load            begin                 all answered        frozen
//!   Idle <--------> Loaded --------> Preparing ------------> Freezing ---------> Committing
//!           unload     ^                  |                     |                    |
//!                      +------- abort: refusal, crash, deadline, cancel, failure ----+
//! ```
//!
//! Every phase but the first two has a deadline: nothing that a client does or leaves undone holds the
//! machine up for ever. Methods change the state and put [`Action`]s into a queue, in order; the caller
//! carries them out.
//!
//! Clients join and leave at any time. A client that joins while an update is being prepared is asked at
//! once, with the time that is left. A client that has said that it is ready stays so if it is gone
//! later, since its sessions are in custody.

use std::collections::VecDeque;
use std::time::Duration;

use crate::owner::Owner;

mod action;
mod answer;
mod leave;
mod participant;
mod participants;
mod words;

pub use action::{Action, Method, Reason};
pub use participant::{Answer, OnFailure, Rule};
pub use words::{
    AnswerError, BeginError, CancelError, Generation, Limits, Order, ParticipantId, Phase, Time,
};

use participant::Participant;
use participants::Participants;

/// The state machine. See the [module](self).
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    is_loaded: bool,
    /// The update, if one is in progress.
    update: Option<Update>,
    last_generation: u64,
    last_participant: u64,
    participants: Participants,
    actions: VecDeque<Action>,
}

/// An update that is in progress.
#[derive(Debug)]
struct Update {
    generation: Generation,
    order: Order,
    step: Step,
    /// When the step ends by itself.
    until: Time,
    /// When clients are asked no more.
    last_call: Time,
    /// The number of times that sessions were frozen: a client that joins late sends the update back.
    freezes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Preparing,
    Freezing,
    Committing,
}

impl Machine {
    /// A machine at rest. Generations go on behind `last`, which an earlier luod has used.
    pub fn new(limits: Limits, last: Generation) -> Self {
        Self {
            limits,
            is_loaded: false,
            update: None,
            last_generation: last.0,
            last_participant: 0,
            participants: Participants::default(),
            actions: VecDeque::new(),
        }
    }

    /// Generations up to `last` were used by an earlier luod.
    pub fn skip(&mut self, last: Generation) {
        self.last_generation = self.last_generation.max(last.0);
    }

    /// The next thing to do, in order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Machine::tick`] must be called at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let update = self.update.as_ref()?;
        let first = self.participants.asked().next().filter(|_| update.step == Step::Preparing);
        Some(first.map_or(update.until, |(first, _)| first.min(update.until)))
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        match &self.update {
            Some(Update { step: Step::Preparing, until, .. }) => Phase::Preparing { until: *until },
            Some(Update { step: Step::Freezing, until, .. }) => Phase::Freezing { until: *until },
            Some(Update { step: Step::Committing, until, .. }) => {
                Phase::Committing { until: *until }
            }
            None if self.is_loaded => Phase::Loaded,
            None => Phase::Idle,
        }
    }

    /// The update that is in progress.
    pub fn generation(&self) -> Option<Generation> {
        self.update.as_ref().map(|update| update.generation)
    }

    /// How the kernel is left by the update that is in progress.
    pub fn method(&self) -> Option<Method> {
        self.update.as_ref().map(|update| update.order.method)
    }

    /// The time that a client has left for its answer; `None` if none is awaited of it.
    pub fn left(&self, now: Time, id: ParticipantId) -> Option<Duration> {
        let deadline = self.participants.get(id)?.deadline()?;
        let until = self.update.as_ref().map_or(deadline, |update| update.until);
        Some(now.until(deadline.min(until)))
    }

    /// Clients that were asked and have not answered, with their owners.
    pub fn awaited(&self) -> impl Iterator<Item = (ParticipantId, &Owner)> {
        let owner = |id| self.participants.get(id).map(|it| &it.owner);
        self.participants.asked().filter_map(move |(_, id)| Some((id, owner(id)?)))
    }

    /// The answer of a client to the update in progress.
    pub fn answer(&self, id: ParticipantId) -> Option<&Answer> {
        self.participants.get(id).map(|it| &it.answer)
    }

    /// A kernel was loaded, in place of another one if need be. An update in progress is called off: its
    /// clients were asked for another kernel.
    pub fn loaded(&mut self) {
        self.is_loaded = true;
        self.abort_unless_committing(Reason::OtherKernel);
    }

    /// Another kernel is going to be loaded. An update in progress is called off.
    pub fn loading(&mut self) {
        self.abort_unless_committing(Reason::OtherKernel);
    }

    /// The limits change, for the next phase.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The kernel was unloaded.
    pub fn unloaded(&mut self) {
        self.is_loaded = false;
        self.abort_unless_committing(Reason::Unloaded);
    }

    /// Begins an update: all clients are asked.
    ///
    /// # Errors
    ///
    /// [`BeginError`].
    pub fn begin(&mut self, now: Time, order: Order) -> Result<Generation, BeginError> {
        if !self.is_loaded {
            return Err(BeginError::NotLoaded);
        }
        if self.update.is_some() {
            return Err(BeginError::InProgress);
        }
        self.last_generation = self.last_generation.saturating_add(1);
        let generation = Generation(self.last_generation);
        // Others that leave the kernel do not wait longer than for each client.
        let until = match order.method {
            Method::Elsewhere => now.after(order.deadline.min(self.limits.prepare)),
            Method::Systemctl | Method::Now => now.after(self.limits.prepare),
        };
        let step = Step::Preparing;
        self.update = Some(Update { generation, order, step, until, last_call: until, freezes: 0 });
        let all: Vec<_> = self.participants.iter().map(|(id, _)| id).collect();
        for id in all {
            self.ask(now, id);
        }
        self.actions.push_back(Action::Changed);
        self.settle(now);
        Ok(generation)
    }

    /// A client takes part from now on.
    pub fn join(&mut self, now: Time, owner: Owner, rule: Rule) -> ParticipantId {
        self.last_participant = self.last_participant.saturating_add(1);
        let id = ParticipantId(self.last_participant);
        self.participants.insert(id, Participant::new(owner, rule));
        self.actions.push_back(Action::Changed);
        let Some(update) = self.update.as_ref().filter(|update| now < update.last_call) else {
            return id;
        };
        let generation = update.generation;
        match update.step {
            Step::Preparing => self.ask(now, id),
            // Its guest must not be left behind.
            Step::Freezing => {
                self.actions.push_back(Action::Thaw { generation });
                self.enter(now, Step::Preparing);
                self.ask(now, id);
            }
            // It has no session that could be handed over, and can have none any more.
            Step::Committing => {}
        }
        id
    }

    /// A client does not take part any more: it has closed its connection, or has ended.
    pub fn gone(&mut self, now: Time, id: ParticipantId) {
        let Some(participant) = self.participants.get(id) else { return };
        let is_asked = participant.deadline().is_some();
        let is_ready = participant.answer == Answer::Ready && self.update.is_some();
        self.actions.push_back(Action::Changed);
        if !is_asked && !is_ready {
            self.participants.remove(id);
            return;
        }
        // The sessions of one that is ready are in custody, and it may be needed until the end.
        self.participants.change(id, |it| it.is_connected = false);
        if is_asked {
            self.fail(now, id, Reason::Gone);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        let Some(update) = &self.update else { return };
        let is_over = update.until <= now;
        match update.step {
            Step::Preparing => {
                let late = |end: &Time| is_over || *end <= now;
                let all = self.participants.asked().take_while(|(end, _)| late(end));
                let all: Vec<_> = all.collect();
                for (_, id) in all {
                    // Without effect if the failure of another has ended the update.
                    self.fail(now, id, Reason::Late);
                }
            }
            Step::Freezing if is_over => self.abort(Reason::FreezeLate),
            Step::Committing if is_over => self.abort(Reason::StillHere),
            Step::Freezing | Step::Committing => {}
        }
    }

    /// Calls the update off.
    ///
    /// # Errors
    ///
    /// [`CancelError`].
    pub fn cancel(&mut self) -> Result<(), CancelError> {
        match self.update.as_ref().map(|update| update.step) {
            None => Err(CancelError::NoUpdate),
            Some(Step::Committing) => Err(CancelError::Committing),
            Some(Step::Preparing | Step::Freezing) => {
                self.abort(Reason::Cancelled);
                Ok(())
            }
        }
    }

    /// The answer to [`Action::Freeze`]: sessions are frozen, or why not. The answer to an earlier one has
    /// no effect.
    pub fn frozen(
        &mut self,
        now: Time,
        generation: Generation,
        attempt: u32,
        outcome: Result<(), String>,
    ) {
        let is_this = self.update.as_ref().is_some_and(|update| update.freezes == attempt);
        if !is_this || !self.is_in(generation, Step::Freezing) {
            return;
        }
        if let Err(why) = outcome {
            self.abort(Reason::FreezeFailed(why));
            return;
        }
        self.enter(now, Step::Committing);
        let connected = self.participants.iter().filter(|(_, it)| it.is_told());
        // The queue had as many to ask before, so it does not grow now, when every moment counts.
        self.actions.extend(connected.map(|(to, _)| Action::Commit { to, generation }));
        if let Some(update) = &self.update {
            self.actions.push_back(Action::Leave { method: update.order.method, generation });
        }
    }

    fn is_in(&self, generation: Generation, step: Step) -> bool {
        let update = self.update.as_ref();
        update.is_some_and(|update| update.generation == generation && update.step == step)
    }

    /// Asks a client.
    fn ask(&mut self, now: Time, id: ParticipantId) {
        let Some(update) = &self.update else { return };
        let time = update.order.deadline;
        let Some(deadline) = self.participants.change(id, |it| it.ask(now, time)) else { return };
        let (generation, left) = (update.generation, now.until(deadline.min(update.until)));
        self.actions.push_back(Action::Prepare { to: id, generation, left });
    }

    /// A client has failed: the update is off, or goes on without it.
    fn fail(&mut self, now: Time, id: ParticipantId, reason: Reason) {
        let Some(update) = &self.update else { return };
        let generation = update.generation;
        let Some(participant) = self.participants.get(id) else { return };
        if participant.deadline().is_none() {
            return;
        }
        let owner = participant.owner.clone();
        let on_failure = match update.order.method {
            Method::Elsewhere => OnFailure::Drop,
            Method::Systemctl | Method::Now => participant.rule.on_failure,
        };
        match on_failure {
            OnFailure::Fail => {
                self.abort(Reason::Participant { owner, why: Box::new(reason) });
            }
            OnFailure::Drop => {
                let is_connected = participant.is_connected;
                self.participants.change(id, |it| it.answer = Answer::Failed(reason.clone()));
                if is_connected {
                    self.actions.push_back(Action::Abort {
                        to: id,
                        generation,
                        reason: reason.clone(),
                    });
                } else {
                    self.participants.remove(id);
                }
                self.actions.push_back(Action::GoOnWithout { id, owner, reason });
                self.actions.push_back(Action::Changed);
                self.settle(now);
            }
        }
    }

    /// Goes on if all have answered.
    fn settle(&mut self, now: Time) {
        let Some(update) = self.update.as_ref().filter(|it| it.step == Step::Preparing) else {
            return;
        };
        if self.participants.asked().next().is_some() {
            return;
        }
        let generation = update.generation;
        let is_ready = |owner: &Owner| {
            self.participants.iter().any(|(_, it)| it.answer == Answer::Ready && it.owner == *owner)
        };
        let missing = update.order.required.iter().find(|owner| !is_ready(owner)).cloned();
        let missing = missing.filter(|_| update.order.method != Method::Elsewhere);
        if let Some(owner) = missing {
            self.abort(Reason::Missing(owner));
            return;
        }
        self.enter(now, Step::Freezing);
        if let Some(update) = &mut self.update {
            update.freezes = update.freezes.saturating_add(1);
            self.actions.push_back(Action::Freeze { generation, attempt: update.freezes });
        }
    }

    /// Goes to another step.
    fn enter(&mut self, now: Time, step: Step) {
        let limits = self.limits;
        if let Some(update) = &mut self.update {
            update.step = step;
            update.until = match step {
                Step::Preparing => update.last_call,
                Step::Freezing => now.after(limits.freeze),
                Step::Committing => now.after(limits.leave),
            };
            self.actions.push_back(Action::Changed);
        }
    }

    fn abort_unless_committing(&mut self, reason: Reason) {
        self.actions.push_back(Action::Changed);
        let step = self.update.as_ref().map(|update| update.step);
        if matches!(step, Some(Step::Preparing | Step::Freezing)) {
            self.abort(reason);
        }
    }

    /// The update is off: all clients that were asked learn so, and go on.
    fn abort(&mut self, reason: Reason) {
        let Some(update) = self.update.take() else { return };
        let generation = update.generation;
        if update.step == Step::Freezing {
            self.actions.push_back(Action::Thaw { generation });
        }
        for (to, participant) in self.participants.iter() {
            if participant.is_told() {
                let reason = reason.clone();
                self.actions.push_back(Action::Abort { to, generation, reason });
            }
        }
        self.participants.end_update();
        self.actions.push_back(Action::Ended { generation, reason });
        self.actions.push_back(Action::Changed);
    }
}

#[cfg(test)]
mod tests;
