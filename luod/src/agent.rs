// SPDX-License-Identifier: MIT OR Apache-2.0

//! The agent itself: its state, and what changes it.
//!
//! All is on one thread. The state is changed without waiting in between; what takes time (the device while
//! another process has it, loading a kernel, closing sessions) happens outside, and the state is looked at
//! again after it.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use liblu::{Backoff, IncomingSession, LiveUpdate, OutgoingSession, SessionName};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::custody::{Custody, Released};
use crate::label::Label;
use crate::owner::Owner;
use crate::policy::{Admission, Credentials, Policy, Sources, Unready};
use crate::process::Process;
use crate::registry::{Direction, MAX_SESSIONS, Number, StoreName};
use crate::system::boot::Boot;
use crate::system::peer::{Life, Peer, Services};
use crate::system::store::Store;
use crate::update::{Generation, Machine, ParticipantId, Time};
use crate::varlink::agent::Event;

mod check;
mod clients;
mod discard;
mod drive;
mod error;
mod manage;
mod participants;
mod shutdown;
mod start;
mod status;

pub use drive::drive;
pub use error::sentence;
pub use manage::Load;
pub use participants::Participation;
pub use start::{Passed, StartError, start};

use start::{Stored, Unknown};

/// The agent.
#[derive(Debug)]
pub struct Agent {
    state: RefCell<State>,
    config: Config,
    /// The driver has something to do.
    work: Notify,
    /// The registry has changed.
    dirty: Notify,
    /// Counts changes of the phase and of who is awaited.
    changed: watch::Sender<u64>,
}

/// What the agent works with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The device.
    pub device: LiveUpdate,
    /// The ways to load and to leave a kernel.
    pub boot: Arc<dyn Boot>,
    /// The kernel's number of this boot.
    pub boot_id: String,
    /// Where the policy is.
    pub sources: Sources,
    /// Whether services can be told from other processes.
    pub services: Services,
    /// Events that a client may leave unread.
    pub unread: usize,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is true at times of its own")]
struct State {
    started: Instant,
    policy: Policy,
    /// Why the default policy holds, if the files are bad.
    bad_policy: Option<String>,
    /// The machine is shutting down, by the word of logind: clients that were ready stay so.
    is_shutting_down: bool,
    custody: Custody<Held>,
    /// Sessions and other fds that the store has, and nobody knows why.
    unknown: Vec<Unknown>,
    /// Names of sessions that were restored: the kernel may have them until the last descriptor is closed.
    restored: BTreeSet<SessionName>,
    /// Names of outgoing sessions that were given up: others may still be closing them.
    given_up: BTreeSet<SessionName>,
    store: Store,
    machine: Machine,
    members: BTreeMap<ParticipantId, Member>,
    /// Processes whose end is awaited.
    watched: BTreeSet<Process>,
    effects: VecDeque<drive::Effect>,
    last_failure: Option<String>,
    /// The owner of the client because of which the last update is off.
    failed_owner: Option<Owner>,
    target: Option<manage::Loaded>,
    /// Whether an update is being checked, before it begins.
    is_checking: bool,
    /// Whether the update that is being checked was cancelled.
    is_cancelled: bool,
    /// Whether a kernel is being loaded.
    is_loading: bool,
    /// How the kernel is being left, once it is.
    leaving: Option<drive::Leaving>,
    /// The session that tells the next luod of the others, when systemd does not carry them.
    handover: Option<drive::Handover>,
    counts: status::Counts,
}

/// A session in custody.
#[derive(Debug)]
pub struct Held {
    session: Session,
    /// Where it came from, if it is incoming.
    source: Source,
    /// Whether a manifest was there when it came: without one later, its client has finished it.
    has_manifest: bool,
}

#[derive(Debug)]
enum Session {
    Outgoing(OutgoingSession),
    Incoming(IncomingSession),
}

/// The place from which an incoming session came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The device.
    Kernel,
    /// The service manager has carried it.
    FdStore,
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.session {
            Session::Outgoing(session) => session.as_fd(),
            Session::Incoming(session) => session.as_fd(),
        }
    }
}

impl Held {
    fn outgoing(session: OutgoingSession) -> Self {
        Self { session: Session::Outgoing(session), source: Source::Kernel, has_manifest: false }
    }

