// SPDX-License-Identifier: MIT OR Apache-2.0

//! The image with our programs and units.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use selftests::systemd::PROGRAMS;

use crate::cache::{Key, Lock, remove};
use crate::process::Job;
use crate::setup::BuildSetup;

/// Raise it when the way of making the image changes.
const VERSION: u32 = 1;

/// The unit that plays the plan.
const PLAYER: &str = "vmtest.service";

/// Messages of a unit go to the log of the kernel, and not to the journal.
const TO_LOG: &str = "[Service]\nStandardError=kmsg\nSyslogLevel=notice\n";

/// Small files of a system that is not installed, but booted as it is.
const CONFIGURATION: [(&str, &str); 13] = [
    // Without one, the first boot would ask its questions on the console, and each hop is the first.
    ("etc/machine-id", "5a0f7bd43c1e4c0f9f8a1d3e6b7c2d10\n"),
    ("etc/hostname", "vmtest\n"),
    ("etc/fstab", ""),
    // Newer than /usr: there is nothing to be brought up to date at each boot.
    ("etc/.updated", ""),
    ("var/.updated", ""),
    // The suite `agent` has a user that takes part in updates.
    ("etc/luod/luod.toml", "[[rule]]\nuser = \"games\"\nparticipate = true\n"),
    // When guests stop and run is in the log of the machine, with the time of the machine.
    // Under TCG, the first processor of QEMU loses flags: see selftests/src/vmm.rs. Emulated guests do not mind.
    ("etc/systemd/system/lu-qemu@.service.d/processor.conf", "[Service]\nCPUAffinity=1\n"),
    ("etc/systemd/system/luod-ch@.service.d/processor.conf", "[Service]\nCPUAffinity=1\n"),
    ("etc/systemd/system/lu-qemu@tcg.service.d/processor.conf", "[Service]\nCPUAffinity=0\n"),
    ("etc/systemd/system/lu-qemu@kvm.service.d/vmtest.conf", TO_LOG),
    ("etc/systemd/system/lu-qemu@tcg.service.d/vmtest.conf", TO_LOG),
    ("etc/systemd/system/lu-qemu@large.service.d/vmtest.conf", TO_LOG),
    ("etc/systemd/journald.conf.d/vmtest.conf", "[Journal]\nStorage=volatile\n"),
];

/// A file with the name that it has in the guest.
pub(super) type Named = (String, PathBuf);

/// The image, made if it is not there.
pub(super) fn prepare(setup: &BuildSetup, mut programs: Vec<Named>, _: &Lock) -> Result<PathBuf> {
    let units = setup.project.folder.join("selftests/systemd");
    let units = units_in(&units)?;
    // Tests follow their quick starts.
    let pages = ["docs/operators.md", "docs/qemu.md"];
    programs.extend(pages.map(|page| named(setup.project.folder.join(page))));
    let mut key = Key::of("layer", VERSION).with(&setup.root.key);
    for (name, path) in programs.iter().chain(&units) {
        key = key.with(name);
        key = key.with(fs::read(path).with_context(|| format!("read {}", path.display()))?);
    }
    for (path, text) in CONFIGURATION {
        key = key.with(path).with(text);
    }
    let image = setup.cache.path("layers", format!("{}.squashfs", key.finish()));
    if image.exists() {
        return Ok(image);
    }
    let scratch = setup.cache.scratch("layer")?;
    let root = scratch.join("root");
    write(&root, &programs, &units)?;
    let mut command = setup.root.command("mksquashfs", &scratch, &[]);
    command.args(["root", "image", "-all-root", "-noappend", "-quiet", "-no-progress"]);
    command.args(["-comp", "zstd"]);
    Job::new(command, setup.cache.path("logs", "layer.log")).run().context("make an image")?;
    setup.cache.publish(&scratch.join("image"), &image)?;
    remove(&scratch)?;
    Ok(image)
}

/// A file with its own name.
pub(super) fn named(path: PathBuf) -> Named {
    (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path)
}

/// The unit files in a folder, sorted.
fn units_in(folder: &Path) -> Result<Vec<Named>> {
    let listed = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut units = listed.map(|entry| Ok(named(entry?.path()))).collect::<Result<Vec<_>>>()?;
    units.sort();
    Ok(units)
}

fn write(root: &Path, programs: &[Named], units: &[Named]) -> Result<()> {
    let bin = root.join(PROGRAMS.trim_start_matches('/'));
    let etc = root.join("etc/systemd/system");
    let wants = etc.join("multi-user.target.wants");
    for folder in [&bin, &wants] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let programs = programs.iter().map(|it| (&bin, it));
    for (to, (name, from)) in programs.chain(units.iter().map(|it| (&etc, it))) {
        fs::copy(from, to.join(name)).with_context(|| format!("copy {}", from.display()))?;
    }
    for (path, text) in CONFIGURATION {
        let path = root.join(path);
        let folder = path.parent().unwrap_or(root);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
        written.with_context(|| format!("write {}", path.display()))?;
    }
    symlink(format!("/etc/systemd/system/{PLAYER}"), wants.join(PLAYER)).context("enable a unit")
}
