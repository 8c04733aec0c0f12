// SPDX-License-Identifier: MIT OR Apache-2.0

//! The start: all that outlived the luod before, or the kernel before, comes into custody.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use liblu::{ErrorKind, IncomingSession, OutgoingSession, SessionName, Token};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::drive::{HANDOVER, REGISTRY};
use super::{Agent, Config, Held, Session, Source, State};
use crate::custody::Custody;
use crate::policy::Policy;
use crate::registry::{
    self, Contents, Direction, Entry, MAX_SIZE, Newest, Number, ReadError, Registry, StoreName,
    Turn, compare, newest,
};
use crate::system::names::MachineNames;
use crate::system::notify::Notifier;
use crate::system::peer::Life;
use crate::system::store::Store;
use crate::update::Machine;

/// Why luod does not start. Nothing was closed or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A newer luod has written the registry.
    #[error(transparent)]
    Registry(#[from] ReadError),
}

/// An fd of the store that luod does not know: kept and listed, and given up by an administrator alone.
#[derive(Debug)]
pub(super) struct Unknown {
    /// Its name in the store.
    pub(super) name: String,
    /// Its number in that name, if luod has given it.
    pub(super) number: Option<Number>,
    pub(super) fd: Stored,
}

/// An fd of the store.
#[derive(Debug)]
pub(super) enum Stored {
    Session(Held),
    Other(OwnedFd),
}

impl AsFd for Stored {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Session(held) => held.as_fd(),
            Self::Other(fd) => fd.as_fd(),
        }
    }
}

impl Unknown {
    pub(super) fn is(&self, name: &SessionName, way: Direction) -> bool {
        self.session()
            .is_some_and(|it| it == registry::StoredSession { name: *name, direction: way })
    }

    fn session(&self) -> Option<registry::StoredSession> {
        match &self.fd {
            Stored::Session(held) => held.stored(),
            Stored::Other(_) => None,
        }
    }

    /// The name by which people know it: that of the kernel, or else that in the store.
    pub(super) fn shown_name(&self) -> String {
        self.session().map_or_else(|| self.name.clone(), |it| it.name.to_string())
    }

    pub(super) fn direction(&self) -> Direction {
        self.session().map_or(Direction::Outgoing, |it| it.direction)
    }
}

impl Stored {
    /// An fd that the service manager has passed. It has another one, so nothing is lost if this is closed.
    fn new(fd: OwnedFd) -> Self {
        let fd = match IncomingSession::try_from(fd) {
            Ok(session) => {
                return Self::Session(Held::incoming(session.held_elsewhere(), Source::FdStore));
            }
            Err(error) => error.into_parts().0,
        };
        match OutgoingSession::try_from(fd) {
            Ok(session) => Self::Session(Held::outgoing(session)),
            Err(error) => Self::Other(error.into_parts().0),
        }
    }
}

impl Held {
    /// The session, by the word of the kernel.
    fn stored(&self) -> Option<registry::StoredSession> {
        let (name, direction) = match &self.session {
            Session::Outgoing(session) => (session.name(), Direction::Outgoing),
            Session::Incoming(session) => (session.name(), Direction::Incoming),
        };
        Some(registry::StoredSession { name: name.ok()?, direction })
    }
}

/// What the service manager has passed, and how to tell it.
#[derive(Debug, Default)]
pub struct Passed {
    /// The fds of its store, with their names.
    pub fds: Vec<(String, OwnedFd)>,
    /// The way to it, and the number of fds that the store takes; `None` without a service manager.
    pub manager: Option<(Rc<Notifier>, u32)>,
}

/// Starts the agent: takes into custody what outlived the luod before, and what came from the previous
/// kernel. [`drive`](super::drive()) must run beside it.
///
/// # Errors
///
/// [`StartError`].
pub async fn start(config: Config, passed: Passed) -> Result<Rc<Agent>, StartError> {
    let (policy, bad_policy) = load_policy(&config).await;
    let mut names = Vec::new();
    let mut stored = Vec::new();
    for (name, fd) in passed.fds {
        names.push(name);
        stored.push(Stored::new(fd));
    }
    let found = read_registries(&names, &stored)?;
    let mut registry = found.registry.unwrap_or_default();
    let described = described(&names, &stored);
    let contents = compare(&registry, &described);
    // Those that cannot be read stay: a newer luod may understand them.
    let is_readable = |number: &u64| found.unreadable.iter().all(|(it, _)| it != number);
    let registries = contents.registries.iter().map(|(_, number)| *number);
    let registries: Vec<_> = registries.filter(is_readable).collect();
    let Sorted { fds, unknown } = sort(&mut registry, &contents, names, stored, &config.boot_id);
    report(&contents, &found.unreadable);
    let store = match passed.manager {
        None => Store::none(),
        Some((notifier, room)) => {
            let used = u32::try_from(fds.len() + unknown.len()).unwrap_or(u32::MAX);
            Store::managed(notifier, room, used, found.last, &registries)
        }
    };
    let machine = Machine::new(policy.limits(), registry.generation());
    let state = State {
        started: Instant::now(),
        policy,
        bad_policy,
        is_shutting_down: false,
        custody: Custody::new(registry, fds),
        unknown,
        restored: BTreeSet::new(),
        given_up: BTreeSet::new(),
        store,
        machine,
        members: BTreeMap::new(),
        watched: BTreeSet::new(),
        effects: VecDeque::new(),
        last_failure: None,
        failed_owner: None,
        target: None,
        is_checking: false,
        is_cancelled: false,
        is_loading: false,
        leaving: None,
        handover: None,
        counts: super::status::Counts::default(),
    };
    let agent = Rc::new(Agent {
        state: RefCell::new(state),
        config,
        work: Notify::new(),
        dirty: Notify::new(),
        changed: watch::Sender::new(0),
    });
    agent.watch_all();
    agent.take_over().await;
    agent.mark_dirty();
    Ok(agent)
}

