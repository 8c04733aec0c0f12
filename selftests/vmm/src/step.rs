// SPDX-License-Identifier: MIT OR Apache-2.0

//! The steps of an update, for those who watch: a line on standard error with the time of each.
//!
//! Tests end the VMM at a step of their choice, as a crash would.

use rustix::time::{ClockId, clock_gettime};

/// A step that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The agent has sent the session.
    Claimed,
    /// The memory is there again.
    Retrieved,
    /// The state is in the new virtual machine.
    Restored,
    /// Each virtual CPU has run.
    Running,
    /// The session is finished.
    Finished,
    /// The memory is preserved for the next update.
    Preserved,
    /// The agent prepares an update.
    Preparing,
    /// The guest stands still.
    Paused,
    /// Its state is in preserved memory.
    Saved,
    /// The agent knows that the guest is ready.
    Ready,
    /// The update is off, and the guest runs again.
    Resumed,
}

/// The step at which the program is to crash.
const CRASH: &str = "VMM_CRASH";

impl Step {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Says that the step is done: `vmm: STEP at SECONDS`, where `CLOCK_MONOTONIC` is the clock.
    pub(crate) fn done(self) {
        let now = clock_gettime(ClockId::Monotonic);
        eprintln!("vmm: {} at {}.{:09}", self.name(), now.tv_sec, now.tv_nsec);
        if std::env::var_os(CRASH).is_some_and(|at| at == self.name().as_str()) {
            std::process::abort();
        }
    }
}
