// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the state machine of updates wants to be done.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use liblu::{OutgoingSession, SessionName, Token};
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Agent, State, keeps};
use crate::registry::MAX_SIZE;
use crate::update::{Action, BeginError, Generation, Method, Order, Reason, Time};
use crate::varlink::agent::{Abort, Commit, Event, Prepare};

/// Something that takes time.
#[derive(Debug)]
pub(super) enum Effect {
    /// Make the session for the next luod while clients prepare.
    HandOver {
        generation: Generation,
    },
    Freeze {
        generation: Generation,
        attempt: u32,
    },
    Leave {
        method: Method,
        generation: Generation,
    },
}

/// The kernel is being left.
#[derive(Debug)]
pub(super) struct Leaving {
    method: Method,
    /// Cleared when the update is off: nothing is left after that.
    permit: Arc<AtomicBool>,
}

/// The session that tells the next luod of all others, when luod leaves the kernel itself: nobody else
/// carries the registry then.
#[derive(Debug)]
pub(super) struct Handover {
    /// It is closed, and so given up, with this value.
    _session: OutgoingSession,
    memfd: File,
    /// Bytes that fit; the size of a memfd is fixed when it is preserved.
    room: usize,
    /// The update, and the changes of the custody up to which it is written.
    changes: (Generation, u64),
}

/// The name of that session.
pub(super) const HANDOVER: &str = "io.liveupdate.luod";

/// The token of the registry in it.
pub(super) const REGISTRY: u32 = 0;

/// The time for clients' connections to pass the commit on, before the kernel is left at once.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// Changes are written this much later, so that many of them are written once.
const WRITE_DELAY: Duration = Duration::from_millis(5);

/// The delay is at least so many times the time that writing takes: luod has other work.
const WRITE_SHARE: u32 = 9;

impl State {
    /// Begins an update. [`Agent::announce`] must follow.
    pub(super) fn begin(&mut self, order: Order) -> Result<Generation, BeginError> {
        let now = self.now();
        let generation = self.machine.begin(now, order)?;
        self.custody.use_generation(generation);
        self.counts.begun += 1;
        self.last_failure = None;
        self.effects.push_back(Effect::HandOver { generation });
        Ok(generation)
    }

    /// Does what the state machine wants, and leaves what takes time to the driver.
    pub(super) fn pump(&mut self, agent: &Rc<Agent>) {
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::Prepare { to, generation, left } => {
                    let deadline = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                    let prepare = Prepare { generation: generation.0, deadline };
                    self.tell(to, Event { prepare: Some(prepare), ..Event::default() });
                }
                Action::Abort { to, generation, reason } => {
                    let abort = Abort { generation: generation.0, reason: reason.to_string() };
                    self.tell(to, Event { abort: Some(abort), ..Event::default() });
                }
                Action::Commit { to, generation } => {
                    let commit = Commit { generation: generation.0 };
                    self.tell(to, Event { commit: Some(commit), ..Event::default() });
                }
                Action::GoOnWithout { owner, reason, .. } => {
                    tracing::warn!("the update goes on without a client of {owner}: {reason}");
                }
                Action::Freeze { generation, attempt } => {
                    self.effects.push_back(Effect::Freeze { generation, attempt });
                }
                Action::Leave { method, generation } => {
                    let permit = Arc::new(AtomicBool::new(true));
                    self.leaving = Some(Leaving { method, permit });
                    self.effects.push_back(Effect::Leave { method, generation });
                }
                // No kernel can freeze early, so nothing is to be undone.
                Action::Thaw { .. } => {}
                Action::Ended { generation, reason } => self.ended(agent, generation, &reason),
                Action::Changed => {
                    agent.changed.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
        }
        agent.work.notify_one();
    }

    /// Tells a client of an event. One that reads none any more counts as gone.
    fn tell(&mut self, to: crate::update::ParticipantId, event: Event) {
        let Some(member) = self.members.get(&to) else { return };
        if member.queue.try_send(event).is_err() {
            tracing::warn!(
                "a client of {} does not read its events, and is disconnected",
                member.owner
            );
            self.members.remove(&to);
            let now = self.now();
            self.machine.gone(now, to);
        }
    }

