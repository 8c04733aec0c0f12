// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds of large folios: huge pages, and those that RETRIEVE_FD makes of single pages.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::ftruncate;

use super::Scenario;
use super::holes::{check_page, hole, memory, take_over, write_page};
use super::stage::{Kernel, Stage, not_applicable};
use super::unusual::{MANY, check_full, full, store_marks};
use crate::abi::mapped::{HUGE, HUGE_MEMFDS, MappedMut, PAGE, is_huge, mark};
use crate::abi::page_flags::PageFlags;

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("a_memfd_of_huge_pages_crosses", before_huge, after_huge),
    Scenario::across(
        "single_pages_become_large_folios_where_memfds_have_them",
        before_single,
        after_single,
    ),
];

/// Two huge pages, and a part of a third one.
const SOME_HUGE: u64 = (5 << 20) / PAGE as u64;

const NO_HUGE: &str = "this kernel has no huge pages of memfds";

fn has_huge() -> bool {
    Path::new(HUGE_MEMFDS).exists()
}

/// Does something while memfds get huge pages, and large folios, wherever they can be.
fn with_huge_pages<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    if !has_huge() {
        return work();
    }
    let settings = fs::read_to_string(HUGE_MEMFDS).context("read a setting")?;
    let before = settings.split(['[', ']']).nth(1).context("no setting is in force")?;
    fs::write(HUGE_MEMFDS, "always").context("allow huge pages")?;
    let done = work();
    fs::write(HUGE_MEMFDS, before).context("set what was set before")?;
    done
}

/// The page frames of a memfd that has all of its pages.
fn frames(file: &File) -> Result<Vec<u64>> {
    let mapped = MappedMut::new(file).context("map a memfd")?;
    let pages = file.metadata().context("stat")?.len() / PAGE as u64;
    for page in 0..usize::try_from(pages)? {
        let _ = mapped.load(page);
    }
    let frames = mapped.frames().context("look for pages")?;
    frames.into_iter().collect::<Option<_>>().context("a page that was read is not there")
}

fn before_huge(stage: &mut Stage<'_>) -> Result<()> {
    let file = hole(SOME_HUGE * PAGE as u64)?;
    if has_huge() {
        fs::write(HUGE_MEMFDS, "advise").context("allow huge pages")?;
        let mut mapped = MappedMut::aligned(&file).context("map a memfd")?;
        mapped.advise_huge().context("MADV_HUGEPAGE")?;
        store_marks(&mut mapped, SOME_HUGE, 0)?;
        let frames = mapped.frames().context("look for pages")?;
        let (huge, _) = frames.as_chunks::<HUGE>();
        ensure!(huge.iter().all(|frames| is_huge(frames)), "the kernel gave no huge page");
    } else {
        (0..SOME_HUGE).try_for_each(|page| write_page(&file, page))?;
    }
    stage.hand_over("huge-pages", &file)
}

fn after_huge(_: &mut Stage<'_>) -> Result<()> {
    let file = take_over("huge-pages")?;
    (0..SOME_HUGE).try_for_each(|page| check_page(&file, page, true))?;
    if has_huge() {
        let flags = PageFlags::open().context("open /proc/kpageflags")?;
        for frames in frames(&file)?.as_chunks::<HUGE>().0 {
            let is_large = flags.is_large(frames[0], HUGE as u64).context("read flags")?;
            ensure!(is_large, "a huge page has become smaller ones");
        }
    }
    // It can be mapped, and cut within a huge page.
    let mut mapped = MappedMut::new(&file).context("map a memfd")?;
    mapped.store(700, 7);
    ensure!(mapped.load(700) == 7 && mapped.load(701) == mark(701), "a store is lost");
    drop(mapped);
    ftruncate(&file, 600 * PAGE as u64).context("cut a memfd")?;
    check_page(&file, 599, true)?;
    if !has_huge() {
        return not_applicable(NO_HUGE);
    }
    Ok(())
}

/// Pages of the smallest folios that RETRIEVE_FD makes.
const GROUP: usize = 4;

/// The first frames of pages that can be one folio: adjacent, and aligned in memory and in the file.
fn groups(frames: &[u64]) -> impl Iterator<Item = u64> {
    let groups = frames.as_chunks::<GROUP>().0.iter();
    let groups = groups.filter(|frames| {
        frames[0].is_multiple_of(GROUP as u64)
            && frames.iter().zip(frames[0]..).all(|(frame, next)| *frame == next)
    });
    groups.map(|frames| frames[0])
}

/// Memfds that are made until one has a group, with a page behind each: free memory may have no order.
const TRIES: usize = 32;

fn before_single(stage: &mut Stage<'_>) -> Result<()> {
    // All are kept until one is taken, so that each gets other memory.
    let mut files = Vec::new();
    while files.len() < TRIES {
        let file = full(MANY)?;
        let frames = frames(&file)?;
        if groups(&frames).next().is_some() {
            let flags = PageFlags::open().context("open /proc/kpageflags")?;
            for frame in frames {
                let is_part = flags.is_part(frame).context("read flags")?;
                ensure!(!is_part, "a page is a part of a large folio already");
            }
            return stage.hand_over("huge-single", &file);
        }
        // The next one begins with another page.
        files.extend([file, full(1)?]);
    }
    anyhow::bail!("no memfd had {GROUP} pages that are adjacent and aligned")
}

fn after_single(stage: &mut Stage<'_>) -> Result<()> {
    let file = with_huge_pages(|| take_over("huge-single"))?;
    check_full(&file, MANY)?;
    if !has_huge() {
        return not_applicable(NO_HUGE);
    }
    if stage.memfd == Kernel::C {
        return not_applicable("the handler in C makes no large folios");
    }
    let (frames, mut large) = (frames(&file)?, 0);
    let flags = PageFlags::open().context("open /proc/kpageflags")?;
    for frame in groups(&frames) {
        let is_large = (frame..frame + GROUP as u64).map(|frame| flags.is_part(frame));
        let is_large = is_large.collect::<std::io::Result<Vec<_>>>().context("read flags")?;
        ensure!(is_large.iter().all(|is_part| *is_part), "frames from {frame:#x} on are single");
        large += 1;
    }
    ensure!(large > 0, "no page could be a part of a large folio");
    let bytes = memory(&file)?;
    ensure!(bytes == MANY * PAGE as u64, "{bytes} bytes came");
    // Each folio can be cut, and what is cut is free.
    ftruncate(&file, (MANY / 2 + 1) * PAGE as u64).context("cut a memfd")?;
    check_full(&file, MANY / 2 + 1)?;
    let bytes = memory(&file)?;
    ensure!(bytes == (MANY / 2 + 1) * PAGE as u64, "{bytes} bytes are left");
    Ok(())
}
