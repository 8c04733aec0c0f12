// SPDX-License-Identifier: GPL-2.0

//! The gate between `reboot(2)` and everything that changes sessions.
//!
//! `reboot(2)` has three steps: the gate is closed, so that nothing new begins; running callbacks
//! finish; then files are frozen and the handover is written. The gate is the only place that knows
//! how far this has come.
//!
//! Handlers and FLBs share state with each other, so none of their callbacks may run while files
//! are frozen, or afterwards. Commands hold a [`Pass`] while they run callbacks, and so does the
//! close of a session. Subsystems use FLBs on their own, also from within callbacks of files; a
//! callback that they cause holds an [`FlbPass`].

use kernel::{
    new_rwsem,
    prelude::*,
    sync::{
        rwsem::{
            ReadGuard,
            WriteGuard, //
        },
        RwSem, //
    },
};

/// The state of a gate that is not being closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Sessions may change.
    Running,
    /// The handover is written: nothing changes any more.
    HandedOver,
}

/// Keeps commands and FLB callbacks apart from `reboot(2)`.
#[pin_data]
pub(crate) struct Gate {
    /// Held for reading by commands; for writing from the moment that `reboot(2)` begins until it
    /// has failed or the handover is written. Readers only try, and a writer that waits makes them
    /// fail: so the gate is closed as soon as `reboot(2)` waits.
    #[pin]
    commands: RwSem<Phase>,
    /// The same for callbacks of FLBs. A callback of a command may need one after `commands` was
    /// closed, so this is closed when no command is left.
    #[pin]
    flbs: RwSem<Phase>,
}

/// Permission to change sessions and to run callbacks; `reboot(2)` waits until it is dropped.
///
/// It must not be held while userspace memory is accessed, since userspace could keep `reboot(2)`
/// waiting.
pub(crate) struct Pass<'a>(
    #[expect(dead_code, reason = "held until it is dropped")] ReadGuard<'a, Phase>,
);

/// Permission to run callbacks of an FLB for a subsystem.
pub(crate) struct FlbPass<'a>(
    #[expect(dead_code, reason = "held until it is dropped")] ReadGuard<'a, Phase>,
);

/// The gate is closed and no callback runs; it opens when this is dropped.
pub(crate) struct Closed<'a> {
    // In the order in which they are released.
    flbs: WriteGuard<'a, Phase>,
    commands: WriteGuard<'a, Phase>,
}

impl Gate {
    /// An open gate.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            commands <- new_rwsem!(Phase::Running, "luo::Gate::commands"),
            flbs <- new_rwsem!(Phase::Running, "luo::Gate::flbs"),
        })
    }

    /// Enters with a command, or with the close of a session.
    ///
    /// # Errors
    ///
    /// `EBUSY` from the moment that `reboot(2)` has begun.
    pub(crate) fn enter(&self) -> Result<Pass<'_>> {
        Ok(Pass(enter(&self.commands)?))
    }

    /// Enters with a callback of an FLB.
    ///
    /// # Errors
    ///
    /// `EBUSY` while `reboot(2)` freezes files and afterwards.
    pub(crate) fn enter_flb(&self) -> Result<FlbPass<'_>> {
        Ok(FlbPass(enter(&self.flbs)?))
    }

    /// Closes the gate, and waits until all passes are given back.
    ///
    /// # Errors
    ///
    /// `EINTR` if a fatal signal ends the wait, `EBUSY` if the handover is written already. The
    /// gate is as it was before.
    pub(crate) fn close(&self) -> Result<Closed<'_>> {
        let commands = self.commands.write_killable()?;
        if *commands == Phase::HandedOver {
            return Err(EBUSY);
        }
        let flbs = self.flbs.write_killable()?;
        Ok(Closed { flbs, commands })
    }

    /// The state of the gate; `None` while `reboot(2)` waits or freezes files.
    pub(crate) fn look(&self) -> Option<Phase> {
        self.commands.try_read().map(|phase| *phase)
    }
}

fn enter(door: &RwSem<Phase>) -> Result<ReadGuard<'_, Phase>> {
    let guard = door.try_read().ok_or(EBUSY)?;
    match *guard {
        Phase::Running => Ok(guard),
        Phase::HandedOver => Err(EBUSY),
    }
}

impl Closed<'_> {
    /// The handover is written: the gate stays shut for ever. No lock is held for that.
    pub(crate) fn hand_over(mut self) {
        *self.flbs = Phase::HandedOver;
        *self.commands = Phase::HandedOver;
    }
}
