// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds whose pages are somewhere else, are used by others, or are broken.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::ftruncate;
use rustix::io::Errno;

use super::holes::{TOKEN, allocated, check_page, hole, take_over, write_page};
use super::stage::{Stage, create, dup, fails, not_applicable};
use super::{Kernel, Scenario};
use crate::abi;
use crate::abi::mapped::{MappedMut, PAGE, mark};
use crate::abi::pinned::Pinned;
use crate::abi::swap::{MEMORY_DISK, MEMORY_DISK_PAGES, Swap};

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("fdinfo_says_how_far_a_memfd_is_preserved", progress),
    Scenario::here("preserve_of_a_process_that_is_killed_ends_and_leaves_nothing", killed),
    Scenario::here("preserved_pages_stay_where_they_are", stay),
    Scenario::here("a_memfd_with_a_hardware_error_is_refused", poisoned),
    Scenario::across(
        "a_hardware_error_after_preserve_leaves_all_other_pages",
        before_error,
        after_error,
    ),
    Scenario::across("pages_that_are_written_by_dma_cross", before_pinned, after_pinned),
    Scenario::across("pages_by_userfaultfd_cross", before_filled, after_filled),
    Scenario::across(
        "a_page_that_userfaultfd_cannot_map_is_there_once",
        before_guarded,
        after_guarded,
    ),
];

/// Pages of a small memfd.
pub(super) const PAGES: u64 = 64;

/// A memfd with so many pages, all written.
pub(super) fn full(pages: u64) -> Result<File> {
    let file = hole(pages * PAGE as u64)?;
    (0..pages).try_for_each(|page| write_page(&file, page))?;
    Ok(file)
}

/// Checks that each of so many pages has its mark.
pub(super) fn check_full(file: &File, pages: u64) -> Result<()> {
    (0..pages).try_for_each(|page| check_page(file, page, true))
}

/// Checks through a mapping that each of so many pages has the mark of another page, `offset` later.
pub(super) fn check_marks(mapped: &MappedMut, pages: u64, offset: u64) -> Result<()> {
    for page in 0..pages {
        let word = mapped.load(usize::try_from(page)?);
        ensure!(word == mark(page + offset), "page {page} has {word:#x}");
    }
    Ok(())
}

/// Stores these marks.
pub(super) fn store_marks(mapped: &mut MappedMut, pages: u64, offset: u64) -> Result<()> {
    for page in 0..pages {
        mapped.store(usize::try_from(page)?, mark(page + offset));
    }
    Ok(())
}

/// How far a memfd is preserved, in kB. Only the handler in Rust says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) size: u64,
    pub(super) scanned: u64,
    pub(super) preserved: u64,
}

impl Progress {
    /// `None` of a file that is not to be preserved.
    pub(super) fn of(file: impl AsFd) -> Result<Option<Self>> {
        let path = format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = |key: &str| {
            let of_key = |line: &str| {
                let (name, value) = line.strip_prefix("liveupdate-")?.split_once(":\t")?;
                (name == key).then(|| value.strip_suffix(" kB")?.parse().ok())?
            };
            text.lines().find_map(of_key)
        };
        match (line("size"), line("scanned"), line("preserved")) {
            (Some(size), Some(scanned), Some(preserved)) => {
                Ok(Some(Self { size, scanned, preserved }))
            }
            _ if text.contains("liveupdate") => bail!("{path} has only a part: {text}"),
            _ => Ok(None),
        }
    }
}

fn progress(stage: &mut Stage<'_>) -> Result<()> {
    if stage.memfd == Kernel::C {
        return not_applicable("the handler in C does not say");
    }
    let file = hole(PAGES * PAGE as u64)?;
    write_page(&file, 0)?;
    write_page(&file, 5)?;
    let check = |preserved: Option<u64>| {
        let expected = preserved.map(|preserved| Progress { size: 256, scanned: 256, preserved });
        let shown = Progress::of(&file)?;
        ensure!(shown == expected, "fdinfo shows {shown:?}, not {expected:?}");
        Ok(())
    };
    check(None)?;
    let session = create("progress")?;
    session.preserve(TOKEN.into(), &file).context("PRESERVE_FD")?;
    check(Some(8))?;
    write_page(&file, 9)?;
    check(Some(12))?;
    drop(session);
    check(None)
}

/// Argument of the process that preserves its standard output in the session that is its standard input.
pub(super) const CHILD: &str = "--child-that-preserves";

pub(super) fn child_main() -> Result<()> {
    let session = std::io::stdin();
    abi::preserve_fd(&session, std::io::stdout(), TOKEN.into()).context("PRESERVE_FD")
}

/// Starts this program with another main function.
pub(super) fn child(
    argument: &str,
    input: impl Into<OwnedFd>,
    output: impl Into<OwnedFd>,
) -> Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(argument).stdin(Stdio::from(input.into())).stdout(Stdio::from(output.into()));
    command.spawn().context("start a child")
}

