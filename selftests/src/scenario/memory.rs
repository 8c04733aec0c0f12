// SPDX-License-Identifier: MIT OR Apache-2.0

//! The memory of sessions and files: how much it is, and that it comes back.

use std::io::{self, Seek as _};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::fstat;
use rustix::io::Errno;

use super::holes::{allocated, take_over};
use super::stage::{
    Kernel, Stage, create, fails, finish, memfd, not_applicable, retrieve, try_retrieve,
};
use super::{Scenario, TWO_UPDATES, module};
use crate::free_memory::{free, of_files, settled};

/// Once all other sessions of the previous kernel are finished: how much memory they take depends on how far its commands
/// came until `reboot(2)`.
pub(super) const LAST: &[Scenario] = &[
    Scenario::across("free_memory_does_not_shrink_over_many_updates", many_before, many_after),
    Scenario::across("what_is_never_finished_is_free_after_the_next_update", before, after),
];

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("a_session_takes_little_memory", sessions),
    Scenario::here("a_preserved_file_takes_little_memory", files),
    Scenario::across(
        "finish_frees_the_memory_of_a_file_that_was_never_retrieved",
        unretrieved_before,
        unretrieved_after,
    ),
    Scenario::across(
        "memory_of_a_retrieved_memfd_is_counted_as_that_of_any_file",
        counted_before,
        counted_after,
    ),
];

/// Free memory once there is enough of it, or when it is too late.
fn wait_for(is_enough: impl Fn(u64) -> bool) -> Result<u64> {
    let begin = Instant::now();
    loop {
        let now = free()?;
        if is_enough(now) || begin.elapsed() >= LATE {
            return Ok(now);
        }
        thread::yield_now();
    }
}

/// What is not free after so long is lost.
const LATE: Duration = Duration::from_secs(5);

/// Sessions, and files of one session: so many that lists of free pages matter little. On C, the time
/// grows with the square.
const MANY: u32 = 3000;

/// Bytes that a session may take: with its descriptor, and its 80 bytes for the next kernel.
const SESSION: u64 = 2048;

/// Bytes that a preserved file may take beyond the file itself: with its 64 bytes for the next
/// kernel.
const FILE: u64 = 1024;

/// Bytes of one item that may not be free again after it has gone: slabs are partly used.
const LEFT: u64 = 64;

/// Checks the memory that [`MANY`] items take, and that it comes back.
fn check<T>(stage: &Stage<'_>, most: u64, make: impl Fn() -> Result<T>) -> Result<()> {
    if stage.is_debug {
        return not_applicable("kernels that look for errors take more memory, and free it late");
    }
    // The first time, caches are filled.
    drop(make()?);
    let before = settled()?;
    let gone = |now: u64| before.saturating_sub(now) / u64::from(MANY);
    let items = make()?;
    let takes = gone(free()?);
    drop(items);
    ensure!(takes <= most, "each takes {takes} bytes, not {most}");
    let leaves = gone(wait_for(|now| gone(now) <= LEFT)?);
    ensure!(leaves <= LEFT, "{leaves} bytes of each are not free, of {takes}");
    Ok(())
}

/// Waits until so many bytes more are free than `before`.
pub(super) fn becomes_free(before: u64, bytes: u64) -> Result<()> {
    let gained = |now: u64| now.saturating_sub(before);
    let gained = gained(wait_for(|now| gained(now) >= bytes)?);
    ensure!(gained >= bytes, "{} of {} KiB are free again", gained >> 10, bytes >> 10);
    Ok(())
}

fn sessions(stage: &mut Stage<'_>) -> Result<()> {
    check(stage, SESSION, || {
        (0..MANY).map(|number| create(format!("memory-{number}"))).collect::<Result<Vec<_>>>()
    })
}

fn files(stage: &mut Stage<'_>) -> Result<()> {
    // The handler of these takes no memory, and writes nothing to the log.
    let files = (0..MANY).map(|_| module::open()).collect::<Result<Vec<_>>>()?;
    check(stage, FILE, || {
        let session = create("memory")?;
        for (token, file) in (0_u32..).zip(&files) {
            session.preserve(token.into(), file).context("PRESERVE_FD")?;
        }
        Ok(session)
    })
}

/// The size of each of the two files that are not finished.
const BIG: u64 = 64 << 20;

/// A difference of free memory that is none: another kernel, 8 MiB of KHO's own test, and kernels that look for errors,
/// which free memory late.
const NOISE: u64 = BIG / 2;

/// What the handler of memfds in C may lose besides, until the next update, where allocations fail on demand: the memory of
/// files for which `each_allocation_of_retrieve_may_fail` has let RETRIEVE_FD fail early. It is less than one of both files.
const LOST_BY_C: u64 = BIG / 2 - (4 << 20);

/// Two sessions that are not finished: one is retrieved, with its file, and one is not.
const RETRIEVED: &str = "memory-retrieved";
const WAITING: &str = "memory-waiting";

/// A session that tells the next kernel how much memory was free in this one.
const FIGURE: &str = "memory-figure";

fn name(which: &str, hop: usize) -> String {
    format!("{which}-{hop}")
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    for which in [RETRIEVED, WAITING] {
        // A handler may preserve holes as holes, which take nothing.
        stage.hand_over(name(which, stage.hop), allocated(BIG)?)?;
    }
    Ok(())
}

/// Retrieves a session of the last kernel, and its file.
fn came(stage: &Stage<'_>, which: &str) -> Result<(liblu::IncomingSession, OwnedFd)> {
    let session = retrieve(name(which, stage.hop - 1))?;
    let file = session.retrieve(1.into()).context("RETRIEVE_FD")?;
    let size = fstat(&file).context("fstat")?.st_size;
    ensure!(u64::try_from(size) == Ok(BIG), "the memfd has {size} bytes");
    Ok((session, file))
}

