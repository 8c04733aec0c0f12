// SPDX-License-Identifier: MIT OR Apache-2.0

//! Taking part in updates.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::connection::{Connection, Request};
use super::protocol::{Answer, EventReply, ExtendReply, answer};
use super::wire::broken;
use super::{Agent, Nothing};
use crate::{Error, ErrorKind, Result};

/// An event of an update.
///
/// ```no_run
/// # use liblu::{Error, Event, Handover, Participant, Ready};
/// enum Session {
///     Open(Handover),
///     Ready(Ready),
/// }
///
/// // Whenever the descriptor of `participant` can be read from:
/// fn follow(participant: &mut Participant, mut session: Session) -> Result<Session, Error> {
///     while let Some(event) = participant.next()? {
///         session = match (event, session) {
///             (Event::Prepare { generation, .. }, Session::Open(handover)) => {
///                 // Pause the guest first: this is its last state.
///                 handover.set_state("memory", b"registers")?;
///                 let ready = handover.ready()?;
///                 participant.ready(generation, None)?;
///                 Session::Ready(ready)
///             }
///             // The guest goes on.
///             (Event::Abort { .. }, Session::Ready(ready)) => Session::Open(ready.abort()?),
///             (_, session) => session,
///         };
///     }
///     Ok(session)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An update begins: preserve, pause, and answer before the deadline.
    Prepare {
        /// The number of the update.
        generation: u64,
        /// When the answer must have come.
        deadline: Instant,
    },
    /// The update is off: open the session again with [`Ready::abort`](crate::Ready::abort), and go on.
    Abort {
        /// The number of the update.
        generation: u64,
        /// The reason, for people.
        reason: String,
    },
    /// All are ready, and the kernel is left now. The process may be ended at any time.
    Commit {
        /// The number of the update.
        generation: u64,
    },
}

/// A client that takes part in updates, until this is dropped.
///
/// Its descriptor ([`AsFd`]) can be read from when there is an event: put it into the event loop, and
/// call [`Participant::next`] until it returns `None`. If the agent hangs up, as it does when it is
/// restarted, `next` says so. Take part again. A client that was ready stands still meanwhile, for the kernel may be left
/// all the same: [`Standstill`](crate::Standstill) says for how long. Then act as after [`Event::Abort`].
///
/// ```no_run
/// let participant = liblu::Agent::new().participate(&["vm-17"], None)?;
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Debug)]
pub struct Participant {
    agent: Agent,
    events: Connection,
    number: u64,
}

#[derive(Serialize)]
struct Labels<'a> {
    labels: &'a [&'a str],
}

/// The parameters of an answer to an update.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    participant: u64,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(rename = "timeMSec", skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
}

impl Participant {
    pub(super) fn new(agent: Agent, labels: &[&str], deadline: Option<Instant>) -> Result<Self> {
        let mut events = Connection::open(&agent.path, deadline)?;
        events.send(&Request::of("Participate", Labels { labels }, true)?, deadline)?;
        let first: Answer<EventReply> = events.receive(deadline)?;
        let missing = || broken("a participant gets no number");
        let number = first.value.participant.filter(|_| first.continues).ok_or_else(missing)?;
        Ok(Self { agent, events, number })
    }

    /// The next event; `None` if there is none now. It does not wait.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the agent has hung up; [`ErrorKind::Protocol`]. The participant is of
    /// no more use then.
    ///
    /// ```no_run
    /// # let mut participant = liblu::Agent::new().participate(&["vm-17"], None)?;
    /// while let Some(event) = participant.next()? {
    ///     println!("{event:?}");
    /// }
    /// # Ok::<(), liblu::Error>(())
    /// ```
    #[expect(clippy::should_implement_trait, reason = "it can fail, and `None` is not the end")]
    pub fn next(&mut self) -> Result<Option<Event>> {
        for _ in 0..MOST_UNKNOWN {
            let Some(frame) = self.events.poll()? else { break };
            let answer: Answer<EventReply> = answer(frame)?;
            if !answer.continues {
                let why = "the agent has ended the events";
                return Err(Error::new(ErrorKind::Disconnected, why));
            }
            // A later agent may have other events.
            if let Some(event) = event(answer.value) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The client is ready for the update. If the update is off meanwhile, this has no effect, and
    /// [`Event::Abort`] comes or has come.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the agent does not know the participant, as after a restart: take part again.
    /// [`ErrorKind::NoFile`] if it does not have the session, which would not cross: refuse, go on, and open it again.
    /// And those of [`Agent::open`].
    ///
    /// ```no_run
    /// # let participant = liblu::Agent::new().participate(&["vm-17"], None)?;
    /// participant.ready(7, None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn ready(&self, generation: u64, deadline: Option<Instant>) -> Result<()> {
        let reply = self.reply(generation);
        let answer: Result<Answer<Nothing>> = self.agent.call("Ready", reply, deadline);
        unless_stale(answer)
    }

    /// The client cannot take part in the update.
    ///
    /// # Errors
    ///
    /// Those of [`Participant::ready`].
    ///
    /// ```no_run
    /// # let participant = liblu::Agent::new().participate(&["vm-17"], None)?;
    /// participant.refuse(7, "a disk is being formatted", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn refuse(&self, generation: u64, reason: &str, deadline: Option<Instant>) -> Result<()> {
        let reply = Reply { reason: Some(reason), ..self.reply(generation) };
        let answer: Result<Answer<Nothing>> = self.agent.call("Refuse", reply, deadline);
        unless_stale(answer)
    }

    /// The client needs so much time from now on. The time that it gets comes back, which may be less: the policy
    /// of the agent has limits for a client and for all together.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stale`] if the update is off; and those of [`Participant::ready`].
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # let participant = liblu::Agent::new().participate(&["vm-17"], None)?;
    /// let left = participant.extend(7, Duration::from_secs(30), None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn extend(
        &self,
        generation: u64,
        time: Duration,
        deadline: Option<Instant>,
    ) -> Result<Duration> {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let reply = Reply { time: Some(time), ..self.reply(generation) };
        let answer: Answer<ExtendReply> = self.agent.call("Extend", reply, deadline)?;
        Ok(Duration::from_millis(answer.value.deadline))
    }

    fn reply(&self, generation: u64) -> Reply<'static> {
        Reply { participant: self.number, generation, reason: None, time: None }
    }
}

/// Events that are not known here, and are read in one call at most.
const MOST_UNKNOWN: usize = 64;

fn event(reply: EventReply) -> Option<Event> {
    if let Some(prepare) = reply.prepare {
        let left = Duration::from_millis(prepare.deadline);
        let now = Instant::now();
        let deadline = now.checked_add(left).unwrap_or(now);
        return Some(Event::Prepare { generation: prepare.generation, deadline });
    }
    if let Some(abort) = reply.abort {
        return Some(Event::Abort { generation: abort.generation, reason: abort.reason });
    }
    reply.commit.map(|commit| Event::Commit { generation: commit.generation })
}

/// An answer to an update that is off is too late, and no error of the client.
fn unless_stale(answer: Result<Answer<Nothing>>) -> Result<()> {
    match answer {
        Err(error) if error.kind() != ErrorKind::Stale => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl AsFd for Participant {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}
