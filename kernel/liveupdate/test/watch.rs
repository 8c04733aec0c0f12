// SPDX-License-Identifier: GPL-2.0

//! Checks that no callback runs beside or after freeze.
//!
//! A handler may have state that its files and FLBs share, so it relies on this rule: when a file
//! of any session is frozen, no other callback of any handler runs, until the next kernel has taken
//! over or all files are unfrozen. A callback that breaks the rule leaves a line in the log, and
//! the harness looks for this line.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    },
};

use crate::abi::BESIDE_FREEZE;

/// Number of running callbacks, without freeze and unfreeze.
static RUNNING: Atomic<i64> = Atomic::new(0);

/// Number of frozen files.
static FROZEN: Atomic<i64> = Atomic::new(0);

/// The beginning of the line, without the prefix that the kernel adds.
fn complaint() -> &'static str {
    BESIDE_FREEZE
        .strip_prefix("luo_test: ")
        .unwrap_or(BESIDE_FREEZE)
}

/// A callback, while it runs.
pub(crate) struct Running;

impl Running {
    /// The callback called `what`, of the file with this number, begins.
    pub(crate) fn begin(what: &str, number: u64) -> Self {
        RUNNING.fetch_add(1, Full);
        let frozen = FROZEN.fetch_add(0, Full);
        if frozen != 0 {
            let complaint = complaint();
            pr_err!("{complaint}{what} {number} begins, {frozen} files are frozen\n");
        }
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Full);
    }
}

/// Keeps the number of frozen files.
pub(crate) struct Frozen;

impl Frozen {
    /// The file with this number is being frozen.
    pub(crate) fn add(number: u64) {
        FROZEN.fetch_add(1, Full);
        let running = RUNNING.fetch_add(0, Full);
        if running != 0 {
            let complaint = complaint();
            pr_err!("{complaint}freeze {number} runs beside {running} other callbacks\n");
        }
    }

    /// A file is unfrozen.
    pub(crate) fn remove() {
        FROZEN.fetch_sub(1, Full);
    }
}
