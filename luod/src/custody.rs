// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who holds which session, without I/O.
//!
//! luod holds a descriptor of every session that it has handed out. An *outgoing* session of a client that
//! ends before it was ready is given up, for its memory would stay pinned for nothing; later it is kept,
//! because the update needs it. An *incoming* session stays until its client says that it has all that it
//! needs, or an administrator gives it up: a client that ends before loses nothing, and claims it again.
//!
//! `F` is the descriptor; tests have others.

use std::collections::BTreeMap;

use crate::owner::Owner;
use crate::update::Generation;

/// The process of a client, by which it is known while it lives. A number that the kernel gives to each
/// process once, as the inode of its pidfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process(pub u64);

/// The owner and the label of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The unit or user.
    pub owner: Owner,
    /// The label by which it knows the session.
    pub label: String,
}

/// A session in custody.
#[derive(Debug)]
pub struct Held<F> {
    /// A descriptor of it.
    pub fd: F,
    /// Its state.
    pub state: State,
}

/// The state of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// For the next kernel.
    Outgoing {
        /// How far it is.
        stage: Stage,
        /// The processes that have asked for it, and live.
        clients: Vec<Process>,
        /// The update for which it was made, if one was being prepared.
        made_for: Option<Generation>,
    },
    /// Incoming; no living process has claimed it.
    Waiting,
    /// Incoming; a process has claimed it, and lives.
    Claimed {
        /// The process.
        by: Process,
    },
}

/// How far an outgoing session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its client works on it.
    Open,
    /// Its client is ready for the update.
    Ready,
}

impl State {
    /// Whether the session is for the next kernel.
    pub fn is_outgoing(&self) -> bool {
        matches!(self, Self::Outgoing { .. })
    }
}

/// The outcome of a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim<'a, F> {
    /// The session.
    Session(&'a F),
    /// Another process has claimed it, and lives.
    Held {
        /// The process.
        by: Process,
    },
    /// No such session came, or it is restored.
    ColdStart,
}

/// All sessions in custody.
#[derive(Debug)]
pub struct Custody<F> {
    outgoing: BTreeMap<Key, Held<F>>,
    incoming: BTreeMap<Key, Held<F>>,
}

impl<F> Default for Custody<F> {
    fn default() -> Self {
        Self { outgoing: BTreeMap::new(), incoming: BTreeMap::new() }
    }
}

impl<F> Custody<F> {
    /// The outgoing session of this key for one more process, if there is one. If not, the caller creates it
    /// and calls [`Custody::opened`].
    pub fn open(&mut self, key: &Key, client: Process) -> Option<&F> {
        let held = self.outgoing.get_mut(key)?;
        if let State::Outgoing { clients, .. } = &mut held.state
            && !clients.contains(&client)
        {
            clients.push(client);
        }
        Some(&held.fd)
    }

    /// An outgoing session was created for a process. One of the same key before it comes back.
    pub fn opened(
        &mut self,
        key: Key,
        client: Process,
        made_for: Option<Generation>,
        fd: F,
    ) -> Option<Held<F>> {
        let state = State::Outgoing { stage: Stage::Open, clients: vec![client], made_for };
        self.outgoing.insert(key, Held { fd, state })
    }

    /// Takes a session into custody that came from elsewhere: at start, from the fd store or the kernel. One of
    /// the same key before it comes back.
    pub fn take(&mut self, key: Key, state: State, fd: F) -> Option<Held<F>> {
        let map = if state.is_outgoing() { &mut self.outgoing } else { &mut self.incoming };
        map.insert(key, Held { fd, state })
    }

