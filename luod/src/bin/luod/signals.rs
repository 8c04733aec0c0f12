// SPDX-License-Identifier: MIT OR Apache-2.0

//! Signals, and messages to the service manager.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use luod::agent::Agent;
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::manager::Manager;

/// The time within which a second signal ends luod although sessions are lost by that.
const SURE: Duration = Duration::from_secs(10);

/// The signals that luod takes.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they do not end luod.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Serves until a signal ends luod.
    pub(crate) async fn serve(mut self, agent: &Rc<Agent>, manager: Option<&Manager>) {
        tell(manager, "READY=1").await;
        let status = agent.status();
        tracing::info!(
            "luod {} has started with {} sessions ({:?})",
            status.version,
            status.sessions,
            status.mode
        );
        let mut warned: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hangup.recv() => {
                    reload(agent, manager).await;
                    continue;
                }
            }
            let lost = agent.lost_by_stopping();
            if lost == 0 || warned.is_some_and(|at| at.elapsed() < SURE) {
                return;
            }
            warned = Some(Instant::now());
            tracing::error!(
                "{lost} sessions of the previous kernel may be lost if luod ends, since no service manager holds \
                 them; send the signal again within {SURE:?} to end it nevertheless"
            );
        }
    }
}

async fn reload(agent: &Rc<Agent>, manager: Option<&Manager>) {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = Duration::try_from(now).unwrap_or_default().as_micros();
    tell(manager, &format!("RELOADING=1\nMONOTONIC_USEC={micros}")).await;
    // The error is in the log, and the old policy stays.
    let _ = agent.reload().await;
    tell(manager, "READY=1").await;
}

/// Tells the service manager again and again that luod lives, if it wants to hear of it.
pub(crate) async fn watchdog(manager: Manager) {
    let Some(time) = manager.watchdog else { return };
    loop {
        sleep(time / 2).await;
        tell(Some(&manager), "WATCHDOG=1").await;
    }
}

pub(crate) async fn tell(manager: Option<&Manager>, text: &str) {
    if let Some(manager) = manager {
        manager.notifier.send(text, None);
        let _ = manager.notifier.flush().await;
    }
}
