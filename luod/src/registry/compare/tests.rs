// SPDX-License-Identifier: MIT OR Apache-2.0

use std::time::Duration;

use proptest::prelude::*;

use super::Direction::{Incoming, Outgoing};
use super::*;
use crate::registry::{Claim, Entry};

const CLAIMED: State = State::Claimed(CLAIM);

const CLAIM: Claim = Claim::LONGEST;

/// A registry with these sessions, by the last letter of their labels.
fn registry(sessions: &[(u64, char, State)]) -> Registry {
    let mut registry = Registry::default();
    for (number, label, state) in sessions {
        let owner = "unit:a.service".parse().unwrap();
        let label = label.to_string().parse().unwrap();
        let entry = Entry::new(owner, label, *state, None).unwrap();
        registry.insert(Number(*number), entry).unwrap();
    }
    registry
}

fn name(label: char) -> SessionName {
    SessionName::new(format!("unit:a.service/{label}")).unwrap()
}

fn stored(number: u64) -> String {
    StoreName::Session(Number(number)).to_string()
}

fn session(label: char, direction: Direction) -> StoredSession {
    StoredSession { name: name(label), direction }
}

#[test]
fn sessions_are_found_by_their_names() {
    let registry = registry(&[
        (1, 'a', State::Open),
        (2, 'b', State::Ready),
        (3, 'c', CLAIMED),
        (4, 'c', State::Open),
        (5, 'd', State::Waiting),
    ]);
    let names = [1, 2, 3, 4].map(stored);
    let fds = [
        Stored { name: "registry-7", session: None },
        Stored { name: &names[3], session: Some(session('c', Outgoing)) },
        Stored { name: &names[0], session: Some(session('a', Outgoing)) },
        Stored { name: &names[1], session: Some(session('b', Incoming)) },
        Stored { name: &names[2], session: Some(session('c', Outgoing)) },
    ];
    let one = |number, at, turn, state| Match { number: Number(number), at, turn, state };
    let expected = Contents {
        matches: vec![
            one(4, 1, Turn::Same, State::Open),
            one(1, 2, Turn::Same, State::Open),
            one(2, 3, Turn::Crossed, State::Waiting),
            one(3, 4, Turn::Reused, State::Open),
        ],
        registries: vec![(0, 7)],
        missing: vec![Number(5)],
        last_number: Number(4),
        ..Contents::default()
    };
    assert_eq!(compare(&registry, &fds), expected);
}

#[test]
fn a_claim_outlives_a_restart() {
    let name = stored(3);
    let fds = [Stored { name: &name, session: Some(session('c', Incoming)) }];
    let contents = compare(&registry(&[(3, 'c', CLAIMED)]), &fds);
    assert_eq!(contents.matches[0].state, CLAIMED);
    assert_eq!(CLAIM.since(), Duration::from_millis(u64::MAX));
}

#[test]
fn unknown_fds_are_listed() {
    let registry = registry(&[(1, 'a', State::Open)]);
    let names = [stored(2), stored(1), stored(9)];
    let fds = [
        // Numbers of no session, a foreign name, a session in place of a registry.
        Stored { name: &names[0], session: Some(session('a', Outgoing)) },
        Stored { name: &names[2], session: None },
        Stored { name: "vmm-memory", session: Some(session('a', Incoming)) },
        Stored { name: "registry-1", session: Some(session('a', Outgoing)) },
        Stored { name: "", session: None },
        // The second fd of one session.
        Stored { name: &names[1], session: Some(session('a', Outgoing)) },
        Stored { name: &names[1], session: Some(session('a', Outgoing)) },
    ];
    let contents = compare(&registry, &fds);
    assert_eq!(contents.unknown, [0, 1, 2, 3, 4, 6]);
    assert_eq!(contents.matches.len(), 1);
    assert_eq!((contents.matches[0].at, contents.last_number), (5, Number(9)));
    assert!(contents.missing.is_empty() && contents.contradictions.is_empty());
}

#[test]
fn an_fd_that_is_not_what_its_name_says_is_kept_and_reported() {
    let registry = registry(&[(1, 'a', State::Ready), (2, 'b', State::Ready)]);
    let names = [stored(1), stored(2)];
    let fds = [
        Stored { name: &names[0], session: Some(session('b', Outgoing)) },
        Stored { name: &names[1], session: None },
        Stored { name: &names[0], session: Some(session('a', Outgoing)) },
    ];
    let contents = compare(&registry, &fds);
    assert_eq!(contents.contradictions, [(0, Number(1)), (1, Number(2))]);
    // The right one is found behind the wrong one.
    assert_eq!(contents.matches.iter().map(|it| it.at).collect::<Vec<_>>(), [2]);
    assert!(contents.missing.is_empty() && contents.unknown.is_empty());
}

/// An fd with a name of the store and a session that may be one of a few, or not.
fn fd() -> impl Strategy<Value = (String, Option<StoredSession>)> {
    let name = prop_oneof![
        6 => (1..5_u64).prop_map(stored),
        1 => (1..4_u64).prop_map(|number| format!("registry-{number}")),
        1 => "[a-z:-]{0,9}",
    ];
    let direction = prop_oneof![Just(Outgoing), Just(Incoming)];
    let found = ("[a-c]", direction).prop_map(|(label, way)| Some(session(first(&label), way)));
    (name, prop_oneof![4 => found, 1 => Just(None)])
}

fn first(label: &str) -> char {
    label.chars().next().unwrap()
}

proptest! {
    #[test]
    fn every_fd_is_in_one_list_and_every_session_is_accounted_for(
        fds in proptest::collection::vec(fd(), 0..12),
        known in proptest::collection::btree_map(1..5_u64, "[a-c]", 0..5),
    ) {
        let mut registry = Registry::default();
        for (number, label) in &known {
            let (owner, label) = ("unit:a.service".parse().unwrap(), label.parse().unwrap());
            let entry = Entry::new(owner, label, State::Ready, None).unwrap();
            let _ = registry.insert(Number(*number), entry);
        }
        let fds: Vec<_> = fds.iter().map(|(name, session)| Stored { name, session: *session }).collect();
        let contents = compare(&registry, &fds);

        let mut places: Vec<_> = contents.matches.iter().map(|it| it.at).collect();
        places.extend(contents.registries.iter().map(|(at, _)| *at));
        places.extend(contents.contradictions.iter().map(|(at, _)| *at));
        places.extend(&contents.unknown);
        places.sort_unstable();
        prop_assert_eq!(places, (0..fds.len()).collect::<Vec<_>>());

        let mut found: Vec<_> = contents.matches.iter().map(|it| it.number).collect();
        found.extend(&contents.missing);
        let matched = found.len();
        found.extend(contents.contradictions.iter().map(|(_, number)| *number));
        found.sort_unstable();
        found.dedup();
        let all: Vec<_> = registry.iter().map(|(number, _)| number).collect();
        prop_assert_eq!(found, all);
        prop_assert!(matched <= registry.iter().count());
        for one in &contents.matches {
            prop_assert_eq!(fds[one.at].session.unwrap().name, registry.get(one.number).unwrap().name);
            prop_assert!(one.turn == Turn::Same || one.state == State::Waiting);
        }
    }
}
