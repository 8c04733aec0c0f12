// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds of which pages are on a disk, or on their way to it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::Scenario;
use super::holes::{TOKEN, take_over};
use super::stage::{Stage, create};
use super::unusual::{MANY, check_full, check_marks, full, store_marks};
use crate::abi::mapped::{MappedMut, PAGE};
use crate::abi::page_flags::PageFlags;
use crate::abi::swap::{MEMORY_DISK, MEMORY_DISK_PAGES, Swap};
use crate::free_memory::count;
use crate::plan::{SCRATCH_SERIAL, SLOW_DISK_BYTES};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("pages_that_are_swapped_out_cross", before, after),
    Scenario::across("pages_that_are_being_swapped_out_cross", before_slow, after_slow),
];

/// Has the pages of a memfd swapped out, or most of them: a few may be on lists of a processor.
fn swap_out(file: &File, pages: u64) -> Result<()> {
    let before = count("pswpout")?;
    let mapped = MappedMut::new(file).context("map a memfd")?;
    for page in 0..pages {
        let _ = mapped.load(usize::try_from(page)?);
    }
    mapped.page_out().context("MADV_PAGEOUT")?;
    let begun = count("pswpout")? - before;
    ensure!(begun >= pages / 2, "{begun} pages are swapped out, or on their way");
    Ok(())
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    let file = full(MANY)?;
    let disk = Path::new(MEMORY_DISK);
    let swap = Swap::on(disk, MEMORY_DISK_PAGES).context("swapon")?;
    swap_out(&file, MANY)?;
    stage.hand_over("unusual-swapped", &file)?;
    drop(swap);
    check_full(&file, MANY)
}

fn after(_: &mut Stage<'_>) -> Result<()> {
    check_full(&take_over("unusual-swapped")?, MANY)
}

/// Pages of a memfd that a slow disk takes a second for.
const SOME: u64 = 256;

/// So many are on their way when the memfd is preserved.
const ON_THEIR_WAY: u64 = SOME / 8;

/// Memfds that are tried: the disk takes the first pages at once, and a machine may be held up.
const TRIES: usize = 5;

/// The session of a memfd whose pages are on their way to a disk when it is preserved.
const SLOW: &str = "unusual-being-swapped";

/// The slow disk of this machine.
fn slow_disk() -> Result<PathBuf> {
    for device in fs::read_dir("/sys/block").context("read /sys/block")? {
        let device = device.context("read /sys/block")?;
        let serial = fs::read_to_string(device.path().join("serial")).unwrap_or_default();
        if serial.trim() == SCRATCH_SERIAL {
            return Ok(Path::new("/dev").join(device.file_name()));
        }
    }
    bail!("this machine has no disk for swap")
}

/// A memfd whose pages are on their way to the disk.
fn being_written() -> Result<File> {
    for _ in 0..TRIES {
        let file = full(SOME)?;
        swap_out(&file, SOME)?;
        if count("nr_writeback")? >= ON_THEIR_WAY {
            return Ok(file);
        }
    }
    bail!("the disk had nearly all pages at once, {TRIES} times")
}

fn before_slow(stage: &mut Stage<'_>) -> Result<()> {
    let pages = SLOW_DISK_BYTES / u32::try_from(PAGE)?;
    let swap = Swap::on(&slow_disk()?, pages).context("swapon")?;
    let session = create(SLOW)?;
    let file = being_written()?;
    session.preserve(TOKEN.into(), &file).context("PRESERVE_FD")?;
    stage.keep(session);
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
