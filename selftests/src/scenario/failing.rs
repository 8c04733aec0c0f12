// SPDX-License-Identifier: MIT OR Apache-2.0

//! Allocations that fail while a memfd is preserved, retrieved or finished: one after the other.
//!
//! Kernels of the profile `debug` let the allocation of a thread fail that it names by its number.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{Errno, pwrite};

use super::Scenario;
use super::holes::{allocated, hole, memory, take_over, write_page};
use super::memory::becomes_free;
use super::stage::{Kernel, Stage, create, finish, not_applicable, retrieve};
use crate::abi::mapped::PAGE;
use crate::free_memory::free;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("each_allocation_of_preserve_may_fail", preserve),
    Scenario::across("each_allocation_of_retrieve_may_fail", before, after),
    Scenario::across("each_allocation_of_a_late_page_may_fail", late_before, late_after),
    Scenario::across("each_allocation_of_finish_may_fail", unretrieved_before, unretrieved_after),
];

const NTH: &str = "/proc/thread-self/fail-nth";
const DEBUGFS: &str = "/sys/kernel/debug";

/// Settings by which allocations fail that may wait, and those of single pages, without a word.
const SETTINGS: [(&str, &str); 6] = [
    ("failslab/verbose", "0"),
    ("fail_page_alloc/verbose", "0"),
    ("failslab/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-highmem", "N"),
    ("fail_page_alloc/min-order", "0"),
];

/// Pages of a file: two batches, one of them behind a hole.
const PAGES: u64 = 620;
const HOLE: u64 = 100;

/// More allocations than a command makes.
const MOST: u32 = 400;

/// Whether this kernel lets allocations fail; it does from here on.
fn is_possible() -> Result<bool> {
    if !fs::exists(NTH).context("look for fail-nth")? {
        return Ok(false);
    }
    for (name, value) in SETTINGS {
        fs::write(format!("{DEBUGFS}/{name}"), value).with_context(|| format!("write {name}"))?;
    }
    Ok(true)
}

/// Does something while the allocation of this number fails. Returns whether one did.
fn with_failure<T>(nth: u32, work: impl FnOnce() -> T) -> Result<(T, bool)> {
    // Opened before: opening allocates.
    let file = File::options().read(true).write(true).open(NTH).context("open fail-nth")?;
    let number = nth.to_string();
    file.write_all_at(number.as_bytes(), 0).context("set fail-nth")?;
    let result = work();
    let mut left = [0; 16];
    let read = file.read_at(&mut left, 0);
    file.write_all_at(b"0", 0).context("clear fail-nth")?;
    let left = left.get(..read.context("read fail-nth")?).unwrap_or_default();
    Ok((result, left.trim_ascii() == b"0"))
}

fn is_page(page: u64) -> bool {
    !(HOLE..2 * HOLE).contains(&page)
}

fn make(number: u32) -> Result<File> {
    let file = File::from(memfd_create("failing", MemfdFlags::CLOEXEC).context("memfd")?);
    ftruncate(&file, PAGES * PAGE as u64).context("make a memfd large")?;
    for page in (0..PAGES).filter(|page| is_page(*page)) {
        file.write_all_at(&mark(number, page), page * PAGE as u64).context("write a page")?;
    }
    Ok(file)
}

fn mark(number: u32, page: u64) -> [u8; 8] {
    (u64::from(number) << 32 | (page + 1)).to_ne_bytes()
}

fn check(file: &File, number: u32) -> Result<()> {
    for page in 0..PAGES {
        let mut there = [0xff; 8];
        file.read_exact_at(&mut there, page * PAGE as u64).context("read a page")?;
        let expected = if is_page(page) { mark(number, page) } else { [0; 8] };
        ensure!(there == expected, "page {page} of file {number} has {there:?}");
    }
    Ok(())
}

const IMPOSSIBLE: &str = "no allocation of this kernel fails on demand";

fn preserve(_: &mut Stage<'_>) -> Result<()> {
    if !is_possible()? {
        return not_applicable(IMPOSSIBLE);
    }
    let file = make(0)?;
    let mut failures = 0;
    for nth in 1..MOST {
        let session = create(format!("failing-preserve-{nth}"))?;
        let (preserved, failed) = with_failure(nth, || session.preserve(1.into(), &file))?;
        // Some allocations are done in another way if they fail.
        if let Err(error) = preserved {
            ensure!(failed, "PRESERVE_FD fails by itself: {error}");
            failures += 1;
        }
        drop(session);
        // Nothing of it is left: the file can be cut and become longer again.
        ftruncate(&file, (PAGES + 1) * PAGE as u64).context("make a memfd longer")?;
        ftruncate(&file, PAGES * PAGE as u64).context("cut a memfd")?;
        check(&file, 0)?;
        if !failed {
            ensure!(failures > 3, "{failures} allocations failed");
            return Ok(());
        }
    }
    bail!("PRESERVE_FD makes more than {MOST} allocations")
}

/// Files, each of which another allocation fails for.
const FILES: u32 = 48;

const NAME: &str = "failing-retrieve";

fn before(stage: &mut Stage<'_>) -> Result<()> {
    // All kernels of a chain have one profile.
    if !is_possible()? {
        return not_applicable(IMPOSSIBLE);
    }
    let session = create(NAME)?;
    for number in 1..=FILES {
        session.preserve(number.into(), make(number)?).context("PRESERVE_FD")?;
    }
    stage.keep(session);
    Ok(())
}

