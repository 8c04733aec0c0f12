// SPDX-License-Identifier: MIT OR Apache-2.0

//! The payload disk: what every guest gets, an archive on the bare device.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use selftests::plan::{INITRAMFS_FILE, PLAN_FILE, Plan};

use crate::guest::archive::Archive;
use crate::kernel::Image;

/// Multiple of which the size of a disk must be.
const SECTOR: u64 = 512;

/// Writes the payload disk: plan, initramfs, and the kernels of all hops by name.
pub(crate) fn write_payload(
    to: &Path,
    plan: &Plan,
    initramfs: &Path,
    kernels: &[(String, Image)],
) -> Result<()> {
    let mut archive = Archive::new(create(to)?);
    archive.file(PLAN_FILE, &serde_json::to_vec_pretty(plan)?)?;
    for (name, image) in kernels {
        archive.file(name, &read(&image.path())?)?;
    }
    archive.file(INITRAMFS_FILE, &read(initramfs)?)?;
    finish_disk(archive, to)
}

/// Ends an archive that is a disk, whose size is one of whole sectors.
pub(super) fn finish_disk(archive: Archive<BufWriter<File>>, to: &Path) -> Result<()> {
    finish(archive, to)?;
    let disk = File::options().write(true).open(to).context("open the payload")?;
    let size = disk.metadata().context("look at the payload")?.len();
    disk.set_len(size.next_multiple_of(SECTOR)).with_context(|| format!("write {}", to.display()))
}

pub(super) fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

pub(super) fn finish(archive: Archive<BufWriter<File>>, path: &Path) -> Result<()> {
    let written = archive.finish().and_then(|mut file| file.flush().context("flush"));
    written.with_context(|| format!("write {}", path.display()))
}
