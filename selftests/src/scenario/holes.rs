// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds that do not have all of their pages, or get them late.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use rustix::io::Errno;

use super::Scenario;
use super::stage::{Kernel, Stage, create, finish, not_applicable, retrieve};
use super::unusual::{MANY, full};
use crate::abi::mapped::{MappedMut, PAGE, mark};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("holes_of_a_memfd_stay_holes", before_sparse, after_sparse),
    Scenario::across("pages_that_appear_after_preserve_cross", before_late, after_late),
    Scenario::across("pages_that_appear_during_preserve_cross", before_racing, after_racing),
    Scenario::across("allocated_pages_of_a_memfd_are_zero", before_allocated, after_allocated),
    Scenario::here("a_memfd_that_was_let_go_can_be_cut", cut),
];

pub(super) const TOKEN: u32 = 1;

/// A memfd of so many bytes, all of them holes.
pub(super) fn hole(bytes: u64) -> Result<File> {
    let file = memfd_create("holes", MemfdFlags::CLOEXEC).context("memfd")?;
    ftruncate(&file, bytes).context("make a memfd large")?;
    Ok(file.into())
}

/// A memfd of so many bytes, all of them in memory, and none written.
pub(super) fn allocated(bytes: u64) -> Result<File> {
    let file = hole(bytes)?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes).context("allocate a memfd")?;
    Ok(file)
}

pub(super) fn write_page(file: &File, page: u64) -> Result<()> {
    file.write_all_at(&mark(page).to_ne_bytes(), page * PAGE as u64).context("write a page")
}

/// Checks the beginning of a page, which was written or not.
pub(super) fn check_page(file: &File, page: u64, is_written: bool) -> Result<()> {
    let mut there = [0xff; 8];
    file.read_exact_at(&mut there, page * PAGE as u64).context("read a page")?;
    let expected = if is_written { mark(page) } else { 0 }.to_ne_bytes();
    ensure!(there == expected, "page {page} begins with {there:?}, not {expected:?}");
    Ok(())
}

/// Bytes of memory that a memfd has.
pub(super) fn memory(file: &File) -> Result<u64> {
    Ok(file.metadata().context("stat")?.blocks() * 512)
}

pub(super) fn take_over(name: &str) -> Result<File> {
    let session = retrieve(name)?;
    let file = session.retrieve(TOKEN.into()).context("RETRIEVE_FD")?;
    finish(session)?;
    Ok(file.into())
}

/// More memory than any machine of the tests has.
const SPARSE: u64 = 64 << 30;
/// C fills the holes.
const SPARSE_IN_C: u64 = 4 << 20;
const FILLS: &str = "the handler in C fills holes";
/// The most memory that two pages and what describes them take.
const LITTLE: u64 = 64 << 10;

fn before_sparse(stage: &mut Stage<'_>) -> Result<()> {
    let size = stage.memfd.pick(SPARSE_IN_C, SPARSE);
    let last = size / PAGE as u64 - 1;
    let file = hole(size)?;
    write_page(&file, 0)?;
    write_page(&file, last)?;
    stage.hand_over("holes-sparse", &file)?;
    let memory = memory(&file)?;
    ensure!(
        memory <= stage.memfd.pick(size, LITTLE),
        "PRESERVE_FD has made {memory} bytes of two pages"
    );
    if stage.memfd == Kernel::C {
        return not_applicable(FILLS);
    }
    Ok(())
}

fn after_sparse(stage: &mut Stage<'_>) -> Result<()> {
    let file = take_over("holes-sparse")?;
    let size = file.metadata().context("stat")?.len();
    let last = size / PAGE as u64 - 1;
    let memory = memory(&file)?;
    for page in [0, 1, last / 2, last] {
        check_page(&file, page, page == 0 || page == last)?;
    }
    if stage.last_memfd == Some(Kernel::C) {
        return not_applicable(FILLS);
    }
    ensure!(size == SPARSE, "the memfd has {size} bytes");
    ensure!(memory <= LITTLE, "two pages have become {memory} bytes");
    // A hole can be used.
    write_page(&file, last / 2)?;
    check_page(&file, last / 2, true)
}

/// Pages of the memfd that gets pages late.
const PAGES: u64 = 64;
/// Pages that a write, a store and a load make.
const WRITTEN: u64 = 10;
const STORED: u64 = 20;
const LOADED: u64 = 30;

