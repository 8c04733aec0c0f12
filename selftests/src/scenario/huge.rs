// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds of large folios: huge pages, and those that RETRIEVE_FD makes of single pages.

use std::fs::{self, File};
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::ftruncate;

use super::Scenario;
use super::holes::{TOKEN, check_page, hole, memory, take_over, write_page};
use super::memory::text_of;
use super::stage::{Kernel, Stage, create, memfd, not_applicable};
use super::unusual::{MANY, check_full, store_marks};
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

/// The orders of folios that RETRIEVE_FD makes of single pages.
const ORDERS: RangeInclusive<u32> = 2..=9;

/// Pages that can be one folio: adjacent, and aligned in memory and in the file.
fn groups(frames: &[u64], order: u32) -> impl Iterator<Item = Range<usize>> {
    let pages = 1 << order;
    let groups = frames.chunks_exact(pages).enumerate();
    let groups = groups.filter(move |(_, frames)| {
        frames[0].is_multiple_of(pages as u64)
            && frames.iter().zip(frames[0]..).all(|(frame, next)| *frame == next)
    });
    groups.map(move |(number, _)| number * pages..(number + 1) * pages)
}

/// The most memfds that are made until one is as it should be: free memory may have no order.
const TRIES: usize = 32;

/// PRESERVE_FD moves pages out of memory that the next kernel boots in, and then they mostly follow
/// each other. The first half of the file has a hole at each multiple of this meanwhile. So each
/// part between two holes has another place in a folio, and begins with an odd page.
const HOLES: u64 = 32;

/// A session with the frames that the pages of the memfd had.
const FRAMES: &str = "huge-single-frames";

/// Whether some pages begin as a single one, and go on as a folio of eight pages.
fn begins_odd(frames: &[u64]) -> bool {
    let pages = frames.windows(17).enumerate().filter(|(before, _)| before % 2 == 0);
    pages.into_iter().any(|(before, frames)| {
        let (first, pages) = (frames[1], &frames[1..]);
        frames[0] + 1 != first
            && first % 8 == (before as u64 + 1) % 8
            && pages.iter().zip(first..).all(|(frame, next)| *frame == next)
    })
}

fn before_single(stage: &mut Stage<'_>) -> Result<()> {
    // All are kept until one is taken, so that each gets other memory.
    let mut files = Vec::new();
    while files.len() < TRIES {
        let file = hole(MANY * PAGE as u64)?;
        let (holes, pages): (Vec<u64>, Vec<u64>) =
            (0..MANY).partition(|page| page.is_multiple_of(HOLES) && *page < MANY / 2);
        pages.into_iter().try_for_each(|page| write_page(&file, page))?;
        let session = create("huge-single")?;
        session.preserve(TOKEN.into(), &file).context("PRESERVE_FD")?;
        let mut mapped = MappedMut::new(&file).context("map a memfd")?;
        for page in &holes {
            mapped.store(usize::try_from(*page)?, mark(*page));
        }
        drop(mapped);
        let mut frames = frames(&file)?;
        let is_good = if stage.memfd == Kernel::C {
            // C has filled the holes before. Memory may give no group; then the last file is taken.
            groups(&frames, 3).next().is_some() || files.len() + 1 == TRIES
        } else {
            // These pages are at the end of the table, so that they are in no folio.
            for page in holes {
                frames[usize::try_from(page)?] = 0;
            }
            begins_odd(&frames[..frames.len() / 2])
        };
        if is_good {
            let flags = PageFlags::open().context("open /proc/kpageflags")?;
            for &frame in &frames {
                let is_part = flags.is_part(frame).context("read flags")?;
                ensure!(!is_part, "a page is a part of a large folio already");
            }
            let frames = frames.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
            stage.keep(session);
            return stage.hand_over(FRAMES, memfd(&frames)?);
        }
        files.push(file);
    }
    anyhow::bail!("no memfd had pages that begin with an odd one and can be a folio behind it")
}

fn after_single(stage: &mut Stage<'_>) -> Result<()> {
    let file = with_huge_pages(|| take_over("huge-single"))?;
    let preserved = text_of(FRAMES)?;
    let preserved: Result<Vec<u64>, _> = preserved.split(' ').map(str::parse).collect();
    let preserved = preserved.context("read the frames")?;
    check_full(&file, MANY)?;
    if !has_huge() {
        return not_applicable(NO_HUGE);
    }
    if stage.memfd == Kernel::C {
        return not_applicable("the handler in C makes no large folios");
    }
    // Pages may have moved since, but those of a large folio stay together.
    let frames = frames(&file)?;
    let flags = PageFlags::open().context("open /proc/kpageflags")?;
    let mut groups = ORDERS.flat_map(|order| groups(&preserved, order)).peekable();
    if groups.peek().is_none() {
        return not_applicable("the handler in C had no pages that can be one folio");
    }
    for group in groups {
        // It may be a part of a larger folio.
        let is_one = flags.are_of_one_folio(&frames[group.clone()]).context("read flags")?;
        ensure!(
            is_one,
            "pages {group:?}, from frame {:#x} on, are not of one folio",
            preserved[group.start]
        );
    }
    let bytes = memory(&file)?;
    ensure!(bytes == MANY * PAGE as u64, "{bytes} bytes came");
    // Each folio can be cut, and what is cut is free.
    ftruncate(&file, (MANY / 2 + 1) * PAGE as u64).context("cut a memfd")?;
    check_full(&file, MANY / 2 + 1)?;
    let bytes = memory(&file)?;
    ensure!(bytes == (MANY / 2 + 1) * PAGE as u64, "{bytes} bytes are left");
    Ok(())
}