    /// An incoming session. Its manifest, if any, is looked at here, and the memory of it charged to luod.
    fn incoming(session: IncomingSession, source: Source) -> Self {
        let has_manifest = session.retrieve(liblu::Token::MANIFEST).is_ok();
        Self { session: Session::Incoming(session), source, has_manifest }
    }

    /// Whether the client of an incoming session has finished it, as far as this kernel tells.
    ///
    /// # Errors
    ///
    /// It is not known: an error that has nothing to do with the session must not make a cold start of it.
    fn is_finished(&self) -> liblu::Result<bool> {
        let Session::Incoming(session) = &self.session else { return Ok(false) };
        if let Ok(copy) = session.as_fd().try_clone_to_owned() {
            match IncomingSession::try_from(copy) {
                // This is a copy of one that stays open.
                Ok(copy) => drop(copy.into_fd()),
                Err(error) => {
                    let (copy, error) = error.into_parts();
                    drop(copy);
                    if error.kind() == liblu::ErrorKind::WrongDirection {
                        return Ok(true);
                    }
                }
            }
        }
        if !self.has_manifest {
            return Ok(false);
        }
        match session.retrieve(liblu::Token::MANIFEST) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == liblu::ErrorKind::NoFile => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Closes a session that has left custody. An incoming one that is not finished stays open, which does
    /// harm to nobody.
    fn close(self) {
        let is_finished = self.is_finished().unwrap_or_default();
        match self.session {
            Session::Incoming(session) if is_finished => drop(session.into_fd()),
            session => drop(session),
        }
    }

    fn copy(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}

/// A client that takes part in updates.
#[derive(Debug)]
struct Member {
    owner: Owner,
    labels: Vec<Label>,
    queue: mpsc::Sender<Event>,
}

impl Agent {
    fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// What the agent works with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a peer may see all sessions, and act for any owner.
    pub fn is_administrator(&self, credentials: &Credentials) -> bool {
        self.state().policy.is_administrator(credentials)
    }

    /// Whether the policy lets a peer take part.
    pub fn is_admitted(&self, peer: &Peer) -> bool {
        let decision = self.state().policy.of(&peer.owner, &peer.credentials);
        decision.admission == Admission::Admitted
    }

    /// Changes the state, and does what follows from it.
    fn change<T>(self: &Rc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        state.pump(self);
        result
    }

    /// The registry has changed, and is written soon.
    fn mark_dirty(&self) {
        self.dirty.notify_one();
    }

    /// Writes the registry into the fd store now.
    fn write_registry(&self) {
        let mut state = self.state();
        if !state.store.is_managed() {
            return;
        }
        let bytes = state.custody.registry().write();
        if let Err(error) = state.store.write_registry(&bytes) {
            tracing::error!("the registry cannot be written: {error}");
        }
    }

    /// Sessions that may be lost if luod ends now, because no service manager holds them.
    pub fn lost_by_stopping(&self) -> usize {
        let state = self.state();
        if state.store.is_managed() {
            return 0;
        }
        let all = state.custody.registry().iter();
        all.filter(|(_, entry)| entry.state().direction() == Direction::Incoming).count()
    }

    /// luod ends: the service manager gets all that the next one must know.
    pub async fn stop(&self) {
        self.write_registry();
        let _ = self.flush().await;
        tracing::info!("luod ends");
    }

    /// Waits until the service manager was told of all changes.
    ///
    /// # Errors
    ///
    /// It cannot be told: what it does not have is lost with this luod.
    async fn flush(&self) -> io::Result<()> {
        let notifier = self.state().store.notifier();
        let Some(notifier) = notifier else { return Ok(()) };
        notifier.flush().await.inspect_err(|error| {
            tracing::error!("the service manager cannot be told of sessions: {error}");
        })
    }

    /// Watches for the end of a process that has sessions.
    fn watch(self: &Rc<Self>, process: Process, life: Life) {
        if !self.state().watched.insert(process) {
            return;
        }
        let agent = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while let Err(error) = life.end().await {
                tracing::error!("process {} cannot be watched: {error}", process.pid);
                tokio::time::sleep(WATCH_AGAIN).await;
            }
            agent.ended(process);
        });
    }

    /// A process has ended.
    fn ended(self: &Rc<Self>, process: Process) {
        let released = {
            let mut state = self.state();
            state.watched.remove(&process);
            let State { custody, policy, bad_policy, .. } = &mut *state;
            custody.ended(process, |owner| keeps(policy, bad_policy.as_ref(), owner))
        };
        for session in released {
            tracing::info!(
                "gave up session {:?} of {}: process {} has ended before it was ready",
                session.entry.label().as_str(),
                session.entry.owner(),
                process.pid
            );
            self.give_up(session);
        }
        self.mark_dirty();
    }

