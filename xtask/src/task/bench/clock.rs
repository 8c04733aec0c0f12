// SPDX-License-Identifier: MIT OR Apache-2.0

//! The clock of the kernel's log, which counts instructions in a machine that counts them.

use selftests::plan::CYCLES;

use crate::vm::HopRecord;

/// The kernel's last words.
pub(super) const LEFT: &str = "Starting new kernel";

/// The time between the last messages of the kernel with these texts, by the clock of the kernel's log.
pub(super) fn between(hop: &HopRecord, begin: &str, end: &str) -> Option<u64> {
    let time = |mark: &str| hop.log.iter().rev().find_map(|line| stamp(line, mark));
    time(end)?.checked_sub(time(begin)?)
}

/// The cycle, and the time of the kernel's clock, that the last line with this mark has.
pub(super) fn moment(hop: &HopRecord, mark: &str) -> Option<(u64, u64)> {
    let mark = format!("{mark}{CYCLES}");
    hop.log.iter().rev().find_map(|line| {
        let (_, cycle) = line.split_once(&mark)?;
        Some((cycle.trim().parse().ok()?, stamp(line, &mark)?))
    })
}

/// The time of a message with this text, in nanoseconds: `[    1.234567] ...`.
///
/// A program may write to the same serial port, and the kernel does not wait for the end of its line.
fn stamp(line: &str, text: &str) -> Option<u64> {
    let before = line.get(..line.find(text)?)?;
    let (time, _) = before.rsplit_once('[')?.1.split_once(']')?;
    let (seconds, micros) = time.trim().split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let micros: u64 = micros.parse().ok()?;
    seconds.checked_mul(1_000_000)?.checked_add(micros)?.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use selftests::plan::{ENTERED, LEAVING};

    #[test]
    fn a_line_of_the_log_has_a_time() {
        let stamp = |line| stamp(line, LEFT);
        assert_eq!(stamp("[    1.234567] kexec_core: Starting new kernel"), Some(1_234_567_000));
        assert_eq!(stamp("[  123.000001] Starting new kernel"), Some(123_000_001_000));
        assert_eq!(stamp("[  123.000001] x"), None);
        assert_eq!(stamp("Starting new kernel"), None);
        let torn = " INFO update [2]: leaving (Now)[    2.708256] kexec_core: Starting new kernel";
        assert_eq!(stamp(torn), Some(2_708_256_000));
    }

    #[test]
    fn leaving_lies_between_two_lines() {
        let log = [
            "[    1.000000] vm-test: hop 1: files/before",
            "[    2.000001] vm-test: leaving",
            " INFO update [2]: leaving (Now)[    2.500001] kexec_core: Starting new kernel",
        ];
        let hop = HopRecord { log: log.map(String::from).into(), ..HopRecord::default() };
        assert_eq!(between(&hop, LEAVING, LEFT), Some(500_000_000));
        assert_eq!(between(&HopRecord::default(), LEAVING, LEFT), None);
    }

    #[test]
    fn a_line_has_a_cycle_and_a_time() {
        let line = "[    0.412345] vm-test: entered, cycle 900000123".to_owned();
        let hop = HopRecord { log: vec![line], ..HopRecord::default() };
        assert_eq!(moment(&hop, ENTERED), Some((900_000_123, 412_345_000)));
        assert_eq!(moment(&hop, LEAVING), None);
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in "\\[?.*\\]?.*Starting new kernel") {
            let _ = stamp(&line, LEFT);
        }
    }
}