/// Bytes of a memfd of which PRESERVE_FD takes some milliseconds.
const LARGE: u64 = 128 << 20;
/// What PRESERVE_FD does between two looks for a signal, at the most, in kB.
const PORTION: u64 = 16 << 10;
/// How many processes are killed early.
const KILLS: u32 = 3;
/// How many are killed at all, until so many of them are killed early.
const TRIES: u32 = 50;

fn killed(stage: &mut Stage<'_>) -> Result<()> {
    if stage.memfd == Kernel::C {
        return not_applicable("PRESERVE_FD of a memfd cannot be interrupted in C");
    }
    let file = allocated(LARGE)?;
    let mut early = 0;
    for _ in 0..TRIES {
        early += u32::from(is_killed(&file)?);
        if early == KILLS {
            return Ok(());
        }
    }
    bail!("of {TRIES} processes, {early} were killed while they preserved a memfd")
}

/// Kills a process that preserves a memfd. Returns whether it had done no more than half.
fn is_killed(file: &File) -> Result<bool> {
    let session = create("unusual-killed")?;
    let mut child = child(CHILD, dup(&session)?, file.try_clone().context("dup")?)?;
    drop(session);
    let mut status = None;
    while Progress::of(file)?.is_none() && status.is_none() {
        status = child.try_wait().context("look at the child")?;
        thread::yield_now();
    }
    child.kill().context("kill the child")?;
    // What it does from here on it does with a signal.
    let begin = Progress::of(file)?.filter(|now| now.scanned <= now.size / 2);
    let mut last = begin;
    while let Some(now) = Progress::of(file)? {
        last = Some(now);
    }
    let status = child.wait().context("wait for the child")?;
    if let (Some(begin), Some(last)) = (begin, last) {
        ensure!(status.signal() == Some(9), "the child was not killed: {status}");
        let more = last.scanned - begin.scanned;
        ensure!(more <= 2 * PORTION, "it has gone on for {more} kB");
    }
    let left = Progress::of(file)?;
    ensure!(left.is_none(), "it is preserved: {left:?}");
    ftruncate(file, LARGE - 1).context("cut a memfd that is not preserved")?;
    ftruncate(file, LARGE).context("make a memfd longer")?;
    Ok(begin.is_some())
}

/// Pages of a memfd that are to be moved: as long as two huge pages.
pub(super) const MANY: u64 = 1024;

/// A way to have pages moved, which may fail.
type Move = fn(&MappedMut) -> rustix::io::Result<()>;

/// Has the pages of a memfd moved. Returns how many are somewhere else afterwards.
fn moved(file: &File, by: Move) -> Result<usize> {
    let mapped = MappedMut::aligned(file).context("map a memfd")?;
    let frames = || -> Result<_> {
        check_marks(&mapped, MANY, 0)?;
        mapped.frames().context("look for pages")
    };
    let before = frames()?;
    let _ = by(&mapped);
    let after = frames()?;
    Ok(before.iter().zip(&after).filter(|(before, after)| before != after).count())
}

fn stay(_: &mut Stage<'_>) -> Result<()> {
    let _swap = Swap::on(Path::new(MEMORY_DISK), MEMORY_DISK_PAGES).context("swapon")?;
    let (file, other) = (full(MANY)?, full(MANY)?);
    let session = create("unusual-stay")?;
    session.preserve(TOKEN.into(), &file).context("PRESERVE_FD")?;
    let ways: [(&str, Move); 2] =
        [("swapped out", MappedMut::page_out), ("collapsed", MappedMut::collapse)];
    for (way, by) in ways {
        let count = moved(&other, by)?;
        ensure!(count > 0, "no page is {way} that could be");
        let count = moved(&file, by)?;
        ensure!(count == 0, "{count} preserved pages were {way}");
    }
    Ok(())
}

/// Argument of the process that poisons the memfd that is its standard input.
pub(super) const POISONER: &str = "--child-that-poisons";

pub(super) fn poisoner_main() -> Result<()> {
    let file = File::from(std::io::stdin().as_fd().try_clone_to_owned().context("dup")?);
    let mapped = MappedMut::new(&file).context("map a memfd")?;
    let _ = mapped.load(0);
    match mapped.poison(0) {
        Err(Errno::INVAL) => std::process::exit(UNKNOWN),
        // The page has an error, and stays in the memfd: it is pinned.
        Err(Errno::BUSY) => Ok(()),
        done => done.context("MADV_HWPOISON"),
    }
}

/// The exit code of that process if the kernel does not know the advice.
const UNKNOWN: i32 = 77;

