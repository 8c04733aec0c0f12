// SPDX-License-Identifier: MIT OR Apache-2.0

use std::time::Duration;

use super::*;

const ONE: Process = Process { pid: 1, inode: 1 };
/// The number of a process is used again.
const TWO: Process = Process { pid: 1, inode: 2 };

fn owner() -> Owner {
    Owner::User(5)
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn key(text: &str) -> Key {
    Key { owner: owner(), label: label(text) }
}

fn entry(text: &str, state: State, made_for: Option<Generation>) -> Entry {
    Entry::new(owner(), label(text), state, made_for).unwrap()
}

fn claim(by: Process) -> Claim {
    Claim::new(by, Duration::ZERO)
}

fn empty() -> Custody<u8> {
    Custody::new(Registry::default(), BTreeMap::new())
}

/// A custody with these outgoing sessions.
fn outgoing(sessions: &[(&str, Process, Option<Generation>, u8)]) -> Custody<u8> {
    let mut custody = empty();
    for (label, client, made_for, fd) in sessions {
        let entry = entry(label, State::Open, *made_for);
        custody.insert(entry, Some(*client), *fd).unwrap();
    }
    custody
}

fn fds(released: Vec<Released<u8>>) -> Vec<u8> {
    released.into_iter().map(|session| session.fd).collect()
}

const KEEP: fn(&Owner) -> bool = |_| true;
const GIVE_UP: fn(&Owner) -> bool = |_| false;

#[test]
fn a_session_of_a_client_that_ends_is_given_up_or_kept() {
    for (keep, is_ready, gone) in
        [(GIVE_UP, false, 1), (KEEP, false, 0), (GIVE_UP, true, 0), (KEEP, true, 0)]
    {
        let mut custody = empty();
        assert!(custody.open(&key("x"), ONE).is_none());
        custody.insert(entry("x", State::Open, None), Some(ONE), 7).unwrap();
        assert_eq!(custody.open(&key("x"), TWO), Some((Number(1), &7)));
        if is_ready {
            custody.ready(&owner(), &[label("x"), label("other")]);
        }
        assert!(custody.ended(TWO, keep).is_empty(), "another process has it");
        assert_eq!(custody.registry().get(Number(1)).unwrap().opened_by(), Some(ONE));
        assert_eq!(custody.ended(ONE, keep).len(), gone);
        assert_eq!(custody.count(&owner()), 1 - gone);
        assert_eq!(custody.processes().count(), 0);
    }
}

#[test]
fn a_client_that_takes_part_again_is_not_ready() {
    let mut custody = outgoing(&[("x", ONE, None, 1), ("y", ONE, None, 2)]);
    custody.ready(&owner(), &[label("x"), label("y")]);
    custody.takes_part(&owner(), &[label("x"), label("z")]);
    assert_eq!(fds(custody.ended(ONE, GIVE_UP)), [1]);
}

#[test]
fn a_session_that_is_kept_needs_no_client() {
    let mut custody = outgoing(&[("x", ONE, Some(Generation(7)), 1), ("y", ONE, None, 2)]);
    assert!(custody.keep(&key("x")));
    assert!(!custody.keep(&key("z")));
    assert_eq!(fds(custody.ended(ONE, GIVE_UP)), [2]);
    assert!(custody.aborted(Generation(7), GIVE_UP).is_empty());
    let registry = Registry::read(&custody.registry().write()).unwrap();
    assert!(registry.get(Number(1)).unwrap().is_kept());
}

#[test]
fn an_incoming_session_outlives_its_clients() {
    let mut custody = empty();
    custody.insert(entry("x", State::Waiting, None), None, 7).unwrap();
    assert_eq!(custody.claim(&key("y"), claim(ONE)), Claimed::Absent);
    assert_eq!(custody.claim(&key("x"), claim(ONE)), Claimed::Session(Number(1), &7));
    assert_eq!(custody.claim(&key("x"), claim(ONE)), Claimed::Session(Number(1), &7));
    assert_eq!(custody.claim(&key("x"), claim(TWO)), Claimed::Held(claim(ONE)));
    assert!(custody.ended(ONE, GIVE_UP).is_empty());
    assert_eq!(custody.claim(&key("x"), claim(TWO)), Claimed::Session(Number(1), &7));
    let released = custody.release(&key("x"), Direction::Incoming).unwrap();
    assert_eq!((released.number, released.fd), (Number(1), 7));
    assert_eq!(custody.claim(&key("x"), claim(TWO)), Claimed::Absent);
    assert!(custody.release(&key("x"), Direction::Incoming).is_none());
}

#[test]
fn an_update_that_is_off_leaves_nothing_behind() {
    let (this, other) = (Generation(7), Generation(6));
    let mut custody = outgoing(&[
        ("early", ONE, None, 1),
        ("living", ONE, Some(this), 5),
        ("made", TWO, Some(this), 2),
        ("older", ONE, Some(other), 3),
        ("orphan", TWO, None, 4),
    ]);
    custody.ready(&owner(), &["early", "living", "made", "orphan"].map(label));
    assert!(custody.ended(TWO, GIVE_UP).is_empty());
    let kept = custody.aborted(other, |owner| *owner == Owner::User(5));
    assert!(kept.is_empty());
    custody.ready(&owner(), &["early", "living", "made", "orphan"].map(label));
    assert_eq!(fds(custody.aborted(this, |owner| *owner == Owner::User(6))), [2, 4]);
    let left = custody.registry().iter().map(|(_, entry)| (entry.label().as_str(), *entry.state()));
    let expected = [("early", State::Open), ("living", State::Open), ("older", State::Open)];
    assert_eq!(left.collect::<Vec<_>>(), expected);
    assert_eq!(custody.release(&key("early"), Direction::Outgoing).unwrap().fd, 1);
    assert!(custody.release(&key("early"), Direction::Outgoing).is_none());
}

#[test]
fn incoming_and_outgoing_sessions_of_one_label_are_two() {
    let mut custody = empty();
    custody.insert(entry("x", State::Waiting, None), None, 1).unwrap();
    custody.insert(entry("x", State::Open, None), Some(ONE), 2).unwrap();
    let (error, fd) = custody.insert(entry("x", State::Ready, None), None, 3).unwrap_err();
    assert_eq!((error, fd), (EntryError::SameLabel, 3));
    assert_eq!(custody.open(&key("x"), ONE), Some((Number(2), &2)));
    assert_eq!(custody.claim(&key("x"), claim(ONE)), Claimed::Session(Number(1), &1));
    assert_eq!(custody.registry().iter().count(), 2);
    assert_eq!(custody.fd(Number(2)), Some(&2));
}

#[test]
fn after_a_restart_processes_are_known_and_lost_sessions_are_gone() {
    let mut before = outgoing(&[("x", ONE, None, 1), ("y", TWO, None, 2)]);
    before.insert(entry("z", State::Waiting, None), None, 3).unwrap();
    before.claim(&key("z"), claim(TWO));
    let registry = Registry::read(&before.registry().write()).unwrap();
    let fds = BTreeMap::from([(Number(1), 1), (Number(3), 3)]);
    let mut after = Custody::new(registry, fds);
    assert_eq!(after.registry().iter().count(), 2);
    assert_eq!(after.processes().collect::<Vec<_>>(), [ONE, TWO]);
    assert_eq!(after.ended(ONE, GIVE_UP).len(), 1);
    assert_eq!(after.claim(&key("z"), claim(ONE)), Claimed::Held(claim(TWO)));
    after.ended(TWO, GIVE_UP);
    assert_eq!(after.claim(&key("z"), claim(ONE)), Claimed::Session(Number(3), &3));
}
