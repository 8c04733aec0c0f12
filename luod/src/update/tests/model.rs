// SPDX-License-Identifier: MIT OR Apache-2.0

//! One to eight clients that are late, refuse, crash, return or join late, and administrators who call
//! off, load and unload, in all orders that proptest finds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A thing that happens.
#[derive(Clone, Debug)]
enum Move {
    Join { owner: u8, fails: bool },
    Gone(usize),
    Ready(usize),
    Refuse(usize),
    Extend(usize, u64),
    Begin { required: u8 },
    Cancel,
    Load,
    Unload,
    Frozen(bool),
    NotLeft,
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0..4_u8, any::<bool>()).prop_map(|(owner, fails)| Move::Join { owner, fails }),
        2 => (0..8_usize).prop_map(Move::Gone),
        8 => (0..8_usize).prop_map(Move::Ready),
        1 => (0..8_usize).prop_map(Move::Refuse),
        2 => (0..8_usize, 0..200_u64).prop_map(|(who, time)| Move::Extend(who, time)),
        4 => (0..16_u8).prop_map(|required| Move::Begin { required }),
        1 => Just(Move::Cancel),
        1 => Just(Move::Load),
        1 => Just(Move::Unload),
        4 => any::<bool>().prop_map(Move::Frozen),
        1 => Just(Move::NotLeft),
        3 => (0..40_u64).prop_map(Move::Wait),
    ];
    proptest::collection::vec(one, 1..120)
}

/// A client as the test knows it.
#[derive(Debug)]
struct Client {
    owner: Owner,
    fails: bool,
    is_there: bool,
    /// The update for which it was asked and has learned no outcome.
    asked: Option<Generation>,
    /// It has said that it is ready for this update.
    ready: Option<Generation>,
    /// It has learned that the kernel is left.
    committed: Option<Generation>,
}

impl Client {
    fn new(owner: Owner, fails: bool) -> Self {
        Self { owner, fails, is_there: true, asked: None, ready: None, committed: None }
    }
}

/// The machine, and all that was seen of it.
struct World {
    machine: Machine,
    now: u64,
    clients: BTreeMap<ParticipantId, Client>,
    order: Option<(Generation, Order)>,
    freeze: Option<(Generation, u32)>,
    leave: Option<Generation>,
    ended: BTreeSet<Generation>,
}

impl World {
    fn new() -> Self {
        Self {
            machine: machine(),
            now: 0,
            clients: BTreeMap::new(),
            order: None,
            freeze: None,
            leave: None,
            ended: BTreeSet::new(),
        }
    }

    /// The client of this number among those that are there.
    fn client(&self, number: usize) -> Option<ParticipantId> {
        let there: Vec<_> = self.clients.iter().filter(|(_, it)| it.is_there).collect();
        there.get(number % there.len().max(1)).map(|(id, _)| **id)
    }

    fn make(&mut self, one: &Move) {
        let now = at(self.now);
        let generation = self.machine.generation().unwrap_or_default();
        match *one {
            Move::Join { owner, fails } => {
                if self.clients.values().filter(|it| it.is_there).count() < 8 {
                    let owner = Owner::User(owner.into());
                    let failure = if fails { OnFailure::Fail } else { OnFailure::Drop };
                    let id = self.machine.join(now, owner.clone(), rule(failure));
                    let client = Client::new(owner, fails);
                    assert!(self.clients.insert(id, client).is_none(), "{id:?} was used before");
                }
            }
            Move::Gone(who) => {
                if let Some(id) = self.client(who) {
                    let client = self.clients.get_mut(&id).unwrap();
                    client.is_there = false;
                    client.asked = None;
                    self.machine.gone(now, id);
                }
            }
            Move::Ready(who) => {
                if let Some(id) = self.client(who)
                    && self.machine.ready(now, id, generation).is_ok()
                {
                    self.clients.get_mut(&id).unwrap().ready = Some(generation);
                }
            }
            Move::Refuse(who) => {
                if let Some(id) = self.client(who) {
                    let _ = self.machine.refuse(now, id, generation, "no".into());
                }
            }
            Move::Extend(who, time) => {
                if let Some(id) = self.client(who) {
                    let time = Duration::from_secs(time);
                    let _ = self.machine.extend(now, id, generation, time);
                }
            }
            Move::Begin { required } => {
                let owners = (0..4).filter(|at| required & 1 << at != 0 && required > 11);
                let owners: Vec<_> = owners.map(|at| format!("user:{at}")).collect();
                let order = order(&owners.iter().map(String::as_str).collect::<Vec<_>>());
                if let Ok(generation) = self.machine.begin(now, order.clone()) {
                    self.order = Some((generation, order));
                }
            }
            Move::Cancel => {
                let is_committing = matches!(self.machine.phase(), Phase::Committing { .. });
                let is_cancelled = self.machine.cancel().is_ok();
                assert_eq!(is_cancelled, generation != Generation(0) && !is_committing);
            }
            Move::Load => self.machine.loaded(),
            Move::Unload => self.machine.unloaded(),
            Move::Frozen(is_frozen) => {
                if let Some((generation, attempt)) = self.freeze.take() {
                    let outcome = if is_frozen { Ok(()) } else { Err("no".into()) };
                    self.machine.frozen(now, generation, attempt, outcome);
                }
            }
            Move::NotLeft => {
                if let Some(generation) = self.leave.take() {
                    self.machine.not_left(generation, "no".into());
                }
            }
            Move::Wait(seconds) => self.wait(seconds),
        }
        self.look();
    }