/// Whether the first page of a memfd has a hardware error now: not every kernel can do that.
fn poison(file: &File) -> Result<bool> {
    let nothing = File::options().write(true).open("/dev/null").context("open /dev/null")?;
    let mut child = child(POISONER, file.try_clone().context("dup")?, nothing)?;
    let status = child.wait().context("wait for the child")?;
    if status.code() == Some(UNKNOWN) {
        return Ok(false);
    }
    // The signal for memory that is used and has an error.
    ensure!(status.success() || status.signal() == Some(7), "no page was poisoned: {status}");
    Ok(true)
}

const CANNOT_POISON: &str = "this kernel does not poison memory";

fn poisoned(stage: &mut Stage<'_>) -> Result<()> {
    let file = full(1)?;
    if !poison(&file)? {
        return not_applicable(CANNOT_POISON);
    }
    let refused = create("unusual-poisoned")?.preserve(TOKEN.into(), &file);
    if stage.memfd == Kernel::C {
        return not_applicable("the handler in C does not look for hardware errors");
    }
    fails("PRESERVE_FD", refused, Errno::HWPOISON)
}

/// A memfd of which a page has a hardware error after PRESERVE_FD.
const LATE_ERROR: &str = "unusual-late-error";

fn before_error(stage: &mut Stage<'_>) -> Result<()> {
    let file = full(PAGES)?;
    stage.hand_over(LATE_ERROR, &file)?;
    if !poison(&file)? {
        return not_applicable(CANNOT_POISON);
    }
    let read = file.read_exact_at(&mut [0], 0).err().and_then(|error| error.raw_os_error());
    ensure!(read == Some(Errno::IO.raw_os_error()), "a read of the page says {read:?}, not EIO");
    check_page(&file, 1, true)
}

/// The page crosses as it is: the next kernel hears of the error when the memory is used. The memory of this machine has
/// no error in truth.
fn after_error(_: &mut Stage<'_>) -> Result<()> {
    check_full(&take_over(LATE_ERROR)?, PAGES)
}

fn before_pinned(stage: &mut Stage<'_>) -> Result<()> {
    let file = full(PAGES)?;
    let mut mapped = MappedMut::new(&file).context("map a memfd")?;
    let mut pinned = Pinned::all(&mut mapped).context("register a buffer of io_uring")?;
    stage.hand_over("unusual-pinned", &file)?;
    // A device still writes to the frames that it knows.
    for page in 0..PAGES {
        pinned.store(usize::try_from(page)?, mark(page + PAGES)).context("read into a page")?;
    }
    Ok(())
}

fn after_pinned(_: &mut Stage<'_>) -> Result<()> {
    let file = take_over("unusual-pinned")?;
    check_marks(&MappedMut::new(&file).context("map a memfd")?, PAGES, PAGES)
}

/// The page that is filled.
const FILLED: u64 = 7;

fn before_filled(stage: &mut Stage<'_>) -> Result<()> {
    let file = hole(PAGES * PAGE as u64)?;
    write_page(&file, 0)?;
    let mapped = MappedMut::new(&file).context("map a memfd")?;
    let fill_page =
        || abi::fault::fill(&mapped, usize::try_from(FILLED)?, mark(FILLED)).context("UFFDIO_COPY");
    if stage.memfd == Kernel::C {
        // No hole is left behind PRESERVE_FD.
        fill_page()?;
    }
    stage.hand_over("unusual-filled", &file)?;
    if stage.memfd == Kernel::Rust {
        fill_page()?;
    }
    Ok(())
}

fn after_filled(_: &mut Stage<'_>) -> Result<()> {
    let file = take_over("unusual-filled")?;
    (0..PAGES).try_for_each(|page| check_page(&file, page, page == 0 || page == FILLED))
}

fn before_guarded(stage: &mut Stage<'_>) -> Result<()> {
    let file = hole(PAGES * PAGE as u64)?;
    write_page(&file, 0)?;
    stage.hand_over("unusual-guarded", &file)?;
    if stage.memfd == Kernel::Rust {
        let mapped = MappedMut::new(&file).context("map a memfd")?;
        let page = usize::try_from(FILLED)?;
        mapped.guard(page).context("MADV_GUARD_INSTALL")?;
        let filled = abi::fault::fill(&mapped, page, mark(FILLED + 1));
        ensure!(filled == Err(Errno::EXIST), "UFFDIO_COPY into a guarded page: {filled:?}");
    }
    // The page of the copy that failed is there, or this makes one: the last content counts.
    write_page(&file, FILLED)?;
    if stage.memfd == Kernel::C {
        return not_applicable("the handler in C leaves no holes");
    }
    Ok(())
}

fn after_guarded(_: &mut Stage<'_>) -> Result<()> {
    let file = take_over("unusual-guarded")?;
    (0..PAGES).try_for_each(|page| check_page(&file, page, page == 0 || page == FILLED))
}
