// SPDX-License-Identifier: MIT OR Apache-2.0

//! Making the toolchain root with mmdebstrap.

use std::path::Path;

use anyhow::{Context, Result};

use crate::arch::ARCH;
use crate::cache::{Cache, Key, Lock, remove};
use crate::failure::{Failure, NextStep};
use crate::process::{Job, bound};
use crate::progress::Progress;
use crate::project::{Project, RootSettings};
use crate::toolchain::Root;
use crate::toolchain::enter::{self, Ids};
use crate::toolchain::host::{self, is_root};

/// Raise it when the way of making a root changes.
const VERSION: u32 = 1;

/// Variable with a Debian mirror to use instead of the usual one.
pub(crate) const MIRROR: &str = "LIVEUPDATE_DEBIAN_MIRROR";

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
    mmdebstrap(cache, settings, &archive, &mut step)?;
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

fn mmdebstrap(
    cache: &Cache,
    settings: &RootSettings,
    archive: &Path,
    step: &mut Progress<'_>,
) -> Result<()> {
    let mut command = enter::isolated(Ids::All);
    // In a user namespace with a range of IDs, every user has enough rights.
    command.args(["--mount-proc", "--", "mmdebstrap", "--mode=root"]);
    let architectures = format!("--architectures={}", ARCH.debian);
    command.args(["--variant=minbase", "--format=tar", &architectures]);
    command.arg(format!("--include={}", settings.packages.join(",")));
    // No need to wait for the disk: unfinished work is thrown away.
    command.arg("--dpkgopt=force-unsafe-io");
    for path in ["doc", "info", "locale", "man"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
    }
    for setting in host_settings() {
        command.arg(format!("--aptopt={setting}"));
    }
    command.arg(&settings.suite).arg(archive);
    if let Some(mirror) = std::env::var_os(MIRROR) {
        command.arg(mirror);
    }
    command.env("TMPDIR", cache.scratch("mmdebstrap")?);
    let job = Job::new(command, cache.path("logs", "root.log")).on_line(|line| step.now(line));
    job.run().or_advise(|| {
        let next = format!(
            "check the network (a proxy set for apt is used), or set {MIRROR} to a Debian mirror \
             that you can reach"
        );
        ("cannot make the toolchain root from Debian's packages", next)
    })
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

/// The settings of the host for fetching packages, as options for another apt: proxies, and whether
/// old lists are good enough (they are where a mirror stands still).
pub(crate) fn host_settings() -> Vec<String> {
    let dump = std::process::Command::new("apt-config").arg("dump").output();
    let dump = dump.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    fetch_settings(&dump.unwrap_or_default())
}

fn fetch_settings(dump: &str) -> Vec<String> {
    let is_wanted = |line: &&str| {
        let name = line.split(' ').next().unwrap_or_default();
        let known = ["Acquire::Check-Date", "Acquire::Check-Valid-Until"].contains(&name);
        // Not `Proxy-Auto-Detect`: that is a program of the host.
        let proxy = name.starts_with("Acquire::") && name.split("::").any(|part| part == "Proxy");
        (known || proxy) && !line.ends_with("\"\";")
    };
    dump.lines().filter(is_wanted).map(|line| line.trim_end_matches(';').to_owned()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_host_are_found() {
        let dump = "APT \"\";\nAcquire::http::Proxy \"http://proxy:3142\";\n\
                    Acquire::https::Proxy \"\";\nAcquire::Retries \"3\";\n\
                    Acquire::Check-Valid-Until \"false\";\n\
                    Acquire::http::Proxy-Auto-Detect \"/usr/bin/x\";\n";
        let expected =
            ["Acquire::http::Proxy \"http://proxy:3142\"", "Acquire::Check-Valid-Until \"false\""];
        assert_eq!(fetch_settings(dump), expected);
    }
}