    /// An update is off.
    fn ended(&mut self, agent: &Rc<Agent>, generation: Generation, reason: &Reason) {
        tracing::warn!("update {} is off: {reason}", generation.0);
        self.last_failure = Some(reason.to_string());
        self.failed_owner = match reason {
            Reason::Participant { owner, .. } | Reason::Missing(owner) => Some(owner.clone()),
            _ => None,
        };
        self.counts.aborted += 1;
        self.handover = None;
        let leaving = self.leaving.take();
        if let Some(leaving) = &leaving {
            leaving.permit.store(false, Ordering::SeqCst);
        }
        agent.mark_dirty();
        // The machine may still be shutting down, however long that takes: sessions of clients that were stopped
        // for it must cross.
        let may_go_on = *reason == Reason::StillHere || self.is_shutting_down;
        if may_go_on && leaving.is_some_and(|it| it.method != Method::Now) {
            return;
        }
        let Self { custody, policy, bad_policy, .. } = self;
        let bad = bad_policy.as_ref();
        let released = custody.aborted(generation, |owner| keeps(policy, bad, owner));
        for session in released {
            self.give_up(session);
        }
    }
}

/// Drives updates, and writes the registry when it has changed. It never ends.
pub async fn drive(agent: Rc<Agent>) {
    let is_managed = agent.state().store.is_managed();
    if is_managed {
        tokio::join!(drive_updates(&agent), write_changes(&agent));
    } else {
        drive_updates(&agent).await;
    }
}

async fn write_changes(agent: &Rc<Agent>) {
    let mut took = Duration::ZERO;
    loop {
        agent.dirty.notified().await;
        sleep(WRITE_DELAY.max(took * WRITE_SHARE)).await;
        let begin = Instant::now();
        agent.write_registry();
        took = begin.elapsed();
        let _ = agent.flush().await;
    }
}

