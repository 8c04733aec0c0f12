// SPDX-License-Identifier: MIT OR Apache-2.0

//! Lines of ours in the kernel's log, where they are in order with the lines of the kernel.

use std::fs::OpenOptions;
use std::io::Write as _;

use crate::abi;
use crate::plan::CYCLES;

/// Writes a line into the kernel's log.
pub fn note(text: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = log.write_all(format!("vm-test: {text}\n").as_bytes());
    }
}

/// A text for [`note`], with the number of processor cycles where there is one.
pub fn with_cycle(text: &str) -> String {
    abi::cycles().map_or_else(|| text.to_owned(), |cycle| format!("{text}{CYCLES}{cycle}"))
}
