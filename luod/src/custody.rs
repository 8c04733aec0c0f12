// SPDX-License-Identifier: MIT OR Apache-2.0

//! The sessions that luod holds, and which process has which, without I/O.
//!
//! luod holds a descriptor of every session that it has handed out. An *outgoing* session of a client that
//! ends before it was ready is given up, for its memory would stay pinned for nothing; later it is kept,
//! because the update needs it. An *incoming* session stays until its client says that it has all that it
//! needs, or an administrator gives it up: a client that ends before loses nothing, and claims it again.
//!
//! All that must be known after a restart of luod is in the [`Registry`], which changes with the custody.
//! `F` is the descriptor; tests have others.

use std::collections::{BTreeMap, BTreeSet};

use crate::label::Label;
use crate::owner::Owner;
use crate::process::Process;
use crate::registry::{Claim, Direction, Entry, EntryError, Number, Registry, State};
use crate::update::Generation;

/// The owner and the label of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The unit or user.
    pub owner: Owner,
    /// The label by which it knows the session.
    pub label: Label,
}

/// A session that is not in custody any more: the caller closes it, and tells the fd store.
#[derive(Debug, PartialEq, Eq)]
pub struct Released<F> {
    /// Its number in the fd store.
    pub number: Number,
    /// All that was known of it.
    pub entry: Entry,
    /// Its descriptor.
    pub fd: F,
}

/// The outcome of a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Claimed<'a, F> {
    /// The session.
    Session(Number, &'a F),
    /// Another process has claimed it, and lives.
    Held(Claim),
    /// It is not in custody.
    Absent,
}

/// All sessions in custody.
#[derive(Debug)]
pub struct Custody<F> {
    registry: Registry,
    fds: BTreeMap<Number, F>,
    /// The sessions that each living process has opened or claimed.
    of_process: BTreeMap<Process, BTreeSet<Number>>,
    /// The same, by session.
    clients: BTreeMap<Number, BTreeSet<Process>>,
    changes: u64,
}

impl<F> Custody<F> {
    /// The custody of these sessions. Those of the registry without a descriptor are removed from it.
    pub fn new(mut registry: Registry, fds: BTreeMap<Number, F>) -> Self {
        let lost: Vec<_> =
            registry.iter().map(|(number, _)| number).filter(|it| !fds.contains_key(it)).collect();
        for number in lost {
            registry.remove(number);
        }
        let had = registry.iter().filter_map(|(number, entry)| Some((number, process(entry)?)));
        let had: Vec<_> = had.collect();
        let (of_process, clients) = (BTreeMap::new(), BTreeMap::new());
        let mut custody = Self { registry, fds, of_process, clients, changes: 0 };
        for (number, process) in had {
            custody.add_client(number, process);
        }
        custody
    }

    /// A process has opened or claimed a session.
    fn add_client(&mut self, number: Number, process: Process) {
        self.of_process.entry(process).or_default().insert(number);
        self.clients.entry(number).or_default().insert(process);
    }

    /// All that is known of the sessions.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts the sessions that came into custody and those that left it.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Notes that a generation is used.
    pub fn use_generation(&mut self, generation: Generation) {
        self.registry.use_generation(generation);
    }

    /// The processes that have a session: their end matters.
    pub fn processes(&self) -> impl Iterator<Item = Process> {
        self.of_process.keys().copied()
    }

    /// The descriptor of a session.
    pub fn fd(&self, number: Number) -> Option<&F> {
        self.fds.get(&number)
    }

    /// Another process that has this session.
    pub fn other_client(&self, number: Number, client: Process) -> Option<Process> {
        self.clients.get(&number)?.iter().find(|it| **it != client).copied()
    }

    /// The session of this key.
    pub fn find(&self, key: &Key, direction: Direction) -> Option<Number> {
        self.registry.find(&key.owner, &key.label, direction)
    }

    /// The number of outgoing sessions of an owner.
    pub fn count(&self, owner: &Owner) -> usize {
        self.registry.outgoing(owner)
    }

    /// The outgoing session of this key for one more process, if there is one. If not, the caller creates it
    /// and calls [`Custody::insert`].
    pub fn open(&mut self, key: &Key, client: Process) -> Option<(Number, &F)> {
        let number = self.find(key, Direction::Outgoing)?;
        self.add_client(number, client);
        self.registry.set_opened_by(number, Some(client));
        Some((number, self.fds.get(&number)?))
    }

    /// A session comes into custody, with a new number.
    ///
    /// # Errors
    ///
    /// [`EntryError`], with the descriptor.
    pub fn insert(
        &mut self,
        entry: Entry,
        client: Option<Process>,
        fd: F,
    ) -> Result<Number, (EntryError, F)> {
        match self.registry.take_number() {
            Some(number) => self.insert_as(number, entry, client, fd),
            None => Err((EntryError::NoNumber, fd)),
        }
    }

    /// A session comes into custody that has a number in the fd store.
    ///
    /// # Errors
    ///
    /// [`EntryError`], with the descriptor.
    pub fn insert_as(
        &mut self,
        number: Number,
        entry: Entry,
        client: Option<Process>,
        fd: F,
    ) -> Result<Number, (EntryError, F)> {
        if let Err(error) = self.registry.insert(number, entry) {
            return Err((error, fd));
        }
        if let Some(client) = client {
            self.registry.set_opened_by(number, Some(client));
            self.add_client(number, client);
        }
        self.fds.insert(number, fd);
        self.changes = self.changes.wrapping_add(1);
        Ok(number)
    }