fn after(stage: &mut Stage<'_>) -> Result<()> {
    let now = settled()?;
    if stage.hop > 2 {
        for which in [RETRIEVED, WAITING] {
            let gone = try_retrieve(name(which, stage.hop - 2));
            fails("a session that was not finished", gone, Errno::NOENT)?;
        }
        let earlier: u64 = text_of(FIGURE)?.parse().context("understand the figure")?;
        let lost = earlier.saturating_sub(now);
        let loses = stage.is_debug && stage.memfd == Kernel::C;
        let most = if loses { NOISE + LOST_BY_C } else { NOISE };
        ensure!(lost < most, "{} MiB less are free than one update ago", lost >> 20);
    }
    if stage.hop < stage.hops {
        let (session, file) = came(stage, RETRIEVED)?;
        stage.keep(session.into_fd());
        stage.keep(file);
        stage.hand_over(FIGURE, memfd(&now.to_string())?)?;
    } else {
        for which in [RETRIEVED, WAITING] {
            finish(came(stage, which)?.0)?;
        }
    }
    if stage.hop == 2 {
        return not_applicable("nothing was left unfinished before the first update");
    }
    Ok(())
}

/// A session that tells all later kernels how much memory was free after the first updates: in the first kernel of each
/// [`kind`].
const EARLIEST: &str = "memory-earliest";

/// Kernels that have as much free memory as each other: those of an implementation, in hops of even or of odd numbers.
/// KHO's own test keeps 8 MiB in each kernel of an odd number, for the next one, which frees them.
fn kind(kernel: Kernel, hop: usize) -> usize {
    kernel.pick(0, 2) + hop % 2
}

const KINDS: usize = 4;

/// A difference of free memory that is none among kernels of one kind.
const SAME_KIND: u64 = 2 << 20;

/// The text of a memfd of a session, which is finished.
pub(super) fn text_of(name: &str) -> Result<String> {
    let mut file = take_over(name)?;
    // The position crosses too.
    file.rewind().context("rewind")?;
    io::read_to_string(file).context("read a text")
}

fn many_before(stage: &mut Stage<'_>) -> Result<()> {
    if stage.hop > 1 {
        // The part after the kexec has done it.
        return Ok(());
    }
    stage.hand_over(EARLIEST, memfd(&["0"; KINDS].join(" "))?)
}

fn many_after(stage: &mut Stage<'_>) -> Result<()> {
    let mut earliest = [0_u64; KINDS];
    for (figure, word) in earliest.iter_mut().zip(text_of(EARLIEST)?.split(' ')) {
        *figure = word.parse().context("understand a figure")?;
    }
    let [mine, other] = [stage.hop, stage.hop + 1].map(|hop| kind(stage.kernel, hop));
    let same = if stage.is_debug { NOISE } else { SAME_KIND };
    let figures = [(mine, same), (other, NOISE)].map(|(of, noise)| (earliest[of], noise));
    // Files that were closed just before may be freed late.
    let is_same =
        |now: u64| figures.iter().all(|(earlier, noise)| earlier.saturating_sub(now) < *noise);
    let now = wait_for(is_same).and_then(|_| settled())?;
    for (earlier, noise) in figures {
        let lost = earlier.saturating_sub(now);
        ensure!(lost < noise, "{} KiB less are free than after the first updates", lost >> 10);
    }
    if earliest[mine] == 0 {
        earliest[mine] = now;
    }
    if stage.hop < stage.hops {
        let text = earliest.map(|figure| figure.to_string()).join(" ");
        stage.hand_over(EARLIEST, memfd(&text)?)?;
    }
    if figures.iter().all(|(earlier, _)| *earlier == 0) {
        return not_applicable(TWO_UPDATES);
    }
    Ok(())
}

/// A session that is finished without a look at its file.
const UNRETRIEVED: &str = "memory-unretrieved";

/// The bytes of that file, and how many fewer may be free: other tasks of the kernel take some pages meanwhile.
const LOST: u64 = 16 << 20;
const TAKEN: u64 = 256 << 10;

fn unretrieved_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over(UNRETRIEVED, allocated(LOST)?)
}

fn unretrieved_after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.is_debug {
        finish(retrieve(UNRETRIEVED)?)?;
        return not_applicable("kernels that look for errors free memory late");
    }
    let session = retrieve(UNRETRIEVED)?;
    let before = settled()?;
    finish(session)?;
    becomes_free(before, LOST - TAKEN)
}

/// A session whose file is looked for in the counts of the kernel, and the bytes of this file.
const COUNTED: &str = "memory-counted";
const COUNTED_BYTES: u64 = 8 << 20;

/// A difference that is none: each CPU puts a few pages on the lists later.
const ELSEWHERE: u64 = COUNTED_BYTES / 4;

fn counted_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over(COUNTED, allocated(COUNTED_BYTES)?)
}

fn counted_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve(COUNTED)?;
    settled()?;
    let before = of_files()?;
    let file = session.retrieve(1.into()).context("RETRIEVE_FD")?;
    let now = of_files()?;
    let places = [
        ("the page cache", before.cached, now.cached),
        ("memory of shmem", before.shared, now.shared),
        ("lists of pages", before.listed, now.listed),
    ];
    for (place, before, now) in places {
        let more = now.saturating_sub(before);
        ensure!(
            more.abs_diff(COUNTED_BYTES) <= ELSEWHERE,
            "{place}: {} KiB more, not {}",
            more >> 10,
            COUNTED_BYTES >> 10
        );
    }
    drop(file);
    finish(session).map(drop)
}
