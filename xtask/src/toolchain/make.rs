// SPDX-License-Identifier: MIT OR Apache-2.0

//! Making the toolchain root with mmdebstrap.

use std::path::Path;

use anyhow::{Context, Result};

use crate::cache::{Cache, Key, Lock, remove};
use crate::failure::Failure;
use crate::process::{Job, bound};
use crate::progress::Progress;
use crate::project::{Project, RootSettings};
use crate::toolchain::Root;
use crate::toolchain::bootstrap::Bootstrap;
use crate::toolchain::enter::{self, Ids};
use crate::toolchain::host::{self, is_root};

/// Raise it when the way of making a root changes.
const VERSION: u32 = 1;

/// Room for root, source and builds of one profile, in bytes.
const ROOM: u64 = 10 << 30;

/// The root for this checkout, made if it is not there.
pub(crate) fn prepare(cache: &Cache, project: &Project, lock: &Lock) -> Result<Root> {
    let root = existing(cache, project);
    if !root.exists() {
        make(cache, &project.settings.root, &root, lock)?;
    }
    Ok(root)
}

/// The root for this checkout as it would be, made or not.
pub(crate) fn existing(cache: &Cache, project: &Project) -> Root {
    let key = key(project);
    Root::new(cache.path("roots", &key), cache.folder(), key)
}

/// The key of the root for this checkout.
fn key(project: &Project) -> String {
    let settings = &project.settings.root;
    let mut key = Key::of("root", VERSION).with(&settings.suite);
    for package in &settings.packages {
        key = key.with(package);
    }
    key.finish()
}

fn make(cache: &Cache, settings: &RootSettings, root: &Root, _: &Lock) -> Result<()> {
    host::meet(cache)?;
    check_room(cache.folder())?;
    let mut step =
        Progress::begin(cache, format!("make the toolchain root (Debian {})", settings.suite));
    let scratch = cache.scratch("root")?;
    let archive = scratch.join("root.tar");
    let bootstrap = Bootstrap { suite: &settings.suite, packages: &settings.packages, least: None };
    bootstrap.run(cache, &archive, "root.log", &mut step)?;
    step.now("unpacking");

    let folder = scratch.join("root");
    std::fs::create_dir(&folder).context("make the folder of the root")?;
    let mut tar = bound("tar");
    // Devices are the host's at run time, and only root could make them.
    tar.args(["--extract", "--exclude=./dev/*", "--no-same-owner", "--same-permissions", "--file"]);
    tar.arg(&archive).arg("--directory").arg(&folder);
    Job::new(tar, cache.path("logs", "root.log")).run().context("unpack the toolchain root")?;
    cache.publish(&folder, root.folder())?;
    remove(&scratch)?;
    step.done();
    Ok(())
}

/// Throws away what earlier runs left unfinished, also what a killed mmdebstrap left under other
/// IDs.
pub(crate) fn sweep(cache: &Cache, lock: &Lock) -> Result<()> {
    let swept = cache.sweep(lock);
    if is_root() || swept.is_ok() {
        return swept;
    }
    let mut command = enter::isolated(Ids::All);
    command.args(["--", "rm", "-rf", "--"]).arg(cache.unfinished());
    Job::new(command, cache.path("logs", "sweep.log")).run().context("remove unfinished work")
}

/// Bytes that a user may still write to the disk of `folder`.
pub(crate) fn room(folder: &Path) -> Result<u64> {
    let status = rustix::fs::statvfs(folder).context("look for room on the disk")?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

fn check_room(folder: &Path) -> Result<()> {
    let room = room(folder)?;
    if room < ROOM {
        let what = format!(
            "{} has {} MiB of room; toolchain, source and builds take {} MiB",
            folder.display(),
            room >> 20,
            ROOM >> 20
        );
        let next = "make room, or point XDG_CACHE_HOME to a larger disk";
        return Err(Failure::new(what, next).into());
    }
    Ok(())
}
