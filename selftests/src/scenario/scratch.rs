// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds with pages in KHO's scratch memory, where the next kernel is booted: PRESERVE_FD moves them out of it.

use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use liblu::OutgoingSession;
use rustix::io::Errno;

use super::Scenario;
use super::holes::{TOKEN, allocated, take_over};
use super::stage::{Kernel, Stage, create, meminfo, not_applicable};
use super::unusual::{MANY, Progress, check_marks, full, store_marks};
use crate::abi::mapped::{MappedMut, PAGE};
use crate::abi::swap::{MEMORY_DISK, MEMORY_DISK_PAGES, Swap};

pub(super) const ALL: &[Scenario] = &[Scenario::across(
    "pages_that_others_move_during_preserve_leave_scratch_memory",
    before_moved,
    after_moved,
)];

/// KHO's scratch areas, by physical addresses.
pub(super) fn areas() -> Result<Vec<Range<u64>>> {
    let numbers = |name: &str| {
        let path = format!("/sys/kernel/debug/kho/out/scratch_{name}");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let number = |line: &str| u64::from_str_radix(line.trim_start_matches("0x"), 16);
        text.lines().map(number).collect::<Result<Vec<_>, _>>().context(path)
    };
    let areas = numbers("phys")?.into_iter().zip(numbers("len")?);
    Ok(areas.map(|(first, length)| first..first + length).collect())
}

/// How many pages of a memfd are in scratch memory. Each has its mark.
fn in_scratch(mapped: &MappedMut, areas: &[Range<u64>]) -> Result<usize> {
    check_marks(mapped, MANY, 0)?;
    let mut count = 0;
    for frame in mapped.frames().context("look for pages")? {
        let place = frame.context("a page that was read is not there")? * PAGE as u64;
        count += usize::from(areas.iter().any(|area| area.contains(&place)));
    }
    Ok(count)
}

/// So many memfds with pages in scratch memory: Linux gives it to them where more than half of what is free in a zone is
/// scratch memory. So this takes others first, which are returned too.
fn memfds_in_scratch(count: usize, areas: &[Range<u64>]) -> Result<(Vec<File>, Vec<File>)> {
    /// Left of other memory when memfds are made one by one.
    const SOME: u64 = 32 << 20;
    /// Left for all others.
    const LEFT: u64 = 52 << 20;
    let free = || {
        let scratch = meminfo("CmaFree")?;
        Ok::<_, anyhow::Error>((meminfo("MemFree")?.saturating_sub(scratch), scratch))
    };
    let (others, scratch) = free()?;
    let bytes = others.saturating_sub(scratch + SOME).next_multiple_of(PAGE as u64);
    let (mut taken, mut found) = (Vec::new(), Vec::new());
    if bytes > 0 {
        taken.push(allocated(bytes)?);
    }
    while found.len() < count {
        let (others, scratch) = free()?;
        ensure!(
            others > LEFT,
            "only {} memfds have scratch memory: {} MiB of it are free, and {} MiB of other memory",
            found.len(),
            scratch >> 20,
            others >> 20
        );
        let file = full(MANY)?;
        let mapped = MappedMut::new(&file).context("map a memfd")?;
        let pages = in_scratch(&mapped, areas)?;
        (if pages > 0 { &mut found } else { &mut taken }).push(file);
    }
    Ok((found, taken))
}

/// How the pages of a memfd are moved beside PRESERVE_FD.
#[derive(Clone, Copy)]
struct Way {
    by: fn(&MappedMut) -> rustix::io::Result<()>,
    /// PRESERVE_FD begins first.
    is_late: bool,
}

const WAYS: [Way; 4] = [
    Way { by: MappedMut::collapse, is_late: false },
    Way { by: MappedMut::collapse, is_late: true },
    Way { by: MappedMut::page_out, is_late: false },
    Way { by: MappedMut::page_out, is_late: true },
];

/// Memfds for each way.
const MEMFDS: usize = 2;

/// The memfds that are handed over, each with its way.
fn memfds() -> impl Iterator<Item = (String, Way)> {
    let all = WAYS.into_iter().cycle().take(WAYS.len() * MEMFDS).enumerate();
    all.map(|(number, way)| (format!("scratch-moved-{number}"), way))
}

