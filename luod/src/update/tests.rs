// SPDX-License-Identifier: MIT OR Apache-2.0

//! Updates step by step; the [model](model) tries all orders.

use std::time::Duration;

use super::*;

mod model;

const LIMITS: Limits = Limits {
    prepare: Duration::from_secs(100),
    freeze: Duration::from_secs(10),
    leave: Duration::from_mins(1),
};

fn at(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

fn rule(on_failure: OnFailure) -> Rule {
    Rule { on_failure, longest: Duration::from_secs(50) }
}

fn owner(text: &str) -> Owner {
    text.parse().unwrap()
}

fn order(required: &[&str]) -> Order {
    Order {
        method: Method::Systemctl,
        deadline: Duration::from_secs(20),
        required: required.iter().copied().map(owner).collect(),
    }
}

fn machine() -> Machine {
    let mut machine = Machine::new(LIMITS, Generation(6));
    machine.loaded();
    machine
}

/// All actions but the notes that something has changed.
fn actions(machine: &mut Machine) -> Vec<Action> {
    let all = std::iter::from_fn(|| machine.next_action());
    all.filter(|action| *action != Action::Changed).collect()
}

fn asked(to: ParticipantId, seconds: u64) -> Action {
    Action::Prepare { to, generation: Generation(7), left: Duration::from_secs(seconds) }
}

const SEVEN: Generation = Generation(7);

#[test]
fn an_update_without_clients_goes_through() {
    let mut machine = Machine::new(LIMITS, Generation(6));
    assert_eq!(machine.begin(at(0), order(&[])), Err(BeginError::NotLoaded));
    machine.loaded();
    assert_eq!(machine.phase(), Phase::Loaded);
    assert_eq!(machine.begin(at(1), order(&[])), Ok(SEVEN));
    assert_eq!(machine.begin(at(1), order(&[])), Err(BeginError::InProgress));
    assert_eq!(actions(&mut machine), [Action::Freeze { generation: SEVEN, attempt: 1 }]);
    machine.frozen(at(2), SEVEN, 1, Ok(()));
    let leave = Action::Leave { method: Method::Systemctl, generation: SEVEN };
    assert_eq!(actions(&mut machine), [leave]);
    assert_eq!(machine.phase(), Phase::Committing { until: at(62) });
    assert_eq!(machine.cancel(), Err(CancelError::Committing));
}

#[test]
fn all_clients_are_asked_and_awaited() {
    let mut machine = machine();
    let one = machine.join(at(0), owner("unit:a.service"), rule(OnFailure::Fail));
    let two = machine.join(at(0), owner("unit:b.service"), rule(OnFailure::Fail));
    machine.begin(at(1), order(&["unit:a.service"])).unwrap();
    assert_eq!(actions(&mut machine), [asked(one, 20), asked(two, 20)]);
    assert_eq!(machine.deadline(), Some(at(21)));
    machine.ready(at(2), one, SEVEN).unwrap();
    assert_eq!(machine.ready(at(2), one, SEVEN), Err(AnswerError::Answered));
    let stale = AnswerError::Stale { current: Some(SEVEN) };
    assert_eq!(machine.ready(at(2), two, Generation(6)), Err(stale));
    assert_eq!(machine.awaited().collect::<Vec<_>>(), [(two, &owner("unit:b.service"))]);
    assert!(actions(&mut machine).is_empty());
    machine.ready(at(3), two, SEVEN).unwrap();
    assert_eq!(actions(&mut machine), [Action::Freeze { generation: SEVEN, attempt: 1 }]);
    machine.frozen(at(4), SEVEN, 1, Ok(()));
    let commit = |to| Action::Commit { to, generation: SEVEN };
    let leave = Action::Leave { method: Method::Systemctl, generation: SEVEN };
    assert_eq!(actions(&mut machine), [commit(one), commit(two), leave]);
    // The kernel could not be left: all go on.
    machine.not_left(SEVEN, "EBUSY".into());
    let reason = Reason::NotLeft("EBUSY".into());
    let abort = |to| Action::Abort { to, generation: SEVEN, reason: reason.clone() };
    let ended = Action::Ended { generation: SEVEN, reason: reason.clone() };
    assert_eq!(actions(&mut machine), [abort(one), abort(two), ended]);
    assert_eq!((machine.phase(), machine.deadline()), (Phase::Loaded, None));
    assert_eq!(machine.begin(at(6), order(&[])), Ok(Generation(8)));
}

#[test]
fn a_client_that_is_late_fails_the_update_or_is_left_out() {
    let mut machine = machine();
    let slow = machine.join(at(0), owner("user:1"), rule(OnFailure::Drop));
    let quick = machine.join(at(0), owner("unit:b.service"), rule(OnFailure::Fail));
    machine.begin(at(1), order(&[])).unwrap();
    machine.ready(at(2), quick, SEVEN).unwrap();
    assert_eq!(
        machine.extend(at(3), slow, SEVEN, Duration::from_secs(30)),
        Ok(Duration::from_secs(30))
    );
    // Its rule has 50 seconds.
    assert_eq!(
        machine.extend(at(3), slow, SEVEN, Duration::from_secs(90)),
        Ok(Duration::from_secs(48))
    );
    actions(&mut machine);
    machine.tick(at(50));
    assert!(actions(&mut machine).is_empty());
    machine.tick(at(51));
    let there = actions(&mut machine);
    assert!(matches!(&there[0], Action::Abort { to, reason: Reason::Late, .. } if *to == slow));
    assert!(matches!(&there[1], Action::GoOnWithout { id, .. } if *id == slow));
    assert_eq!(there[2], Action::Freeze { generation: SEVEN, attempt: 1 });

    let mut machine = self::machine();
    machine.join(at(0), owner("unit:b.service"), rule(OnFailure::Fail));
    machine.begin(at(1), order(&[])).unwrap();
    actions(&mut machine);
    machine.tick(machine.deadline().unwrap());
    let there = actions(&mut machine);
    let why = Box::new(Reason::Late);
    let reason = Reason::Participant { owner: owner("unit:b.service"), why };
    assert_eq!(there.last(), Some(&Action::Ended { generation: SEVEN, reason }));
}

#[test]
fn a_client_that_ends_before_it_is_ready_counts_as_failed_and_later_as_ready() {
    let mut machine = machine();
    let ready = machine.join(at(0), owner("unit:a.service"), rule(OnFailure::Fail));
    let other = machine.join(at(0), owner("unit:b.service"), rule(OnFailure::Drop));
    machine.begin(at(1), order(&["unit:a.service"])).unwrap();
    machine.ready(at(2), ready, SEVEN).unwrap();
    machine.gone(at(3), ready);
    actions(&mut machine);
    machine.gone(at(4), other);
    let there = actions(&mut machine);
    assert!(matches!(&there[0], Action::GoOnWithout { reason: Reason::Gone, .. }));
    assert_eq!(there[1], Action::Freeze { generation: SEVEN, attempt: 1 });
    machine.frozen(at(5), SEVEN, 1, Ok(()));
    // No one is there to be told.
    let leave = Action::Leave { method: Method::Systemctl, generation: SEVEN };
    assert_eq!(actions(&mut machine), [leave]);
}

#[test]
fn a_required_owner_without_a_ready_client_stops_the_update() {
    let mut machine = machine();
    machine.begin(at(1), order(&["unit:a.service"])).unwrap();
    let ended =
        Action::Ended { generation: SEVEN, reason: Reason::Missing(owner("unit:a.service")) };
    assert_eq!(actions(&mut machine), [ended]);
}

#[test]
fn a_client_that_joins_late_is_asked_with_the_time_that_is_left() {
    let mut machine = machine();
    let first = machine.join(at(0), owner("unit:a.service"), rule(OnFailure::Fail));
    machine.begin(at(1), order(&[])).unwrap();
    machine.ready(at(2), first, SEVEN).unwrap();
    actions(&mut machine);
    // While sessions are frozen.
    let late = machine.join(at(90), owner("unit:b.service"), rule(OnFailure::Fail));
    assert_eq!(actions(&mut machine), [Action::Thaw { generation: SEVEN }, asked(late, 11)]);
    machine.frozen(at(91), SEVEN, 1, Err("stale".into()));
    assert!(actions(&mut machine).is_empty());
    machine.ready(at(92), late, SEVEN).unwrap();
    assert_eq!(actions(&mut machine), [Action::Freeze { generation: SEVEN, attempt: 2 }]);
    // After the last call it is not asked.
    machine.join(at(101), owner("unit:c.service"), rule(OnFailure::Fail));
    assert!(actions(&mut machine).is_empty());
    machine.frozen(at(101), SEVEN, 2, Ok(()));
    assert_eq!(actions(&mut machine).len(), 3);
}

#[test]
fn another_kernel_or_none_calls_an_update_off() {
    for (unload, reason) in [(false, Reason::OtherKernel), (true, Reason::Unloaded)] {
        let mut machine = machine();
        let one = machine.join(at(0), owner("unit:a.service"), rule(OnFailure::Fail));
        machine.begin(at(1), order(&[])).unwrap();
        actions(&mut machine);
        if unload {
            machine.unloaded();
        } else {
            machine.loaded();
        }
        let abort = Action::Abort { to: one, generation: SEVEN, reason: reason.clone() };
        assert_eq!(actions(&mut machine), [abort, Action::Ended { generation: SEVEN, reason }]);
        let phase = if unload { Phase::Idle } else { Phase::Loaded };
        assert_eq!(machine.phase(), phase);
        let stale = AnswerError::Stale { current: None };
        assert_eq!(machine.ready(at(3), one, SEVEN), Err(stale));
        assert_eq!(machine.cancel(), Err(CancelError::NoUpdate));
    }
}

#[test]
fn a_shutdown_of_others_waits_for_clients_and_goes_on_without_those_that_fail() {
    let mut machine = machine();
    let ready = machine.join(at(0), owner("unit:a.service"), rule(OnFailure::Fail));
    let late = machine.join(at(0), owner("unit:b.service"), rule(OnFailure::Fail));
    let order = Order { method: Method::Elsewhere, ..order(&["unit:never.there.service"]) };
    machine.begin(at(1), order).unwrap();
    assert_eq!(actions(&mut machine), [asked(ready, 20), asked(late, 20)]);
    machine.ready(at(2), ready, SEVEN).unwrap();
    machine.tick(at(21));
    let [abort, without, freeze] = &actions(&mut machine)[..] else { panic!() };
    assert!(matches!(abort, Action::Abort { to, reason: Reason::Late, .. } if *to == late));
    assert!(matches!(without, Action::GoOnWithout { id, .. } if *id == late));
    assert_eq!(*freeze, Action::Freeze { generation: SEVEN, attempt: 1 });
    machine.frozen(at(22), SEVEN, 1, Ok(()));
    let commit = Action::Commit { to: ready, generation: SEVEN };
    let leave = Action::Leave { method: Method::Elsewhere, generation: SEVEN };
    assert_eq!(actions(&mut machine), [commit, leave]);
    // The shutdown is called off.
    machine.not_begun("called off");
    let [abort, ended] = &actions(&mut machine)[..] else { panic!() };
    assert!(matches!(abort, Action::Abort { to, .. } if *to == ready));
    assert!(matches!(ended, Action::Ended { generation: SEVEN, .. }));
    assert_eq!(machine.phase(), Phase::Loaded);
}

#[test]
fn others_that_leave_the_kernel_do_not_wait_and_cannot_be_stopped() {
    let mut machine = machine();
    let late = machine.join(at(0), owner("user:1"), rule(OnFailure::Fail));
    let ready = machine.join(at(0), owner("user:2"), rule(OnFailure::Fail));
    machine.begin(at(1), order(&["user:1"])).unwrap();
    machine.ready(at(2), ready, SEVEN).unwrap();
    machine.overtaken(at(7));
    assert_eq!(machine.deadline(), Some(at(7)));
    assert_eq!(
        machine.extend(at(3), late, SEVEN, Duration::from_secs(90)),
        Ok(Duration::from_secs(4))
    );
    actions(&mut machine);
    machine.tick(at(7));
    let done = actions(&mut machine);
    assert!(done.contains(&Action::Freeze { generation: SEVEN, attempt: 1 }), "{done:?}");
    assert!(!done.iter().any(|it| matches!(it, Action::Ended { .. })), "{done:?}");
    machine.frozen(at(7), SEVEN, 1, Ok(()));
    machine.is_being_left(SEVEN);
    machine.tick(at(100_000));
    assert!(matches!(machine.phase(), Phase::Committing { .. }), "services take their time");
    machine.not_begun("the shutdown was called off");
    assert_eq!(machine.phase(), Phase::Loaded);
}