    /// Claims the incoming session of this key. A process may claim it several times.
    pub fn claim(&mut self, key: &Key, claim: Claim) -> Claimed<'_, F> {
        let Some(number) = self.find(key, Direction::Incoming) else { return Claimed::Absent };
        let state = self.registry.get(number).map(Entry::state);
        if let Some(State::Claimed(other)) = state
            && other.by != claim.by
        {
            return Claimed::Held(*other);
        }
        // The direction stays, so no other session is in the way.
        let _ = self.registry.set_state(number, State::Claimed(claim));
        self.add_client(number, claim.by);
        self.fds.get(&number).map_or(Claimed::Absent, |fd| Claimed::Session(number, fd))
    }

    /// The custody of the session of this key ends: its client has restored an incoming one, or has given up
    /// an outgoing one. Any process of the owner may say so, since the one before may have been replaced.
    pub fn release(&mut self, key: &Key, direction: Direction) -> Option<Released<F>> {
        let number = self.find(key, direction)?;
        self.remove(number)
    }

    /// The custody of a session ends.
    pub fn remove(&mut self, number: Number) -> Option<Released<F>> {
        let (entry, fd) = (self.registry.remove(number)?, self.fds.remove(&number)?);
        for process in self.clients.remove(&number).unwrap_or_default() {
            if let Some(numbers) = self.of_process.get_mut(&process) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.of_process.remove(&process);
                }
            }
        }
        self.changes = self.changes.wrapping_add(1);
        Some(Released { number, entry, fd })
    }

    /// The outgoing session of this key is complete, and stays when its clients end. False if there is none.
    pub fn keep(&mut self, key: &Key) -> bool {
        let number = self.find(key, Direction::Outgoing);
        number.inspect(|number| self.registry.keep(*number)).is_some()
    }

    /// A client is ready: its sessions are kept until the update is over, whatever becomes of it.
    pub fn ready(&mut self, owner: &Owner, labels: &[Label]) {
        self.set_outgoing(owner, labels, State::Ready);
    }

    /// A client takes part while no update is in progress. One that was ready for an update of an earlier luod,
    /// which is off, is not ready any more.
    pub fn takes_part(&mut self, owner: &Owner, labels: &[Label]) {
        self.set_outgoing(owner, labels, State::Open);
    }

    fn set_outgoing(&mut self, owner: &Owner, labels: &[Label], state: State) {
        for label in labels {
            if let Some(number) = self.registry.find(owner, label, Direction::Outgoing) {
                let _ = self.registry.set_state(number, state);
            }
        }
    }

    /// An update is off: sessions are open again. Those without a living client are released, if they were
    /// made for this update, or the policy does not keep them.
    pub fn aborted(
        &mut self,
        generation: Generation,
        keep: impl Fn(&Owner) -> bool,
    ) -> Vec<Released<F>> {
        let ready = self.registry.iter().filter(|(_, entry)| *entry.state() == State::Ready);
        let ready: Vec<_> = ready.map(|(number, _)| number).collect();
        for number in ready {
            let _ = self.registry.set_state(number, State::Open);
        }
        let given_up = self.registry.iter().filter(|(number, entry)| {
            let made_for_it = entry.made_for() == Some(generation);
            *entry.state() == State::Open
                && !entry.is_kept()
                && !self.clients.contains_key(number)
                && (made_for_it || !keep(entry.owner()))
        });
        let given_up: Vec<_> = given_up.map(|(number, _)| number).collect();
        given_up.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// A process has ended. Its incoming sessions wait for another one. Outgoing sessions that no other
    /// process has, and that are not ready, are released, unless the policy keeps them.
    pub fn ended(&mut self, process: Process, keep: impl Fn(&Owner) -> bool) -> Vec<Released<F>> {
        let numbers = self.of_process.remove(&process).unwrap_or_default();
        let mut given_up = Vec::new();
        for number in numbers {
            let others = self.clients.get_mut(&number).and_then(|them| {
                them.remove(&process);
                them.first().copied()
            });
            if others.is_none() {
                self.clients.remove(&number);
            }
            let Some(entry) = self.registry.get(number) else { continue };
            match entry.state() {
                State::Claimed(claim) if claim.by == process => {
                    let _ = self.registry.set_state(number, State::Waiting);
                }
                State::Claimed(_) | State::Waiting => {}
                State::Open | State::Ready => {
                    let is_open = *entry.state() == State::Open;
                    let is_needless = is_open && !entry.is_kept() && !keep(entry.owner());
                    self.registry.set_opened_by(number, others);
                    if others.is_none() && is_needless {
                        given_up.extend(self.remove(number));
                    }
                }
            }
        }
        given_up
    }
}

/// The process that has a session, as far as the registry knows.
fn process(entry: &Entry) -> Option<Process> {
    match entry.state() {
        State::Claimed(claim) => Some(claim.by),
        State::Open | State::Ready => entry.opened_by(),
        State::Waiting => None,
    }
}

#[cfg(test)]
mod tests;
