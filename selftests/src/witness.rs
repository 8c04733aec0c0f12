// SPDX-License-Identifier: MIT OR Apache-2.0

//! The reports of a guest of a VMM (`witness`, its PID 1): what it has seen, a line of JSON each.

use serde::{Deserialize, Serialize};

/// The beginning of a line with a report, on the console of the guest.
const PREFIX: &str = "witness ";

/// All that a guest has seen since it was booted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The number of reports before this one.
    pub number: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME` in nanoseconds.
    pub realtime_ns: u64,
    /// Pages that were verified, and written anew.
    pub pages: u64,
    /// How often each page was verified, at least.
    pub rounds: u64,
    /// Blocks that were written to the disk and read again.
    pub blocks: u64,
    /// Answers to its packets.
    pub answers: u64,
    /// Packets that were not answered.
    pub lost: u64,
    /// Reads of the random number generator.
    pub random: u64,
    /// How often its clock stood still for longer than [`GAP_MS`].
    pub gaps: u64,
    /// The longest time, in milliseconds.
    pub longest_gap_ms: u64,
    /// The last one.
    pub last_gap_ms: u64,
    /// Wrong bytes, clocks that went backwards, and anything else that must not be.
    pub complaints: u64,
    /// The first of them.
    pub first_complaint: String,
}

/// A time without the guest that counts as a gap, in milliseconds. A busy host makes shorter ones.
pub const GAP_MS: u64 = 1000;

impl Report {
    /// The line.
    #[must_use]
    pub fn line(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{PREFIX}{json}")
    }

    /// Reads a line of the console; `None` if it is something else, or cut off.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim_end().strip_prefix(PREFIX)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report =
            Report { number: 7, first_complaint: "a \"word\"".into(), ..Report::default() };
        assert_eq!(Report::parse(&format!("{}\r\n", report.line())), Some(report.clone()));
        let line = report.line();
        assert_eq!(Report::parse(&line[..line.len() - 1]), None);
        assert_eq!(Report::parse("[    0.0] Linux"), None);
    }
}
