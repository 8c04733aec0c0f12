// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds of which pages are on a disk, or on their way to it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Scenario;
use super::holes::take_over;
use super::stage::{Stage, not_applicable};
use super::unusual::{MANY, check_full, check_marks, full, store_marks};
use crate::abi::mapped::MappedMut;
use crate::abi::page_flags::PageFlags;
use crate::abi::swap::Swap;
use crate::free_memory::count;
use crate::plan::SCRATCH_SERIAL;

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("pages_that_are_swapped_out_cross", before, after),
    Scenario::across("pages_that_are_being_swapped_out_cross", before_slow, after_slow),
];

/// A disk in memory, and the pages of it that are used.
pub(super) const DISK: &str = "/dev/ram0";
pub(super) const SWAP: u32 = 8192;

/// Has the pages of a memfd swapped out. Returns for how many that was begun at least.
fn swap_out(file: &File, pages: u64) -> Result<u64> {
    let before = count("pswpout")?;
    let mapped = MappedMut::new(file).context("map a memfd")?;
    for page in 0..pages {
        let _ = mapped.load(usize::try_from(page)?);
    }
    mapped.page_out().context("MADV_PAGEOUT")?;
    Ok(count("pswpout")? - before)
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    let file = full(MANY)?;
    let swap = Swap::on(Path::new(DISK), SWAP).context("swapon")?;
    let begun = swap_out(&file, MANY)?;
    // A few may be on lists of a processor.
    ensure!(begun >= MANY / 2, "{begun} pages were swapped out");
    stage.hand_over("unusual-swapped", &file)?;
    drop(swap);
    check_full(&file, MANY)
}

fn after(_: &mut Stage<'_>) -> Result<()> {
    check_full(&take_over("unusual-swapped")?, MANY)
}

/// Pages of a memfd that a slow disk takes a second for, and the pages of the disk that are used.
const SOME: u64 = 256;
const SLOW_SWAP: u32 = 2048;

/// Memfds that are tried: a machine that is held up may come too late to see one on its way.
const TRIES: usize = 5;

/// The session of a memfd whose pages are on their way to a disk when it is preserved.
const SLOW: &str = "unusual-being-swapped";

/// The slow disk, if this machine has one.
fn slow_disk() -> Result<Option<PathBuf>> {
    for device in fs::read_dir("/sys/block").context("read /sys/block")? {
        let device = device.context("read /sys/block")?;
        let serial = fs::read_to_string(device.path().join("serial")).unwrap_or_default();
        if serial.trim() == SCRATCH_SERIAL {
            return Ok(Some(Path::new("/dev").join(device.file_name())));
        }
    }
    Ok(None)
}

/// A memfd whose pages are on their way to the disk.
fn being_written() -> Result<File> {
    for _ in 0..TRIES {
        let file = full(SOME)?;
        swap_out(&file, SOME)?;
        if count("nr_writeback")? > 0 {
            return Ok(file);
        }
    }
    anyhow::bail!("the disk had all pages at once, {TRIES} times")
}

fn before_slow(stage: &mut Stage<'_>) -> Result<()> {
    let Some(disk) = slow_disk()? else {
        return not_applicable("this machine has no slow disk");
    };
    let swap = Swap::on(&disk, SLOW_SWAP).context("swapon")?;
    let file = being_written()?;
    stage.hand_over(SLOW, &file)?;
    let mut mapped = MappedMut::new(&file).context("map a memfd")?;
    check_marks(&mapped, SOME, 0)?;
    let flags = PageFlags::open().context("open /proc/kpageflags")?;
    for frame in mapped.frames().context("look for pages")?.into_iter().flatten() {
        let is_written = flags.is_being_written(frame).context("read flags")?;
        ensure!(!is_written, "frame {frame:#x} is preserved, and on its way to the disk");
    }
    // What is stored from now on is in the pages that were preserved.
    store_marks(&mut mapped, SOME, SOME)?;
    drop((mapped, swap));
    check_marks(&MappedMut::new(&file).context("map a memfd")?, SOME, SOME)
}

fn after_slow(_: &mut Stage<'_>) -> Result<()> {
    let file = take_over(SLOW)?;
    check_marks(&MappedMut::new(&file).context("map a memfd")?, SOME, SOME)
}