    /// Claims the incoming session of this key for a process. A process may claim it several times.
    pub fn claim(&mut self, key: &Key, client: Process) -> Claim<'_, F> {
        match self.incoming.get_mut(key) {
            None => Claim::ColdStart,
            Some(Held { state: State::Claimed { by }, .. }) if *by != client => {
                Claim::Held { by: *by }
            }
            Some(held) => {
                held.state = State::Claimed { by: client };
                Claim::Session(&held.fd)
            }
        }
    }

    /// The client has all that it needs of its incoming session: custody ends. `None` if there is no such
    /// session. Any process of the owner may say so, since the one that has claimed it may have been replaced.
    pub fn restored(&mut self, key: &Key) -> Option<Held<F>> {
        self.incoming.remove(key)
    }

    /// Gives up an outgoing session. `None` if there is no such session.
    pub fn discard(&mut self, key: &Key) -> Option<Held<F>> {
        self.outgoing.remove(key)
    }

    /// A client is ready: its sessions are kept until the update is over, whatever becomes of it.
    pub fn ready(&mut self, owner: &Owner, labels: &[String]) {
        for label in labels {
            let key = Key { owner: owner.clone(), label: label.clone() };
            if let Some(held) = self.outgoing.get_mut(&key)
                && let State::Outgoing { stage, .. } = &mut held.state
            {
                *stage = Stage::Ready;
            }
        }
    }

    /// An update is off: sessions are open again. Those without a living client come back to be closed, if
    /// they were made for this update, or the policy does not keep them.
    pub fn aborted(
        &mut self,
        generation: Generation,
        keep: impl Fn(&Owner) -> bool,
    ) -> Vec<(Key, Held<F>)> {
        for held in self.outgoing.values_mut() {
            if let State::Outgoing { stage, .. } = &mut held.state {
                *stage = Stage::Open;
            }
        }
        self.give_up(|key, state| {
            let State::Outgoing { clients, made_for, .. } = state else { return false };
            // A client that lives goes on with its session.
            clients.is_empty() && (*made_for == Some(generation) || !keep(&key.owner))
        })
    }

    /// A process has ended. Its incoming sessions wait for another one. Outgoing sessions that no other
    /// process has, and that are not ready, come back to be closed, unless the policy keeps them.
    pub fn ended(
        &mut self,
        process: Process,
        keep: impl Fn(&Owner) -> bool,
    ) -> Vec<(Key, Held<F>)> {
        for held in self.incoming.values_mut() {
            if held.state == (State::Claimed { by: process }) {
                held.state = State::Waiting;
            }
        }
        let mut had = Vec::new();
        for (key, held) in &mut self.outgoing {
            if let State::Outgoing { clients, .. } = &mut held.state {
                let before = clients.len();
                clients.retain(|client| *client != process);
                if clients.len() < before && clients.is_empty() {
                    had.push(key.clone());
                }
            }
        }
        self.give_up(|key, state| {
            matches!(state, State::Outgoing { stage: Stage::Open, .. })
                && had.contains(key)
                && !keep(&key.owner)
        })
    }

    /// Takes outgoing sessions out.
    fn give_up(&mut self, is_given_up: impl Fn(&Key, &State) -> bool) -> Vec<(Key, Held<F>)> {
        let keys = self.outgoing.iter().filter(|(key, held)| is_given_up(key, &held.state));
        let keys: Vec<_> = keys.map(|(key, _)| key.clone()).collect();
        keys.into_iter().filter_map(|key| self.outgoing.remove_entry(&key)).collect()
    }

    /// All sessions, outgoing ones first, by owner and label.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Held<F>)> {
        self.outgoing.iter().chain(&self.incoming)
    }

    /// The number of sessions of an owner for the next kernel.
    pub fn count(&self, owner: &Owner) -> usize {
        self.outgoing.keys().filter(|key| key.owner == *owner).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Process = Process(1);
    const TWO: Process = Process(2);

    fn owner() -> Owner {
        Owner::User(5)
    }

    fn key(label: &str) -> Key {
        Key { owner: owner(), label: label.into() }
    }

    fn labels(gone: Vec<(Key, Held<u8>)>) -> Vec<String> {
        gone.into_iter().map(|(key, _)| key.label).collect()
    }

    const KEEP: fn(&Owner) -> bool = |_| true;
    const GIVE_UP: fn(&Owner) -> bool = |_| false;

    #[test]
    fn a_session_of_a_client_that_ends_is_given_up_or_kept() {
        for (keep, is_ready, gone) in
            [(GIVE_UP, false, 1), (KEEP, false, 0), (GIVE_UP, true, 0), (KEEP, true, 0)]
        {
            let mut custody = Custody::default();
            assert!(custody.open(&key("x"), ONE).is_none());
            custody.opened(key("x"), ONE, None, 7);
            assert_eq!(custody.open(&key("x"), TWO), Some(&7));
            if is_ready {
                custody.ready(&owner(), &["x".into(), "other".into()]);
            }
            assert!(custody.ended(ONE, keep).is_empty(), "another process has it");
            assert_eq!(custody.ended(TWO, keep).len(), gone);
            assert_eq!(custody.count(&owner()), 1 - gone);
        }
    }

    #[test]
    fn an_incoming_session_outlives_its_clients() {
        let mut custody = Custody::default();
        custody.take(key("x"), State::Waiting, 7);
        assert_eq!(custody.claim(&key("y"), ONE), Claim::ColdStart);
        assert_eq!(custody.claim(&key("x"), ONE), Claim::Session(&7));
        assert_eq!(custody.claim(&key("x"), ONE), Claim::Session(&7));
        assert_eq!(custody.claim(&key("x"), TWO), Claim::Held { by: ONE });
        assert!(custody.ended(ONE, GIVE_UP).is_empty());
        assert_eq!(custody.claim(&key("x"), TWO), Claim::Session(&7));
        assert_eq!(custody.restored(&key("x")).map(|held| held.fd), Some(7));
        assert_eq!(custody.claim(&key("x"), TWO), Claim::ColdStart);
        assert!(custody.restored(&key("x")).is_none());
    }

    #[test]
    fn an_update_that_is_off_leaves_nothing_behind() {
        let (this, other) = (Generation(7), Generation(6));
        let mut custody = Custody::default();
        custody.opened(key("early"), ONE, None, 1);
        custody.opened(key("living"), ONE, Some(this), 5);
        custody.opened(key("made"), TWO, Some(this), 2);
        custody.opened(key("older"), ONE, Some(other), 3);
        custody.opened(key("orphan"), TWO, None, 4);
        let ready = ["early", "living", "made", "orphan"];
        custody.ready(&owner(), &ready.map(String::from));
        assert!(custody.ended(TWO, GIVE_UP).is_empty());
        assert_eq!(
            labels(custody.aborted(this, |owner| *owner == Owner::User(6))),
            ["made", "orphan"]
        );
        let left = custody.iter().map(|(key, held)| (key.label.as_str(), held.state.clone()));
        let open = |made_for| State::Outgoing { stage: Stage::Open, clients: vec![ONE], made_for };
        let expected =
            [("early", open(None)), ("living", open(Some(this))), ("older", open(Some(other)))];
        assert_eq!(left.collect::<Vec<_>>(), expected);
        assert_eq!(custody.discard(&key("early")).map(|held| held.fd), Some(1));
        assert!(custody.discard(&key("early")).is_none());
    }

    #[test]
    fn incoming_and_outgoing_sessions_of_one_label_are_two() {
        let mut custody = Custody::default();
        custody.take(key("x"), State::Waiting, 1);
        custody.opened(key("x"), ONE, None, 2);
        assert_eq!(custody.open(&key("x"), ONE), Some(&2));
        assert_eq!(custody.claim(&key("x"), ONE), Claim::Session(&1));
        assert_eq!(custody.iter().count(), 2);
    }
}