/// The policy; the default one if the files are bad, since clients must be able to claim their guests.
async fn load_policy(config: &Config) -> (Policy, Option<String>) {
    let sources = config.sources.clone();
    let loaded = tokio::task::spawn_blocking(move || Policy::load(&sources, &MachineNames)).await;
    match loaded {
        Ok(Ok((policy, warnings))) => {
            for warning in warnings {
                tracing::warn!("policy: {warning}");
            }
            (policy, None)
        }
        Ok(Err(error)) => {
            let why = super::error::sentence(&error);
            tracing::error!("the default policy holds until the files are mended: {why}");
            (Policy::default(), Some(why))
        }
        Err(error) => {
            tracing::error!("the default policy holds: {error}");
            (Policy::default(), Some(error.to_string()))
        }
    }
}

/// The newest registry among the fds of the store.
fn read_registries(names: &[String], stored: &[Stored]) -> Result<Newest, ReadError> {
    let mut found = Vec::new();
    for (name, fd) in names.iter().zip(stored) {
        if let (Ok(StoreName::Registry(number)), Stored::Other(fd)) = (name.parse(), fd) {
            found.push((number, read(fd)));
        }
    }
    newest(found.iter().map(|(number, bytes)| (*number, bytes.as_slice())))
}

/// The bytes of a memfd, at most one more than a registry has.
fn read(fd: &OwnedFd) -> Vec<u8> {
    let Ok(file) = fd.try_clone().map(File::from) else { return Vec::new() };
    let size = file.metadata().map_or(0, |it| it.len()).min(MAX_SIZE as u64 + 1);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    // The position is shared with others, so it is not used.
    if file.read_exact_at(&mut bytes, 0).is_ok() { bytes } else { Vec::new() }
}

fn described<'a>(names: &'a [String], stored: &[Stored]) -> Vec<registry::Stored<'a>> {
    let session = |fd: &Stored| match fd {
        Stored::Session(held) => held.stored(),
        Stored::Other(_) => None,
    };
    let all = names.iter().zip(stored);
    all.map(|(name, fd)| registry::Stored { name, session: session(fd) }).collect()
}

struct Sorted {
    fds: BTreeMap<Number, Held>,
    unknown: Vec<Unknown>,
}

/// Brings the registry up to date, and gives each fd its place.
fn sort(
    registry: &mut Registry,
    contents: &Contents,
    names: Vec<String>,
    stored: Vec<Stored>,
    boot_id: &str,
) -> Sorted {
    let is_other_boot = !registry.is_of_boot(boot_id);
    registry.set_boot_id(boot_id);
    registry.skip(contents.last_number);
    for number in &contents.missing {
        registry.remove(*number);
    }
    for (_, number) in &contents.contradictions {
        registry.remove(*number);
    }
    let mut places = BTreeMap::new();
    for it in &contents.matches {
        // Processes of another kernel mean nothing, even if their numbers are in use.
        let state = match it.state {
            registry::State::Claimed(_) if is_other_boot => registry::State::Waiting,
            state => state,
        };
        if is_other_boot || it.turn == Turn::Crossed {
            registry.set_opened_by(it.number, None);
        }
        if registry.set_state(it.number, state).is_ok() {
            places.insert(it.at, it.number);
        } else {
            registry.remove(it.number);
        }
    }
    let is_registry = |at: usize| contents.registries.iter().any(|(it, _)| *it == at);
    let mut sorted = Sorted { fds: BTreeMap::new(), unknown: Vec::new() };
    for (at, (name, fd)) in names.into_iter().zip(stored).enumerate() {
        match (places.get(&at), fd) {
            (Some(number), Stored::Session(held)) => {
                sorted.fds.insert(*number, held);
            }
            _ if is_registry(at) => {}
            (_, fd) => {
                let number = match name.parse() {
                    Ok(StoreName::Session(number)) => Some(number),
                    Ok(StoreName::Registry(_)) | Err(_) => None,
                };
                sorted.unknown.push(Unknown { name, number, fd });
            }
        }
    }
    sorted
}

