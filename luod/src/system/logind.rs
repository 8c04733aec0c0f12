// SPDX-License-Identifier: MIT OR Apache-2.0

//! logind delays a shutdown while luod lets clients prepare for it.

use std::future::Future;
use std::time::Duration;

use futures_lite::StreamExt as _;
use tokio::time::timeout;
use zbus::zvariant::OwnedFd;

/// `org.freedesktop.login1.Manager`, as far as it is needed.
#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1",
    gen_blocking = false
)]
trait Logind {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;

    #[zbus(signal)]
    fn prepare_for_shutdown(&self, start: bool) -> zbus::Result<()>;

    // Read anew each time: a shutdown may begin or end while nothing is heard.
    #[zbus(property(emits_changed_signal = "false"))]
    fn preparing_for_shutdown(&self) -> zbus::Result<bool>;

    #[zbus(property, name = "InhibitDelayMaxUSec")]
    fn inhibit_delay_max(&self) -> zbus::Result<u64>;
}

/// A shutdown, by the word of logind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It begins, and is delayed for this time at most.
    Begins(Duration),
    /// It was called off.
    Cancelled,
    /// Whether one is under way, as logind says when it is asked, not when that changes.
    Seen(bool),
}

/// Whether a shutdown has begun.
///
/// # Errors
///
/// There is no system bus, or no logind.
pub async fn is_shutting_down() -> zbus::Result<bool> {
    let bus = zbus::Connection::system().await?;
    LogindProxy::new(&bus).await?.preparing_for_shutdown().await
}

/// Between two questions whether a shutdown is still under way, as long as logind gives no lock.
const PAUSE: Duration = Duration::from_secs(5);

/// Tells `handle` of each shutdown, and delays it until `handle` has returned. It returns when logind is gone.
///
/// # Errors
///
/// There is no system bus, or no logind.
pub async fn follow<F: Future<Output = ()>>(
    mut handle: impl FnMut(Shutdown) -> F,
) -> zbus::Result<()> {
    let bus = zbus::Connection::system().await?;
    let logind = LogindProxy::new(&bus).await?;
    let mut shutdowns = logind.receive_prepare_for_shutdown().await?;
    // Now, for a change that came before the subscription is not heard.
    let is_under_way = logind.preparing_for_shutdown().await?;
    handle(Shutdown::Seen(is_under_way)).await;
    let why = "programs prepare for a live update of the kernel";
    let lock = async || logind.inhibit("shutdown", "luod", why, "delay").await;
    // In a shutdown, logind gives none.
    let mut inhibitor = if is_under_way { None } else { Some(lock().await?) };
    loop {
        let next = shutdowns.next();
        let signal = if inhibitor.is_some() { Ok(next.await) } else { timeout(PAUSE, next).await };
        match signal {
            Ok(None) => return Ok(()),
            Ok(Some(signal)) if signal.args()?.start => {
                let time = logind.inhibit_delay_max().await.map_or(DELAY, Duration::from_micros);
                handle(Shutdown::Begins(time)).await;
                // The shutdown goes on.
                inhibitor = None;
            }
            Ok(Some(_)) => {
                handle(Shutdown::Cancelled).await;
                inhibitor = lock().await.ok();
            }
            Err(_) => {
                handle(Shutdown::Seen(logind.preparing_for_shutdown().await?)).await;
                inhibitor = lock().await.ok();
            }
        }
    }
}

/// The time that logind gives by default.
const DELAY: Duration = Duration::from_secs(5);
