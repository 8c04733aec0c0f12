// SPDX-License-Identifier: MIT OR Apache-2.0

//! The registry against the fd store, when luod starts.
//!
//! Whatever the two say, no fd is closed for it: to close one may destroy the memory of a guest. Only an
//! administrator gives one up, by name.

use std::collections::BTreeSet;

use liblu::SessionName;

use super::{Direction, Number, Registry, State, StoreName};

/// An fd of the store, as it was passed at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Its name there, which is not trusted.
    pub name: &'a str,
    /// The session that it is, by the word of the kernel; `None` if it is something else.
    pub session: Option<StoredSession>,
}

/// A session, by the word of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Its name.
    pub name: SessionName,
    /// Its direction. An idle session, which was finished, is outgoing.
    pub direction: Direction,
}

/// All that the store has, and all that it lacks. Each fd is in one of these lists, by its place among
/// those that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Sessions of the registry with their fds.
    pub matches: Vec<Match>,
    /// Registries, with their numbers.
    pub registries: Vec<(usize, u64)>,
    /// Fds whose name is that of a session in the registry, and that are another session or none. They are
    /// kept and reported.
    pub contradictions: Vec<(usize, Number)>,
    /// Fds of which the registry knows nothing. They are kept and listed as unknown.
    pub unknown: Vec<usize>,
    /// Sessions of the registry without any fd of their name. They are reported.
    pub missing: Vec<Number>,
    /// The highest number of a session in a name of the store, which must not be used again.
    pub last_number: Number,
}

/// A session of the registry with its fd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The session.
    pub number: Number,
    /// The place of the fd.
    pub at: usize,
    /// The way that it has gone since the registry was written.
    pub turn: Turn,
    /// The state from now on, for [`Registry::set_state`]. A session that has crossed may have the label
    /// of one that is missing: remove that one first.
    pub state: State,
}

/// The way of a session since the registry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It goes the same way.
    Same,
    /// It was outgoing and is incoming: it has crossed a kexec.
    Crossed,
    /// It was incoming and is outgoing: its client has finished it, and uses it for the next update.
    Reused,
}

/// Compares the registry with the fds of the store, without those of sockets.
///
/// An fd belongs to a session of the registry if its name in the store has the number of that session, and the
/// kernel says the same name. If there are several, the first one does.
pub fn compare(registry: &Registry, stored: &[Stored<'_>]) -> Contents {
    let mut contents = Contents::default();
    let mut named = Vec::new();
    for (at, fd) in stored.iter().enumerate() {
        match fd.name.parse() {
            Ok(StoreName::Session(number)) => {
                contents.last_number = contents.last_number.max(number);
                named.push((at, number));
            }
            Ok(StoreName::Registry(number)) if fd.session.is_none() => {
                contents.registries.push((at, number));
            }
            Ok(StoreName::Registry(_)) | Err(_) => contents.unknown.push(at),
        }
    }
    let mut matched = BTreeSet::new();
    let mut contradicted = BTreeSet::new();
    let mut rest = Vec::new();
    for (at, number) in named {
        let entry = registry.get(number);
        let session = stored.get(at).and_then(|fd| fd.session);
        match (entry, session) {
            (Some(entry), Some(session))
                if session.name == entry.name && matched.insert(number) =>
            {
                let (turn, state) = turn(entry.state, session.direction);
                contents.matches.push(Match { number, at, turn, state });
            }
            // Another fd of the same session.
            (Some(entry), Some(session)) if session.name == entry.name => rest.push(at),
            (Some(_), _) => {
                contradicted.insert(number);
                contents.contradictions.push((at, number));
            }
            (None, _) => rest.push(at),
        }
    }
    contents.unknown.extend(rest);
    contents.unknown.sort_unstable();
    let is_missing = |number: &Number| !matched.contains(number) && !contradicted.contains(number);
    contents.missing = registry.iter().map(|(number, _)| number).filter(is_missing).collect();
    contents
}

fn turn(was: State, direction: Direction) -> (Turn, State) {
    match (was.direction(), direction) {
        (Direction::Outgoing, Direction::Incoming) => (Turn::Crossed, State::Waiting),
        (Direction::Incoming, Direction::Outgoing) => (Turn::Reused, State::Open),
        (Direction::Outgoing, Direction::Outgoing) | (Direction::Incoming, Direction::Incoming) => {
            (Turn::Same, was)
        }
    }
}

#[cfg(test)]
mod tests;
