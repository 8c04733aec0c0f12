// SPDX-License-Identifier: MIT OR Apache-2.0

//! Clients that take part in updates.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::error::{committing, invalid_label};
use super::{Agent, Member, State};
use crate::registry::Direction;
use crate::system::peer::Peer;
use crate::update::{AnswerError, Generation, ParticipantId, Phase};
use crate::varlink::agent::{Error, Event};

/// A client takes part as long as this value is there.
#[derive(Debug)]
pub struct Participation {
    agent: Rc<Agent>,
    id: ParticipantId,
    /// The events, in order. They end when the client has left too many of them unread.
    pub events: mpsc::Receiver<Event>,
}

/// The most characters of a reason that are told to others.
const REASON: usize = 500;

impl Drop for Participation {
    fn drop(&mut self) {
        let id = self.id;
        self.agent.change(|state| {
            state.members.remove(&id);
            let now = state.now();
            state.machine.gone(now, id);
        });
    }
}

impl Agent {
    /// A client takes part in updates from now on. Its first event says its number.
    ///
    /// # Errors
    ///
    /// Those of `Participate()` in the interface.
    pub fn participate(
        self: &Rc<Self>,
        peer: &Peer,
        labels: &[String],
    ) -> Result<Participation, Error> {
        // First, so that any other error says that the kernel is not left.
        self.state().may_join()?;
        let decision = self.admit(peer)?;
        let parsed = labels.iter().map(|it| it.parse().map_err(|error| invalid_label(it, error)));
        let labels = parsed.collect::<Result<Vec<_>, _>>()?;
        let (queue, events) = mpsc::channel(self.config.unread);
        let id = self.change(|state| {
            let now = state.now();
            let owner = peer.owner.clone();
            if state.generation().is_none() {
                state.custody.takes_part(&owner, &labels);
            }
            let id = state.machine.join(now, owner.clone(), (&decision).into());
            // The queue is empty, so there is room.
            let _ = queue.try_send(Event { participant: Some(id.0), ..Event::default() });
            state.members.insert(id, Member { owner, labels, queue });
            id
        });
        self.mark_dirty();
        Ok(Participation { agent: Rc::clone(self), id, events })
    }

    /// A participant is ready.
    ///
    /// # Errors
    ///
    /// Those of `Ready()` in the interface.
    pub fn ready(self: &Rc<Self>, peer: &Peer, id: u64, generation: u64) -> Result<(), Error> {
        let id = self.participant(peer, id)?;
        self.check_sessions(id)?;
        self.change(|state| {
            let now = state.now();
            state.machine.ready(now, id, Generation(generation)).map_err(answer)?;
            if let Some(member) = state.members.get(&id) {
                state.custody.ready(&member.owner, &member.labels);
            }
            Ok::<_, Error>(())
        })?;
        self.mark_dirty();
        Ok(())
    }

    /// A participant cannot take part.
    ///
    /// # Errors
    ///
    /// Those of `Refuse()` in the interface.
    pub fn refuse(
        self: &Rc<Self>,
        peer: &Peer,
        id: u64,
        generation: u64,
        reason: &str,
    ) -> Result<(), Error> {
        let id = self.participant(peer, id)?;
        let reason = reason.chars().filter(|it| !it.is_control()).take(REASON).collect();
        self.change(|state| {
            let now = state.now();
            state.machine.refuse(now, id, Generation(generation), reason).map_err(answer)
        })
    }

    /// A participant needs more time. The result is the time that it has.
    ///
    /// # Errors
    ///
    /// Those of `Extend()` in the interface.
    pub fn extend(
        self: &Rc<Self>,
        peer: &Peer,
        id: u64,
        generation: u64,
        time: Duration,
    ) -> Result<Duration, Error> {
        let id = self.participant(peer, id)?;
        self.change(|state| {
            let now = state.now();
            state.machine.extend(now, id, Generation(generation), time).map_err(answer)
        })
    }

    /// Checks that luod has all sessions of a participant: one that it does not have would not cross, and its client
    /// would believe so.
    fn check_sessions(&self, id: ParticipantId) -> Result<(), Error> {
        let state = self.state();
        let Some(member) = state.members.get(&id) else { return Ok(()) };
        for label in &member.labels {
            let is_there =
                state.custody.registry().find(&member.owner, label, Direction::Outgoing).is_some();
            let is_stored = || {
                let name = member.owner.session_name(label).ok();
                state
                    .unknown
                    .iter()
                    .any(|it| name.as_ref().is_some_and(|name| it.is(name, Direction::Outgoing)))
            };
            // Without a service manager, a luod that was killed leaves sessions to their clients, who take them to
            // the next kernel themselves.
            if !is_there && state.store.is_managed() && !is_stored() {
                let message = format!(
                    "luod does not have session {:?}, so it would not cross; open it again",
                    label.as_str()
                );
                return Err(Error::NotOpen { message, label: label.as_str().into() });
            }
        }
        Ok(())
    }

    /// A participant by its number, which is one of the peer's owner.
    fn participant(&self, peer: &Peer, id: u64) -> Result<ParticipantId, Error> {
        let id = ParticipantId(id);
        let state = self.state();
        let is_theirs = state.members.get(&id).is_some_and(|it| it.owner == peer.owner);
        if is_theirs { Ok(id) } else { Err(answer(AnswerError::NoSuchParticipant(id))) }
    }
}

impl State {
    /// Whether a client may take part from now on. One that was ready takes it for the end of that update, and works on:
    /// not while its sessions are on their way, nor for a luod that was started again on that way.
    fn may_join(&self) -> Result<(), Error> {
        let is_leaving = match self.machine.phase() {
            Phase::Committing { .. } => true,
            Phase::Preparing { .. } | Phase::Freezing { .. } => false,
            Phase::Idle | Phase::Loaded => self.is_shutting_down,
        };
        if is_leaving { Err(Error::Committing { message: committing() }) } else { Ok(()) }
    }
}

fn answer(error: AnswerError) -> Error {
    let message = error.to_string();
    match error {
        AnswerError::NoSuchParticipant(id) => {
            Error::NoSuchParticipant { message, participant: id.0 }
        }
        AnswerError::Stale { current } => {
            Error::StaleGeneration { message, current: current.map(|it| it.0) }
        }
        AnswerError::Answered => Error::StaleGeneration { message, current: None },
    }
}
