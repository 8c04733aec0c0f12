// SPDX-License-Identifier: MIT OR Apache-2.0

//! The part of a client that differs from one program to the other.

use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::{Error, Handover};

/// What a [`Client`](crate::Client) keeps alive: a guest, or the data of a program.
///
/// ```
/// use std::os::fd::OwnedFd;
/// use std::time::Instant;
/// use liblu::{Error, Handover, Resumed, Workload};
///
/// struct Cache {
///     table: OwnedFd,
/// }
///
/// impl Workload for Cache {
///     type Error = Error;
///
///     fn preserve(&mut self, session: &Handover) -> Result<(), Error> {
///         session.preserve("table", &self.table).map(drop)
///     }
///     fn stop(&mut self, session: &Handover, _deadline: Instant) -> Result<(), Error> {
///         // No more writes from here on.
///         session.set_state("table", b"1")
///     }
///     fn resume(&mut self) -> Result<Resumed, Error> {
///         Ok(Resumed::WithSession)
///     }
///     fn report(&mut self, message: &str) {
///         eprintln!("cache: {message}");
///     }
/// }
/// ```
pub trait Workload {
    /// Why something failed. `{:#}` of it is sent to the agent and to [`Workload::report`].
    type Error: Display + From<Error>;

    /// Preserves what can be preserved while it works; a new session has nothing else yet.
    ///
    /// # Errors
    ///
    /// If it cannot: the session is given up, and the client tries again later.
    fn preserve(&mut self, session: &Handover) -> std::result::Result<(), Self::Error>;

    /// Stops it, and preserves the rest. After this it must not change what is preserved.
    ///
    /// # Errors
    ///
    /// If it cannot: the update is refused with the reason, and [`Workload::resume`] follows.
    fn stop(
        &mut self,
        session: &Handover,
        deadline: Instant,
    ) -> std::result::Result<(), Self::Error>;

    /// The session is complete, and the agent knows it: the next kernel gets the workload, unless
    /// [`Workload::resume`] comes first.
    fn ready(&mut self) {}

    /// Lets it work again in this process: there is no update. No kernel takes what [`Workload::stop`] has preserved
    /// for complete any more. It is also called after a `stop` that has failed.
    ///
    /// # Errors
    ///
    /// If it cannot: it is called again soon. A workload that can never go on says so by [`Workload::ended`].
    fn resume(&mut self) -> std::result::Result<Resumed, Self::Error>;

    /// Can be read from when the workload has ended, such as a pidfd. It is asked for again after each event.
    fn ended(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Tells people what happens.
    fn report(&mut self, message: &str);
}

/// The session after [`Workload::resume`].
///
/// ```
/// assert_ne!(liblu::Resumed::WithSession, liblu::Resumed::Anew);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// What is preserved stays preserved: [`Workload::stop`] may come again.
    WithSession,
    /// The session is given up, and [`Workload::preserve`] begins a new one.
    Anew,
}
