// SPDX-License-Identifier: MIT OR Apache-2.0

//! Allocations that fail while a memfd is preserved, retrieved or finished: one after the other.
//!
//! Kernels of the profile `debug` let the allocation of a thread fail that it names by its number.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{Errno, pwrite};

use super::Scenario;
use super::holes::{allocated, check_page, hole, memory, take_over, write_page};
use super::memory::becomes_free;
use super::stage::{Kernel, Stage, create, finish, not_applicable, retrieve};
use crate::abi::mapped::{self, MappedMut, PAGE};
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

/// The pages that have content.
fn filled() -> impl Iterator<Item = u64> {
    (0..PAGES).filter(|page| is_page(*page))
}

fn make(number: u32) -> Result<File> {
    let file = File::from(memfd_create("failing", MemfdFlags::CLOEXEC).context("memfd")?);
    ftruncate(&file, PAGES * PAGE as u64).context("make a memfd large")?;
    for page in filled() {
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
            // A failure that leaves pins would keep the pages of the file.
            let before = free()?;
            drop(file);
            return becomes_free(before, filled().count() as u64 * PAGE as u64 * 9 / 10);
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

fn after(stage: &mut Stage<'_>) -> Result<()> {
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
    // A file takes five that it cannot do without. Kernels that look for errors allocate for themselves too, more for some
    // files than for others, so a number may never meet one of the five.
    ensure!(failures > 1, "{failures} of the allocations that failed were needed");
    if stage.memfd == Kernel::C {
        return not_applicable("the handler in C loses the pages if it cannot make the file");
    }
    ensure!(!last_failed, "RETRIEVE_FD makes {FILES} allocations or more");
    // All of it, also that of files for which RETRIEVE_FD has failed.
    let bytes = filled().count() as u64 * PAGE as u64;
    becomes_free(before, u64::from(FILES) * bytes - bytes / 2)
}

const LATE: &str = "failing-late";

/// Pages that appear late: more than there is room for in the table when it begins.
const LATE_PAGES: u64 = 600;

/// Pages that appear by a store, later than these. A page fault that fails is tried again, with all allocations.
const STORED: u64 = 24;

/// More allocations than a late page needs.
const MOST_LATE: u64 = 12;

/// The number of a late page in the file. Each needs a node of the page cache of its own.
fn late_page(number: u64) -> u64 {
    64 * (number + 1)
}

const NO_HOLES: &str = "the handler in C leaves no holes";

fn late_before(stage: &mut Stage<'_>) -> Result<()> {
    if !is_possible()? {
        return not_applicable(IMPOSSIBLE);
    }
    if stage.memfd == Kernel::C {
        return not_applicable(NO_HOLES);
    }
    let file = hole(late_page(LATE_PAGES + STORED) * PAGE as u64)?;
    write_page(&file, 0)?;
    stage.hand_over(LATE, &file)?;
    let mut failures = BTreeSet::new();
    for number in 0..LATE_PAGES {
        let (page, before) = (late_page(number), memory(&file)?);
        // Once an allocation has failed that is done in another way, the page is there: then later ones are tried
        // with the next page.
        let first = 1 + u32::try_from(number % MOST_LATE)?;
        for nth in first.. {
            let content = mapped::mark(page).to_ne_bytes();
            let (written, failed) =
                with_failure(nth, || pwrite(&file, &content, page * PAGE as u64))?;
            let Err(error) = written else { break };
            ensure!(failed && error == Errno::NOMEM && nth < MOST, "a write fails: {error}");
            failures.insert(nth);
            // The page is still a hole.
            let now = memory(&file)?;
            ensure!(now == before, "a page that failed has {} bytes", now - before);
        }
    }
    // The page, and what the live update needs for it.
    ensure!(failures.len() > 1, "a write fails with allocations {failures:?} only");
    let mut mapped = MappedMut::new(&file).context("map a memfd")?;
    let mut failures = 0;
    for number in 0..STORED {
        let page = late_page(LATE_PAGES + number);
        let (nth, at) = (1 + u32::try_from(number)?, usize::try_from(page)?);
        let ((), failed) = with_failure(nth, || mapped.store(at, mapped::mark(page)))?;
        failures += usize::from(failed);
    }
    ensure!(failures > 1, "{failures} allocations of page faults failed");
    Ok(())
}

fn late_after(stage: &mut Stage<'_>) -> Result<()> {
    if !is_possible()? {
        return not_applicable(IMPOSSIBLE);
    }
    if stage.last_memfd == Some(Kernel::C) {
        return not_applicable(NO_HOLES);
    }
    let file = take_over(LATE)?;
    let bytes = memory(&file)?;
    let pages = LATE_PAGES + STORED;
    ensure!(bytes == (pages + 1) * PAGE as u64, "{bytes} bytes came");
    (0..pages).try_for_each(|number| check_page(&file, late_page(number), true))
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
    let mut last_failed = true;
    for (nth, session) in (1..).zip(sessions) {
        let (finished, failed) = with_failure(nth, || session.finish())?;
        if let Err(error) = finished {
            ensure!(failed, "FINISH fails by itself: {error}");
            error.into_value().finish().context("FINISH, again")?;
        }
        last_failed = failed;
    }
    if stage.memfd == Kernel::C {
        return not_applicable("the handler in C loses memory if it cannot map the table");
    }
    ensure!(!last_failed, "FINISH makes {FINISHED} allocations or more");
    // By extents, FINISH allocates nothing at all.
    becomes_free(before, u64::from(FINISHED) * LOST - TAKEN)
}
