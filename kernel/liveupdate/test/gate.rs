// SPDX-License-Identifier: GPL-2.0

//! A gate at which slow callbacks wait until a test lets them go on.

use kernel::{
    prelude::*,
    sync::{
        new_condvar,
        new_mutex,
        CondVar,
        Mutex,
        SetOnce, //
    },
};

static GATE: SetOnce<Pin<KBox<Gate>>> = SetOnce::new();

#[pin_data]
struct Gate {
    #[pin]
    state: Mutex<State>,
    #[pin]
    opened: CondVar,
}

struct State {
    /// The callbacks that wait.
    waiting: KVec<Waiter>,
    /// The ticket of the next one.
    next: u64,
}

struct Waiter {
    ticket: u64,
    /// The number of the file.
    number: u64,
}

/// Makes the gate.
pub(crate) fn set_up() -> Result {
    let state = State {
        waiting: KVec::new(),
        next: 0,
    };
    let gate = pin_init!(Gate {
        state <- new_mutex!(state, "luo_test::Gate::state"),
        opened <- new_condvar!("luo_test::Gate::opened"),
    });
    GATE.populate(KBox::pin_init(gate, GFP_KERNEL)?);
    Ok(())
}

/// Waits until the gate is opened for the file with this number.
pub(crate) fn pass(number: u64) {
    let Some(gate) = GATE.as_ref() else { return };
    let mut state = gate.state.lock();
    let ticket = state.next;
    state.next += 1;
    // If the callback does not wait, the test that waits for it reports this.
    if state
        .waiting
        .push(Waiter { ticket, number }, GFP_KERNEL)
        .is_err()
    {
        return;
    }
    while state.waiting.iter().any(|waiter| waiter.ticket == ticket) {
        gate.opened.wait(&mut state);
    }
}

/// Opens the gate once for the file with this number, or for all files (0).
pub(crate) fn open(number: u64) {
    if let Some(gate) = GATE.as_ref() {
        let stays = |waiter: &mut Waiter| number != 0 && waiter.number != number;
        gate.state.lock().waiting.retain(stays);
        gate.opened.notify_all();
    }
}

/// How many callbacks of the file with this number wait, or of all files (0).
pub(crate) fn waiting(number: u64) -> usize {
    let count = |gate: &Pin<KBox<Gate>>| {
        let state = gate.state.lock();
        let is_meant = |waiter: &&Waiter| number == 0 || waiter.number == number;
        state.waiting.iter().filter(is_meant).count()
    };
    GATE.as_ref().map_or(0, count)
}
