// SPDX-License-Identifier: MIT OR Apache-2.0

//! How long to wait for the device while somebody else has it.

use std::time::Duration;

/// How often and how long to try to open the device, which one process at a time can have.
///
/// Each wait is twice as long as the one before. Everybody who follows the rules holds the device for
/// milliseconds.
///
/// ```
/// use std::time::Duration;
/// use liblu::{Backoff, LiveUpdate};
///
/// let patient = Backoff { total: Duration::from_secs(60), ..Backoff::default() };
/// let device = LiveUpdate::new().with_backoff(patient);
/// # drop(device);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
    /// All waits together are not longer; then the error is [`ErrorKind::Busy`](crate::ErrorKind::Busy).
    pub total: Duration,
}

impl Default for Backoff {
    /// From 1 ms to 250 ms, 10 s in all.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(250),
            total: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// Does not wait at all.
    ///
    /// ```
    /// let device = liblu::LiveUpdate::new().with_backoff(liblu::Backoff::NONE);
    /// # drop(device);
    /// ```
    pub const NONE: Self =
        Self { first: Duration::ZERO, longest: Duration::ZERO, total: Duration::ZERO };

    /// The waits, one after the other, for callers that wait in their own way.
    ///
    /// ```
    /// assert_eq!(liblu::Backoff::NONE.waits().count(), 0);
    /// ```
    pub fn waits(self) -> impl Iterator<Item = Duration> {
        let mut next = self.first.min(self.longest);
        let mut left = self.total;
        std::iter::from_fn(move || {
            let wait = next.min(left);
            if wait.is_zero() {
                return None;
            }
            left -= wait;
            next = next.saturating_mul(2).min(self.longest);
            Some(wait)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(backoff: Backoff) -> Vec<u128> {
        backoff.waits().map(|wait| wait.as_millis()).collect()
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let backoff = Backoff {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(4),
            total: Duration::from_millis(13),
        };
        assert_eq!(millis(backoff), [1, 2, 4, 4, 2]);
        assert!(millis(Backoff::NONE).is_empty());
        assert_eq!(Backoff::default().waits().sum::<Duration>(), Duration::from_secs(10));
    }

    #[test]
    fn a_backoff_that_never_waits_ends() {
        let backoff = Backoff { first: Duration::ZERO, ..Backoff::default() };
        assert!(millis(backoff).is_empty());
    }
}