    /// Closes a session that has left custody, here and in the fd store.
    fn give_up(&self, released: Released<Held>) {
        self.state().give_up(released);
        self.mark_dirty();
    }

    /// Opens the device for one command, and waits if another process has it, or has the session.
    ///
    /// `attempt` is called until it does not fail for that, and changes the state without waiting.
    async fn with_device<T>(
        &self,
        attempt: impl FnMut(&LiveUpdate) -> liblu::Result<T>,
    ) -> liblu::Result<T> {
        self.with_device_if(is_busy, attempt).await
    }

    /// The same, to create a session of this name. Until the last one has closed a session that was given up, its
    /// name is taken.
    async fn create<T>(
        &self,
        name: &SessionName,
        attempt: impl FnMut(&LiveUpdate) -> liblu::Result<T>,
    ) -> liblu::Result<T> {
        let was_given_up = self.state().given_up.contains(name);
        let is_taken = |kind| was_given_up && kind == liblu::ErrorKind::NameTaken;
        self.with_device_if(|kind| is_busy(kind) || is_taken(kind), attempt).await
    }

    /// The same, with other errors for which waiting may help.
    async fn with_device_if<T>(
        &self,
        is_busy: impl Fn(liblu::ErrorKind) -> bool,
        mut attempt: impl FnMut(&LiveUpdate) -> liblu::Result<T>,
    ) -> liblu::Result<T> {
        let device = self.config.device.clone().with_backoff(Backoff::NONE);
        let mut waits = Backoff::default().waits();
        loop {
            match attempt(&device) {
                Err(error) if is_busy(error.kind()) => match waits.next() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error),
                },
                result => return result,
            }
        }
    }
}

impl State {
    /// Takes a session out of the fd store that has left custody.
    fn forget(&mut self, released: &Released<Held>) {
        let name = *released.entry.name();
        self.store.forget(&StoreName::Session(released.number));
        if released.entry.state().direction() == Direction::Outgoing {
            // Nearly all are closed at once, so old ones need not be known.
            if self.given_up.len() >= MAX_SESSIONS {
                self.given_up.clear();
            }
            self.given_up.insert(name);
        }
    }

    /// Closes a session that has left custody, here and in the fd store.
    fn give_up(&mut self, released: Released<Held>) {
        self.forget(&released);
        // The kernel may have much memory to give back.
        tokio::task::spawn_blocking(move || released.fd.close());
    }

    fn now(&self) -> Time {
        Time(self.started.elapsed())
    }

    /// The update that is being prepared or later.
    fn generation(&self) -> Option<Generation> {
        self.machine.generation()
    }

    /// A session that the fd store has and the registry lacks, by the kernel's name.
    fn take_unknown(
        &mut self,
        name: &SessionName,
        way: Direction,
    ) -> Option<(Option<Number>, Held)> {
        let at = self.unknown.iter().position(|it| it.is(name, way))?;
        let Unknown { number, fd: Stored::Session(held), .. } = self.unknown.remove(at) else {
            return None;
        };
        Some((number, held))
    }
}

/// A pause before a process is watched again for which there was no file descriptor.
const WATCH_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Whether waiting may help. A session that was just finished is held until all have closed it.
fn is_busy(kind: liblu::ErrorKind) -> bool {
    matches!(kind, liblu::ErrorKind::Busy | liblu::ErrorKind::Held)
}

/// Whether the policy keeps sessions of clients that have died before they were ready. Groups count for
/// clients that are there, so owners alone decide here. Nobody knows what a policy says that cannot be read.
fn keeps(policy: &Policy, bad: Option<&String>, owner: &Owner) -> bool {
    bad.is_some() || decision(policy, owner).unready == Unready::Keep
}

/// The decision on an owner none of whose processes is there.
fn decision(policy: &Policy, owner: &Owner) -> crate::policy::Decision {
    let uid = match owner {
        Owner::User(uid) => *uid,
        Owner::Unit(_) => u32::MAX,
    };
    policy.of(owner, &Credentials { uid, gids: Vec::new() })
}

/// Drops a value on another thread, since the kernel may take its time.
fn close_elsewhere(value: impl Send + 'static) {
    tokio::task::spawn_blocking(move || drop(value));
}
