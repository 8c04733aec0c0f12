// SPDX-License-Identifier: MIT OR Apache-2.0

//! The service manager that has started luod.

use std::env;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use luod::system::notify::Notifier;

/// The service manager.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    pub(crate) notifier: Rc<Notifier>,
    /// The fds that its store takes.
    room: u32,
    /// The time within which it must hear of luod.
    pub(crate) watchdog: Option<Duration>,
}

impl Manager {
    /// The service manager, if there is one. The variables are those of `sd_notify(3)`.
    pub(crate) fn find() -> Result<Option<Self>, Box<dyn Error>> {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let notifier = Rc::new(Notifier::connect(&address)?);
        let room = number("FDSTORE").and_then(|it| it.try_into().ok()).unwrap_or_default();
        // Another process may have been meant.
        let is_for_us =
            number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| is_for_us).map(Duration::from_micros);
        Ok(Some(Self { notifier, room, watchdog }))
    }

    /// Its fd store, if the unit has one.
    pub(crate) fn store(&self) -> Option<(Rc<Notifier>, u32)> {
        if self.room == 0 {
            tracing::warn!("the unit has no FileDescriptorStoreMax=, so luod alone holds sessions");
            return None;
        }
        Some((Rc::clone(&self.notifier), self.room))
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}