async fn drive_updates(agent: &Rc<Agent>) {
    loop {
        let (started, deadline) = {
            let state = agent.state();
            (state.started, state.machine.deadline())
        };
        let late = async {
            match deadline {
                Some(Time(after)) => sleep_until(started + after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = agent.work.notified() => {}
            () = late => agent.change(|state| {
                let now = state.now();
                state.machine.tick(now);
            }),
        }
        loop {
            let effect = agent.state().effects.pop_front();
            let Some(effect) = effect else { break };
            let agent = Rc::clone(agent);
            tokio::task::spawn_local(async move { agent.carry_out(effect).await });
        }
    }
}

impl Agent {
    /// Stores the number of an update that has begun, and then tells its clients: after a crash, the answer of one
    /// must not be taken for that to another update.
    pub(super) async fn announce(self: &Rc<Self>) -> io::Result<()> {
        self.write_registry();
        let told = self.flush().await;
        self.change(|_| ());
        told
    }

    async fn carry_out(self: Rc<Self>, effect: Effect) {
        match effect {
            // A failure is seen when sessions are frozen, at the latest.
            Effect::HandOver { generation } => {
                let _ = self.freeze(generation).await;
                if self.state().machine.method() == Some(Method::Now) {
                    // Most of what is to be written is written before guests are paused.
                    let _ = tokio::task::spawn_blocking(rustix::fs::sync).await;
                }
            }
            Effect::Freeze { generation, attempt } => {
                let frozen = self.freeze(generation).await;
                let outcome = frozen.map_err(|error| error.to_string());
                self.change(|state| {
                    let now = state.now();
                    state.machine.frozen(now, generation, attempt, outcome);
                });
            }
            Effect::Leave { method, generation } => {
                tracing::info!("update {}: leaving the kernel ({method:?})", generation.0);
                // If it succeeds, the service manager stops luod, however long others take.
                let left = self.leave(method).await;
                self.change(|state| match left {
                    Ok(()) => state.machine.is_being_left(generation),
                    Err(why) => state.machine.not_left(generation, why),
                });
            }
        }
    }

    /// Leaves the kernel, unless the update is off meanwhile.
    async fn leave(&self, method: Method) -> Result<(), String> {
        let leaving = self.state().leaving.as_ref().map(|it| Arc::clone(&it.permit));
        let Some(permit) = leaving else { return Ok(()) };
        if method == Method::Now {
            self.last_words(Instant::now()).await;
        } else {
            self.write_registry();
            self.flush().await.map_err(|error| format!("sessions are not stored: {error}"))?;
        }
        let boot = self.config.boot.clone();
        let (done, left) = oneshot::channel();
        // A thread of its own: others may be busy with closing sessions.
        std::thread::spawn(move || done.send(boot.leave(method, &permit)));
        left.await.unwrap_or_else(|_| Err("the thread that leaves the kernel has ended".into()))
    }

    /// Gives the connections of clients time to pass the commit on.
    async fn last_words(&self, begun: Instant) {
        loop {
            let is_told = {
                let state = self.state();
                state.members.values().all(|it| it.queue.capacity() == it.queue.max_capacity())
            };
            if is_told || begun.elapsed() > LAST_WORDS {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Freezes what can be frozen before the kernel is left. The kernel cannot freeze sessions early, but
    /// the session for the next luod is made here, so that a failure is still an abort.
    async fn freeze(&self, generation: Generation) -> Result<(), HandOverError> {
        let carries = {
            let state = self.state();
            state.machine.method() != Some(Method::Now) && state.store.is_managed()
        };
        if carries { Ok(()) } else { self.hand_over(generation).await }
    }

    /// Brings the session for the next luod up to date. This is called when clients begin to prepare, too,
    /// so that nothing is left to do when the last one is ready.
    async fn hand_over(&self, generation: Generation) -> Result<(), HandOverError> {
        let name = SessionName::new(HANDOVER)?;
        let done = self.with_device(|device| {
            let mut state = self.state();
            // The update may be off by now.
            if state.generation() != Some(generation) {
                return Ok(Ok(()));
            }
            let changes = (generation, state.custody.changes());
            if state.handover.as_ref().is_some_and(|there| there.changes == changes) {
                return Ok(Ok(()));
            }
            let bytes = state.custody.registry().write();
            if let Some(there) = state.handover.as_mut().filter(|it| it.room >= bytes.len()) {
                there.changes = changes;
                return Ok(there.write(&bytes));
            }
            // A memfd that has become too small goes with its session.
            drop(state.handover.take());
            let made = Handover::new(device.create(&name)?, &bytes, changes)?;
            Ok(made.map(|made| state.handover = Some(made)))
        });
        Ok(done.await??)
    }
}

/// Why the session for the next luod cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandOverError {
    #[error(transparent)]
    Kernel(#[from] liblu::Error),
    #[error("the list of sessions cannot be written: {0}")]
    Memfd(#[from] io::Error),
}

impl Handover {
    fn new(
        session: OutgoingSession,
        bytes: &[u8],
        changes: (Generation, u64),
    ) -> liblu::Result<io::Result<Self>> {
        // Room for the sessions that are opened until the kernel is left, and no more than is read there.
        let room = bytes.len().saturating_mul(2).next_multiple_of(4096).min(MAX_SIZE);
        let memfd = match memfd(room) {
            Ok(memfd) => memfd,
            Err(error) => return Ok(Err(error)),
        };
        session.preserve(Token::from(REGISTRY), &memfd)?;
        let handover = Self { _session: session, memfd, room, changes };
        Ok(handover.write(bytes).map(|()| handover))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut padded = bytes.to_vec();
        // JSON may end with spaces.
        padded.resize(self.room, b' ');
        self.memfd.write_all_at(&padded, 0)
    }
}

fn memfd(size: usize) -> io::Result<File> {
    let memfd = File::from(memfd_create("luod-handover", MemfdFlags::CLOEXEC)?);
    memfd.set_len(size as u64)?;
    Ok(memfd)
}
