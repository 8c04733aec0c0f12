// SPDX-License-Identifier: MIT OR Apache-2.0

//! The image of the distribution, perhaps with packages of our own installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{Key, Lock, remove};
use crate::failure::NextStep;
use crate::process::Job;
use crate::progress::Progress;
use crate::project::DebianSettings;
use crate::setup::BuildSetup;
use crate::toolchain::{Bootstrap, Ids};

/// Raise it when the way of making the image changes.
const VERSION: u32 = 1;

/// Name of the image in its folder.
const IMAGE: &str = "system.squashfs";

/// Makes an image of the archive `system.tar`.
const PACK: &str =
    "sqfstar -comp zstd -Xcompression-level 3 -quiet -no-progress image < system.tar";

/// Installs the packages in the folder `packages` into image `$1`.
const INSTALL: &str = r#"
unsquashfs -quiet -no-progress -dest system "$1"
mount -t proc proc system/proc
mkdir system/packages
mount --bind packages system/packages
# As users do; what they depend on must be there.
DEBIAN_FRONTEND=noninteractive chroot system sh -c \
    'apt-get install --yes --quiet --no-install-recommends /packages/*.deb'
umount system/proc system/packages
rmdir system/packages
mksquashfs system image -comp zstd -Xcompression-level 3 -quiet -no-progress
# Here, for its files have owners that only this command may touch.
rm -rf system
"#;

/// The image with these packages, made if it is not there.
pub(super) fn prepare(
    setup: &BuildSetup,
    settings: &DebianSettings,
    packages: &[PathBuf],
    lock: &Lock,
) -> Result<PathBuf> {
    let base = base(setup, settings, lock)?;
    if packages.is_empty() { Ok(base) } else { with_packages(setup, &base, packages) }
}

/// Only what Debian has.
fn base(setup: &BuildSetup, settings: &DebianSettings, _: &Lock) -> Result<PathBuf> {
    let (suite, packages) = (&settings.suite, &settings.packages);
    let mut key = Key::of("system", VERSION).with(suite).with(&settings.systemd);
    for package in packages {
        key = key.with(package);
    }
    let folder = setup.cache.path("systems", key.finish());
    if folder.exists() {
        return Ok(folder.join(IMAGE));
    }
    let what = format!("make the system of guests (Debian {suite})");
    let mut step = Progress::begin(&setup.cache, what);
    let scratch = setup.cache.scratch("system")?;
    let bootstrap = Bootstrap { suite, packages, least: Some(("systemd", &settings.systemd)) };
    bootstrap.run(&setup.cache, &scratch.join("system.tar"), "system.log", &mut step)?;
    step.now("packing");
    let mut command = setup.root.command("sh", &scratch, &[]);
    command.args(["-ec", PACK]);
    Job::new(command, setup.cache.path("logs", "system.log")).run().context("pack the system")?;
    publish(setup, &scratch, &folder)?;
    step.done();
    Ok(folder.join(IMAGE))
}

/// The base with packages from files.
fn with_packages(setup: &BuildSetup, base: &Path, packages: &[PathBuf]) -> Result<PathBuf> {
    let mut key =
        Key::of("system with packages", VERSION).with(base.as_os_str().as_encoded_bytes());
    for path in packages {
        let content = fs::read(path).or_advise(|| {
            (format!("no package {}", path.display()), "give the path of a .deb to --deb")
        })?;
        key = key.with(content);
    }
    let folder = setup.cache.path("systems", key.finish());
    if folder.exists() {
        return Ok(folder.join(IMAGE));
    }
    let step = Progress::begin(&setup.cache, "install packages into the system of guests");
    let scratch = setup.cache.scratch("packages")?;
    let copies = scratch.join("packages");
    fs::create_dir(&copies).context("make a folder for packages")?;
    for path in packages {
        let name = path.file_name().unwrap_or_default();
        fs::copy(path, copies.join(name)).context("copy a package")?;
    }
    let log = setup.cache.path("logs", "packages.log");
    let mut command = setup.root.command_of(Ids::All, "sh", &scratch, &[]);
    command.args(["-ec", INSTALL, "install"]).arg(base);
    Job::new(command, &log).run().or_advise(|| {
        let next = format!(
            "see {}; what they depend on goes to [guests.debian] in xtask/kernel.toml",
            log.display()
        );
        ("the packages cannot be installed", next)
    })?;
    publish(setup, &scratch, &folder)?;
    step.done();
    Ok(folder.join(IMAGE))
}

/// Gives the image of a scratch folder its place.
fn publish(setup: &BuildSetup, scratch: &Path, folder: &Path) -> Result<()> {
    let done = setup.cache.scratch("image")?;
    fs::rename(scratch.join("image"), done.join(IMAGE)).context("move the image")?;
    setup.cache.publish(&done, folder)?;
    remove(scratch)
}