fn after(_: &mut Stage<'_>) -> Result<()> {
    if !is_possible()? {
        return not_applicable(IMPOSSIBLE);
    }
    let session = retrieve(NAME)?;
    let before = free()?;
    let (mut failures, mut last_failed) = (0, true);
    for number in 1..=FILES {
        let (retrieved, failed) = with_failure(number, || session.retrieve(number.into()))?;
        last_failed = failed;
        match retrieved {
            Ok(file) => check(&file.into(), number)?,
            Err(error) => {
                ensure!(failed, "RETRIEVE_FD fails by itself: {error}");
                failures += 1;
            }
        }
    }
    finish(session)?;
    ensure!(failures > 3, "{failures} allocations failed");
    ensure!(!last_failed, "RETRIEVE_FD makes {FILES} allocations or more");
    // All of it, also that of files for which RETRIEVE_FD has failed.
    let pages = (0..PAGES).filter(|page| is_page(*page)).count() as u64;
    let bytes = pages * PAGE as u64;
    becomes_free(before, u64::from(FILES) * bytes - bytes / 2)
}

const LATE: &str = "failing-late";

/// The page that says which one is the last one before it.
const COUNT: u64 = PAGES - 1;

fn late_before(stage: &mut Stage<'_>) -> Result<()> {
    if !is_possible()? {
        return not_applicable(IMPOSSIBLE);
    }
    if stage.memfd == Kernel::C {
        return not_applicable("the handler in C leaves no holes");
    }
    let file = hole(PAGES * PAGE as u64)?;
    write_page(&file, 0)?;
    stage.hand_over(LATE, &file)?;
    let (mut failures, mut nth, mut page) = (0, 0, 1);
    let last = loop {
        nth += 1;
        let before = memory(&file)?;
        let (written, failed) = with_failure(nth, || pwrite(&file, &[7], page * PAGE as u64))?;
        match written {
            Ok(_) if failed => page += 1,
            Ok(_) => break page,
            Err(error) => {
                ensure!(failed && error == Errno::NOMEM, "a write fails: {error}");
                failures += 1;
                // The page is still a hole, of which nothing was told to the live update.
                let now = memory(&file)?;
                ensure!(now == before, "a page that failed has {} bytes", now - before);
            }
        }
        ensure!(page < COUNT && nth < MOST, "a late page makes too many allocations");
    };
    ensure!(failures > 1, "{failures} allocations failed");
    pwrite(&file, &last.to_ne_bytes(), COUNT * PAGE as u64).context("write a number")?;
    Ok(())
}

fn late_after(stage: &mut Stage<'_>) -> Result<()> {
    if !is_possible()? {
        return not_applicable(IMPOSSIBLE);
    }
    if stage.last_memfd == Some(Kernel::C) {
        return not_applicable("the handler in C leaves no holes");
    }
    let file = take_over(LATE)?;
    let mut last = [0; 8];
    file.read_exact_at(&mut last, COUNT * PAGE as u64).context("read a number")?;
    let last = u64::from_ne_bytes(last);
    ensure!((1..COUNT).contains(&last), "the number is {last}");
    let bytes = memory(&file)?;
    ensure!(bytes == (last + 2) * PAGE as u64, "{bytes} bytes came, of {} pages", last + 2);
    for page in 1..COUNT {
        let mut there = [0xff];
        file.read_exact_at(&mut there, page * PAGE as u64).context("read a page")?;
        let expected = if page <= last { 7 } else { 0 };
        ensure!(there == [expected], "page {page} begins with {there:?}, not {expected}");
    }
    Ok(())
}

/// Sessions that are finished, each while another allocation fails: more than a FINISH makes.
const FINISHED: u32 = 8;

/// Bytes of the file of each.
const LOST: u64 = 4 << 20;

/// How many fewer than all may be free again.
const TAKEN: u64 = LOST / 2;

fn finished(number: u32) -> String {
    format!("failing-finish-{number}")
}

fn unretrieved_before(stage: &mut Stage<'_>) -> Result<()> {
    if !is_possible()? {
        return not_applicable(IMPOSSIBLE);
    }
    (1..=FINISHED).try_for_each(|number| stage.hand_over(finished(number), allocated(LOST)?))
}

fn unretrieved_after(stage: &mut Stage<'_>) -> Result<()> {
    if !is_possible()? {
        return not_applicable(IMPOSSIBLE);
    }
    let sessions = (1..=FINISHED).map(|number| retrieve(finished(number)));
    let sessions = sessions.collect::<Result<Vec<_>>>()?;
    let before = free()?;
    let (mut failures, mut last_failed) = (0, true);
    for (nth, session) in (1..).zip(sessions) {
        let (finished, failed) = with_failure(nth, || session.finish())?;
        if let Err(error) = finished {
            ensure!(failed, "FINISH fails by itself: {error}");
            error.into_value().finish().context("FINISH, again")?;
        }
        failures += u32::from(failed);
        last_failed = failed;
    }
    if stage.memfd == Kernel::C {
        return not_applicable("the handler in C loses memory if it cannot map the table");
    }
    ensure!(!last_failed, "FINISH makes {FINISHED} allocations or more");
    ensure!(failures > 0, "no allocation has failed");
    becomes_free(before, u64::from(FINISHED) * LOST - TAKEN)
}