fn report(contents: &Contents, unreadable: &[(u64, ReadError)]) {
    for (number, error) in unreadable {
        tracing::error!("registry {number} is kept and not used: {error}");
    }
    for number in &contents.missing {
        tracing::error!("session {} of the registry is not in the fd store: it is lost", number.0);
    }
    for (_, number) in &contents.contradictions {
        tracing::error!("the fd of session {} is another session; it is kept as unknown", number.0);
    }
    if !contents.unknown.is_empty() {
        let count = contents.unknown.len();
        tracing::warn!(
            "{count} descriptors of the fd store are not in the registry; they are kept"
        );
    }
    let crossed = contents.matches.iter().filter(|it| it.turn == Turn::Crossed).count();
    if crossed > 0 {
        tracing::info!("{crossed} sessions came from the previous kernel through the fd store");
    }
}

impl Agent {
    /// Watches the processes that have sessions, as far as they live.
    fn watch_all(self: &Rc<Self>) {
        let processes: Vec<_> = self.state().custody.processes().collect();
        for process in processes {
            match Life::find(process) {
                Ok(Some(life)) => self.watch(process, life),
                Ok(None) => self.ended(process),
                // It may live, so its sessions are kept.
                Err(error) => tracing::error!("process {} cannot be watched: {error}", process.pid),
            }
        }
    }

    /// Takes over what an earlier luod has handed to the next kernel itself. Without that there is nothing to
    /// do; the service manager has passed all.
    async fn take_over(self: &Rc<Self>) {
        let Ok(name) = SessionName::new(HANDOVER) else { return };
        let session = match self.with_device(|device| device.retrieve(&name)).await {
            Ok(session) => session,
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::NoSession | ErrorKind::Unavailable) {
                    tracing::error!("no sessions can be taken over from the kernel: {error}");
                }
                return;
            }
        };
        let handed = session.retrieve(Token::from(REGISTRY)).map(|memfd| read(&memfd));
        let is_done = match handed.map(|bytes| Registry::read(&bytes)) {
            Ok(Ok(registry)) => self.take_over_sessions(&registry).await,
            Ok(Err(error)) => {
                tracing::error!("sessions of the kernel are not known: {error}");
                false
            }
            Err(error) => {
                tracing::error!("sessions of the kernel are not known: {error}");
                false
            }
        };
        // Sessions that were not taken can still be claimed: their names say whose they are. A session of luod
        // that is not finished stays open as long as this process.
        if is_done && let Err(error) = session.finish() {
            tracing::warn!("the session of luod itself cannot be finished: {error}");
        }
    }

    /// Whether the fd store had the session that this entry of the previous kernel is about.
    fn has_incoming(&self, entry: &Entry) -> bool {
        let state = self.state();
        let known =
            state.custody.registry().find(entry.owner(), entry.label(), Direction::Incoming);
        known.is_some() || state.unknown.iter().any(|it| it.is(entry.name(), Direction::Incoming))
    }

    /// Takes over the sessions of a registry. False if one of them may still be in the kernel.
    async fn take_over_sessions(self: &Rc<Self>, handed: &Registry) -> bool {
        let (mut count, mut is_done) = (0, true);
        self.state().custody.use_generation(handed.generation());
        let outgoing = handed.by_owner().map(|(_, entry)| entry);
        for entry in outgoing.filter(|it| it.state().direction() == Direction::Outgoing) {
            let waiting = registry::State::Waiting;
            if self.has_incoming(entry) {
                // An earlier luod has taken it over, and was interrupted.
                count += 1;
                continue;
            }
            let fresh = entry.crossed(waiting);
            let taken = self.with_device(|device| {
                let mut state = self.state();
                if let Err(full) = state.store.check_room() {
                    return Ok(Err(full.into()));
                }
                let held = state.incoming(device.retrieve(entry.name())?, Source::Kernel);
                Ok(state.take(None, fresh.clone(), None, held))
            });
            let (label, owner) = (entry.label().as_str(), entry.owner());
            match taken.await {
                Ok(Ok(())) => count += 1,
                Ok(Err(error)) => {
                    is_done = false;
                    tracing::error!("session {label:?} of {owner} stays in the kernel: {error:?}");
                }
                Err(error) => {
                    is_done &= error.kind() == ErrorKind::NoSession;
                    tracing::error!("session {label:?} of {owner} did not come: {error}");
                }
            }
            is_done &= self.flush().await.is_ok();
        }
        let generation = handed.generation();
        self.change(|state| state.machine.skip(generation));
        tracing::info!("{count} sessions came from the previous kernel");
        is_done
    }
}