/// How long this tries to preserve a memfd.
const LATE: Duration = Duration::from_secs(10);

/// Preserves a memfd. Linux cannot move a page that is being swapped out or collapsed just then, and says that there is
/// no memory for it.
fn preserve(session: &OutgoingSession, file: &File) -> Result<()> {
    let begin = Instant::now();
    loop {
        match session.preserve(TOKEN.into(), file) {
            Err(error) if error.errno() == Errno::NOMEM && begin.elapsed() < LATE => {
                thread::yield_now();
            }
            preserved => return preserved.context("PRESERVE_FD"),
        }
    }
}

/// Preserves a memfd while a thread has its pages moved. Returns whether the second of both began before the end of
/// the first.
fn preserve_beside(session: &OutgoingSession, file: &File, way: Way) -> Result<bool> {
    let [is_ready, has_begun, has_moved, is_over] = [(); 4].map(|()| AtomicBool::new(false));
    let is_preserved_partly =
        || Ok::<_, anyhow::Error>(Progress::of(file)?.is_some_and(|now| now.scanned < now.size));
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mapped = MappedMut::aligned(file).context("map a memfd")?;
            (0..usize::try_from(MANY)?).for_each(|page| _ = mapped.load(page));
            is_ready.store(true, Ordering::Release);
            let mut has_met = false;
            while way.is_late && !has_met && !is_over.load(Ordering::Acquire) {
                has_met = is_preserved_partly()?;
            }
            has_begun.store(true, Ordering::Release);
            // Not all pages can be moved once they are preserved.
            let _ = (way.by)(&mapped);
            has_moved.store(true, Ordering::Release);
            Ok::<_, anyhow::Error>(has_met)
        });
        let awaited = if way.is_late { &is_ready } else { &has_begun };
        while !awaited.load(Ordering::Acquire) && !other.is_finished() {
            std::hint::spin_loop();
        }
        let is_first = !has_moved.load(Ordering::Acquire);
        let preserved = preserve(session, file);
        is_over.store(true, Ordering::Release);
        let has_met =
            other.join().map_err(|_| anyhow!("the thread that moves pages panicked"))??;
        preserved.map(|()| if way.is_late { has_met } else { is_first })
    })
}

const SLOW: &str = "with KASAN it takes half a minute to take all other memory";

const RACE: &str = "the handler in C does not look whether a pinned page is still that of the file";

fn before_moved(stage: &mut Stage<'_>) -> Result<()> {
    if stage.memfd == Kernel::C {
        return not_applicable(RACE);
    }
    if stage.is_debug {
        return not_applicable(SLOW);
    }
    let areas = areas()?;
    // Declared before the memory, so that there is room again when it ends.
    let _swap;
    let (files, _taken) = memfds_in_scratch(memfds().count(), &areas)?;
    _swap = Swap::on(Path::new(MEMORY_DISK), MEMORY_DISK_PAGES).context("swapon")?;
    let (mut early, mut late) = (0, 0);
    for ((name, way), file) in memfds().zip(files) {
        let mut mapped = MappedMut::new(&file).context("map a memfd")?;
        let session = create(name)?;
        let has_met = usize::from(preserve_beside(&session, &file, way)?);
        *(if way.is_late { &mut late } else { &mut early }) += has_met;
        let left = in_scratch(&mapped, &areas)?;
        ensure!(left == 0, "{left} preserved pages are in scratch memory");
        // Only the pages that the file has now get these.
        store_marks(&mut mapped, MANY, MANY)?;
        stage.keep(session);
    }
    ensure!(early > 0 && late > 0, "PRESERVE_FD met moves {early} times early, {late} times late");
    Ok(())
}

fn after_moved(stage: &mut Stage<'_>) -> Result<()> {
    if stage.last_memfd == Some(Kernel::C) {
        return not_applicable(RACE);
    }
    if stage.is_debug {
        return not_applicable(SLOW);
    }
    for (name, _) in memfds() {
        let file = take_over(&name)?;
        check_marks(&MappedMut::new(&file).context("map a memfd")?, MANY, MANY)?;
    }
    Ok(())
}