    /// Lets time pass, with a tick at each deadline, as an event loop does.
    fn wait(&mut self, seconds: u64) {
        let end = self.now + seconds;
        while let Some(deadline) = self.machine.deadline().filter(|it| *it <= at(end)) {
            self.now = self.now.max(deadline.0.as_secs());
            self.machine.tick(at(self.now));
            self.look();
            assert!(self.machine.deadline().is_none_or(|next| next > at(self.now)), "it is stuck");
        }
        self.now = end;
        self.machine.tick(at(end));
        self.look();
    }

    /// Looks at all actions, and holds them against the promises.
    fn look(&mut self) {
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::Prepare { to, generation, left } => {
                    let client = self.clients.get_mut(&to).unwrap();
                    assert!(client.is_there && client.asked.is_none(), "asked twice: {client:?}");
                    assert!(left <= Duration::from_secs(20), "{left:?} are too long");
                    client.asked = Some(generation);
                }
                Action::Abort { to, generation, .. } => {
                    let client = self.clients.get_mut(&to).unwrap();
                    let learns = client.asked.take().or(client.committed.take());
                    assert_eq!(learns, Some(generation), "told without being asked: {client:?}");
                }
                Action::Commit { to, generation } => {
                    let client = self.clients.get_mut(&to).unwrap();
                    assert_eq!((client.ready, client.asked), (Some(generation), Some(generation)));
                    client.asked = None;
                    client.committed = Some(generation);
                }
                Action::Leave { generation, .. } => self.check_commit(generation),
                Action::Ended { generation, .. } => {
                    assert!(self.ended.insert(generation), "it ends twice");
                    for client in self.clients.values().filter(|it| it.is_there) {
                        assert_eq!((client.asked, client.committed), (None, None), "{client:?}");
                    }
                    (self.freeze, self.leave) = (None, None);
                }
                Action::Freeze { generation, attempt } => self.freeze = Some((generation, attempt)),
                Action::GoOnWithout { id, .. } => assert!(!self.clients[&id].fails),
                Action::Thaw { .. } | Action::Changed => {}
            }
        }
    }

    /// Nothing is committed without all that it takes.
    fn check_commit(&mut self, generation: Generation) {
        let (of, order) = self.order.as_ref().unwrap();
        assert_eq!(*of, generation);
        let ready = || self.clients.values().filter(|it| it.ready == Some(generation));
        for owner in &order.required {
            assert!(ready().any(|it| it.owner == *owner), "{owner} is not ready");
        }
        for client in self.clients.values().filter(|it| it.is_there) {
            assert_eq!(client.asked, None, "an answer is awaited: {client:?}");
        }
        self.leave = Some(generation);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn promises_hold_in_all_orders(moves in moves()) {
        let mut world = World::new();
        for one in &moves {
            world.make(one);
        }
        // From wherever it is, it comes to rest without any client's help.
        world.wait(LIMITS.prepare.as_secs() + LIMITS.freeze.as_secs() + LIMITS.leave.as_secs() + 1);
        prop_assert!(matches!(world.machine.phase(), Phase::Idle | Phase::Loaded));
        for client in world.clients.values().filter(|it| it.is_there) {
            prop_assert_eq!((client.asked, client.committed), (None, None));
        }
        if let Some((generation, _)) = world.order {
            prop_assert!(world.ended.contains(&generation));
        }
    }
}
