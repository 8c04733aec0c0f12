// SPDX-License-Identifier: MIT OR Apache-2.0

//! The content that the virtual machine boots with: PID 1, the initramfs, and the payload disk.

mod archive;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use selftests::plan::{INITRAMFS_FILE, PLAN_FILE, Plan};

use crate::arch::ARCH;
use crate::cache::Cache;
use crate::failure::NextStep;
use crate::guest::archive::Archive;
use crate::kernel::Image;
use crate::process::{Job, bound};
use crate::project::Project;

/// Multiple of which the size of a disk must be.
const SECTOR: u64 = 512;

/// Builds PID 1 of the guest, static, with the host's cargo.
pub(crate) fn build_init(cache: &Cache, project: &Project) -> Result<PathBuf> {
    let folder = build_static(cache, project, &["--package", "selftests", "--bin", "init"])?;
    Ok(folder.join("init"))
}

/// Builds programs for the guest, static, with the host's cargo, and returns the folder where they
/// are.
pub(crate) fn build_static(cache: &Cache, project: &Project, what: &[&str]) -> Result<PathBuf> {
    let target = project.folder.join("target/guest");
    let mut command = bound("cargo");
    command.args(["build", "--quiet", "--locked", "--release"]).args(what);
    // The target is named so that flags for the guest do not touch what runs on the host.
    command.args(["--target", ARCH.target, "--target-dir"]).arg(&target);
    command.current_dir(&project.folder);
    command.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    build(command, cache)?;
    Ok(target.join(ARCH.target).join("release"))
}

fn build(command: Command, cache: &Cache) -> Result<()> {
    Job::new(command, cache.path("logs", "guest.log")).run().or_advise(|| {
        let next =
            "mend the error above; if the linker finds no static C library, install libc6-dev";
        ("the guest's programs do not build", next)
    })
}

/// Writes the initramfs: PID 1 and programs in `/bin`.
pub(crate) fn write_initramfs(
    to: &Path,
    init: &Path,
    programs: impl Iterator<Item = (&'static str, PathBuf)>,
) -> Result<()> {
    let mut archive = Archive::new(create(to)?);
    for folder in ["bin", "debugfs", "dev", "proc", "run", "sys", "tmp"] {
        archive.folder(folder)?;
    }
    // Before devtmpfs is mounted, PID 1 needs something to be born with.
    archive.device("dev/console", 5, 1)?;
    archive.device("dev/null", 1, 3)?;
    archive.program("init", &read(init)?)?;
    for (name, path) in programs {
        archive.program(&format!("bin/{name}"), &read(&path)?)?;
    }
    finish(archive, to)
}

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
    finish(archive, to)?;
    let disk = File::options().write(true).open(to).context("open the payload")?;
    let size = disk.metadata().context("look at the payload")?.len();
    disk.set_len(size.next_multiple_of(SECTOR)).with_context(|| format!("write {}", to.display()))
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn finish(archive: Archive<BufWriter<File>>, path: &Path) -> Result<()> {
    let written = archive.finish().and_then(|mut file| file.flush().context("flush"));
    written.with_context(|| format!("write {}", path.display()))
}
