// SPDX-License-Identifier: MIT OR Apache-2.0

//! Free memory of this machine, and memory of files.

use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};

use crate::abi::mapped::PAGE;

/// Free memory, in bytes, with the pages that each CPU keeps for its next allocations: `MemFree` does
/// not count those, and they can be many after much was freed.
///
/// # Errors
///
/// If the kernel does not say.
pub fn free() -> Result<u64> {
    add_up()?;
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

/// Free memory that has not grown for so long has settled.
const QUIET: Duration = Duration::from_millis(50);

/// Free memory when it grows no more: files are freed a moment after they are closed.
///
/// # Errors
///
/// As of [`free`].
pub fn settled() -> Result<u64> {
    let (mut most, mut since) = (free()?, Instant::now());
    while since.elapsed() < QUIET {
        thread::yield_now();
        let now = free()?;
        if now > most {
            (most, since) = (now, Instant::now());
        }
    }
    Ok(most)
}

/// Each CPU has counts of its own: a read of this file adds them up.
fn add_up() -> Result<()> {
    fs::read("/proc/sys/vm/stat_refresh").context("add up the counts of memory").map(drop)
}

/// Memory of files without a disk, in bytes, in each place where the kernel counts it.
#[derive(Clone, Copy, Debug)]
pub struct FileMemory {
    /// In the page cache.
    pub cached: u64,
    /// Of shmem.
    pub shared: u64,
    /// On the lists of pages that can be swapped out.
    pub listed: u64,
}

/// The memory of files now.
///
/// # Errors
///
/// If the kernel does not say.
pub fn of_files() -> Result<FileMemory> {
    let names = ["nr_file_pages", "nr_shmem", "nr_active_anon", "nr_inactive_anon"];
    let [cached, shared, active, inactive] = counts(names)?.map(|pages| pages * PAGE as u64);
    Ok(FileMemory { cached, shared, listed: active + inactive })
}

/// A count of `/proc/vmstat`: of pages, or of events since the kernel was started.
///
/// # Errors
///
/// If the kernel does not say.
pub fn count(name: &str) -> Result<u64> {
    counts([name]).map(|[count]| count)
}

/// Several counts, at one moment.
fn counts<const N: usize>(names: [&str; N]) -> Result<[u64; N]> {
    add_up()?;
    let text = fs::read_to_string("/proc/vmstat").context("read /proc/vmstat")?;
    let mut counts = [0; N];
    for (count, name) in counts.iter_mut().zip(names) {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.with_context(|| format!("/proc/vmstat has no {name}"))?;
        *count = value.parse().with_context(|| format!("understand {name} of /proc/vmstat"))?;
    }
    Ok(counts)
}