fn before_late(stage: &mut Stage<'_>) -> Result<()> {
    let file = hole(PAGES * PAGE as u64)?;
    let mut mapped = MappedMut::new(&file).context("map a memfd")?;
    write_page(&file, 0)?;
    stage.hand_over("holes-late", &file)?;
    write_page(&file, WRITTEN)?;
    // Twice, so that it is the same page.
    write_page(&file, WRITTEN)?;
    mapped.store(usize::try_from(STORED)?, mark(STORED));
    let loaded = mapped.load(usize::try_from(LOADED)?);
    ensure!(loaded == 0, "a hole has {loaded:#x}");
    Ok(())
}

fn after_late(_: &mut Stage<'_>) -> Result<()> {
    let file = take_over("holes-late")?;
    for page in 0..PAGES {
        check_page(&file, page, matches!(page, 0 | WRITTEN | STORED))?;
    }
    Ok(())
}

/// Pages of the memfds that get pages while PRESERVE_FD runs.
const RACING: u64 = 4096;
/// Memfds, so that the two meet in one of them at least.
const RACES: usize = 3;

fn race_name(race: usize) -> String {
    format!("holes-racing-{race}")
}

fn before_racing(stage: &mut Stage<'_>) -> Result<()> {
    let mut met = 0;
    for race in 0..RACES {
        let file = hole(RACING * PAGE as u64)?;
        for page in (0..RACING).step_by(2) {
            write_page(&file, page)?;
        }
        let written = AtomicU64::new(0);
        let session = create(race_name(race))?;
        let during = thread::scope(|scope| {
            // Not write(2), which waits for PRESERVE_FD.
            let writer = scope.spawn(|| {
                let mut mapped = MappedMut::new(&file).context("map a memfd")?;
                // From the end: PRESERVE_FD comes from the beginning.
                for page in (0..RACING).rev().filter(|page| page % 2 == 1) {
                    written.fetch_add(1, Ordering::Relaxed);
                    mapped.store(usize::try_from(page)?, mark(page));
                }
                Ok::<_, anyhow::Error>(())
            });
            while written.load(Ordering::Relaxed) < RACING / 8 && !writer.is_finished() {
                thread::yield_now();
            }
            let at_begin = written.load(Ordering::Relaxed);
            let preserved = session.preserve(TOKEN.into(), &file).context("PRESERVE_FD");
            let during = written.load(Ordering::Relaxed) - at_begin;
            writer.join().map_err(|_| anyhow!("the writer panicked"))??;
            preserved.map(|()| during)
        })?;
        met += usize::from(during > 0);
        stage.keep(session);
    }
    ensure!(met > 0, "no page was written while PRESERVE_FD ran");
    Ok(())
}

fn after_racing(_: &mut Stage<'_>) -> Result<()> {
    for race in 0..RACES {
        let file = take_over(&race_name(race))?;
        (0..RACING).try_for_each(|page| check_page(&file, page, true))?;
    }
    Ok(())
}

/// Pages that are allocated, of which the first one has data before, the second one after PRESERVE_FD.
const ALLOCATED: u64 = 32;

fn before_allocated(stage: &mut Stage<'_>) -> Result<()> {
    // The pages that are allocated next are not zero by chance.
    drop(full(MANY)?);
    let file = allocated(ALLOCATED * PAGE as u64)?;
    write_page(&file, 0)?;
    stage.hand_over("holes-allocated", &file)?;
    write_page(&file, 1)
}

fn after_allocated(_: &mut Stage<'_>) -> Result<()> {
    let file = take_over("holes-allocated")?;
    for page in 0..ALLOCATED {
        check_page(&file, page, page < 2)?;
    }
    let memory = memory(&file)?;
    ensure!(memory == ALLOCATED * PAGE as u64, "{memory} bytes came");
    Ok(())
}

fn cut(_: &mut Stage<'_>) -> Result<()> {
    let file = hole(PAGES * PAGE as u64)?;
    write_page(&file, 3)?;
    let session = create("holes-cut")?;
    session.preserve(TOKEN.into(), &file).context("PRESERVE_FD")?;
    write_page(&file, 4)?;
    let refused = ftruncate(&file, 0);
    ensure!(refused == Err(Errno::PERM), "a preserved memfd was cut: {refused:?}");
    drop(session);
    check_page(&file, 3, true)?;
    ftruncate(&file, 0).context("cut a memfd")?;
    let memory = memory(&file)?;
    ensure!(memory == 0, "{memory} bytes are left");
    Ok(())
}
