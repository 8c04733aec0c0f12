// SPDX-License-Identifier: MIT OR Apache-2.0

//! A shutdown that others have begun: clients prepare in the time that is given.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

use super::Agent;
use crate::update::{Generation, Method, Order, Phase, Time};

/// The time that is left for luod itself, of the time that logind gives.
const MARGIN: Duration = Duration::from_millis(500);

impl Agent {
    /// A shutdown begins that cannot be stopped, only delayed for `time`. It returns when the shutdown may go
    /// on: at once if luod itself has begun it, or if no kernel is loaded, since nothing crosses then.
    pub async fn shutdown_begins(self: &Rc<Self>, time: Duration) {
        // luod may be leaving the kernel itself, or may be preparing to.
        let generation = self.change(|state| {
            state.is_shutting_down = true;
            let until = Time(state.now().0 + time.saturating_sub(MARGIN));
            state.machine.overtaken(until);
            state.generation()
        });
        if let Some(generation) = generation {
            let _ = timeout(time.saturating_sub(MARGIN), self.await_commit(generation)).await;
            return;
        }
        if !matches!(self.is_loaded().await, Ok(true)) {
            tracing::info!(
                "the machine shuts down without a next kernel: sessions end with this one"
            );
            return;
        }
        let deadline = time.saturating_sub(MARGIN);
        let order = Order { method: Method::Elsewhere, deadline, required: BTreeSet::new() };
        let begun = self.state().begin(order);
        let Ok(generation) = begun else { return };
        tracing::info!("update {}: others have begun it; clients have {time:?}", generation.0);
        // The shutdown goes on, whatever happens.
        let _ = self.announce().await;
        self.await_commit(generation).await;
        self.write_registry();
        let _ = self.flush().await;
    }

    /// Whether a shutdown is under way, of which this luod may have missed the begin, the end, or both.
    pub fn shutdown_seen(self: &Rc<Self>, is_under_way: bool) {
        let was_under_way = self.state().is_shutting_down;
        match (was_under_way, is_under_way) {
            (false, true) => self.state().is_shutting_down = true,
            (true, false) => self.shutdown_cancelled(),
            // An update of luod's own may be just before its shutdown.
            (false, false) | (true, true) => {}
        }
    }

    /// The shutdown was called off.
    pub fn shutdown_cancelled(self: &Rc<Self>) {
        self.change(|state| {
            state.is_shutting_down = false;
            let is_committing = matches!(state.machine.phase(), Phase::Committing { .. });
            let is_meant = match state.machine.method() {
                Some(Method::Elsewhere) => true,
                Some(Method::Systemctl) => is_committing,
                Some(Method::Now) | None => false,
            };
            if is_meant {
                state.machine.not_begun("the shutdown was called off");
            }
        });
    }

    /// Waits until all clients are ready or left behind, or the update is off.
    async fn await_commit(&self, generation: Generation) {
        let mut changes = self.changes();
        loop {
            let is_waiting = {
                let state = self.state();
                let phase = state.machine.phase();
                state.generation() == Some(generation) && !matches!(phase, Phase::Committing { .. })
            };
            if !is_waiting || changes.changed().await.is_err() {
                return;
            }
        }
    }
}
