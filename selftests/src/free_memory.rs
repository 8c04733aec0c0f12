// SPDX-License-Identifier: MIT OR Apache-2.0

//! Free memory of this machine.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::abi::mapped::PAGE;

/// Free memory, in bytes, with the pages that each CPU keeps for its next allocations: `MemFree` does
/// not count those, and they can be many after much was freed.
///
/// # Errors
///
/// If the kernel does not say.
pub fn free() -> Result<u64> {
    // A read of this file adds up the counts of all CPUs.
    fs::read("/proc/sys/vm/stat_refresh").context("add up the counts of memory")?;
    let zones = fs::read_to_string("/proc/zoneinfo").context("read /proc/zoneinfo")?;
    let pages = zones.lines().filter_map(|line| {
        let line = line.trim_start();
        let pages = line.strip_prefix("pages free").or_else(|| line.strip_prefix("count:"))?;
        Some(pages.trim().parse::<u64>().with_context(|| format!("understand {line:?}")))
    });
    let pages = pages.sum::<Result<u64>>()?;
    ensure!(pages > 0, "/proc/zoneinfo shows no free pages");
    Ok(pages * PAGE as u64)
}
