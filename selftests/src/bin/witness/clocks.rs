// SPDX-License-Identifier: MIT OR Apache-2.0

//! The clocks of the guest: none goes backwards, and a jump is a gap.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use selftests::witness::GAP_MS;

use crate::Seen;

/// The last look at the clocks.
#[derive(Default)]
pub(crate) struct Clocks {
    monotonic: Duration,
    realtime: Duration,
    boot: Duration,
}

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Clocks {
    /// The time since the guest was booted.
    pub(crate) fn now() -> Duration {
        read(ClockId::Monotonic)
    }

    /// Reads all clocks. Returns whether there was a gap.
    pub(crate) fn tick(&mut self, seen: &Seen) -> bool {
        let before = std::mem::take(self);
        *self = Self {
            monotonic: read(ClockId::Monotonic),
            realtime: read(ClockId::Realtime),
            boot: read(ClockId::Boottime),
        };
        let clocks = [
            ("CLOCK_MONOTONIC", before.monotonic, self.monotonic),
            ("CLOCK_REALTIME", before.realtime, self.realtime),
            ("CLOCK_BOOTTIME", before.boot, self.boot),
        ];
        for (name, before, now) in clocks {
            if now < before {
                seen.complain(&format!("{name} goes from {before:?} to {now:?}"));
            }
        }
        let is_first = before.monotonic.is_zero();
        let passed = self.monotonic.saturating_sub(before.monotonic);
        let gap_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let is_gap = !is_first && gap_ms > GAP_MS;
        seen.update(|report| {
            report.monotonic_ns = nanoseconds(self.monotonic);
            report.realtime_ns = nanoseconds(self.realtime);
            if is_gap {
                report.gaps += 1;
                report.last_gap_ms = gap_ms;
                report.longest_gap_ms = report.longest_gap_ms.max(gap_ms);
            }
        });
        is_gap
    }
}
