// SPDX-License-Identifier: MIT OR Apache-2.0

//! Packages for Debian: liblu for programs, liblu for those who build them, and luod.

mod control;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{Cache, Lock, remove};
use crate::dist;
use crate::process::{Job, bound};
use control::{Facts, Package};

/// The programs, and their crates.
const PROGRAMS: [(&str, &str); 4] =
    [("luod", "luod"), ("luod", "luctl"), ("lu-qemu", "lu-qemu"), ("luod-ch", "luod-ch")];

/// Whether there is a package with the headers, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Headers {
    With,
    Without,
}

/// Makes the packages in the folder `out`, and returns their paths.
pub(crate) fn make(
    project: &Path,
    cache: &Cache,
    out: &Path,
    headers: Headers,
    lock: &Lock,
) -> Result<Vec<PathBuf>> {
    let log = cache.path("logs", "deb.log");
    let libraries = dist::build(cache, project, &log, lock)?;
    let programs = dist::compile(cache, project, &programs(), &log, lock)?;
    fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    let scratch = cache.scratch("deb")?;
    let maintainer = control::maintainer(project);
    let mut made = Vec::new();
    for package in control::PACKAGES {
        let root = scratch.join(package.name);
        let place = stage::Place { project, root: &root };
        match package.part {
            control::Part::Library => stage::library(place, &libraries)?,
            control::Part::Development => stage::development(place, &libraries)?,
            control::Part::Agent => stage::agent(place, &programs, &log)?,
            control::Part::Qemu => stage::qemu(place, &programs, &log)?,
            control::Part::CloudHypervisor => stage::cloud_hypervisor(place, &programs, &log)?,
        }
        stage::documents(place, package, &maintainer)?;
        // It takes longer to pack than all others.
        if package.part == control::Part::Development && headers == Headers::Without {
            continue;
        }
        made.push(pack(package, &root, out, &maintainer, &log)?);
    }
    remove(&scratch)?;
    Ok(made)
}

/// The programs, in cargo's words.
fn programs() -> Vec<&'static str> {
    PROGRAMS.iter().flat_map(|(package, name)| ["--package", package, "--bin", name]).collect()
}

/// Packs what is staged.
fn pack(
    package: &Package,
    root: &Path,
    out: &Path,
    maintainer: &str,
    log: &Path,
) -> Result<PathBuf> {
    let facts = Facts::of(root)?;
    control::write(package, root, &facts, maintainer, log)?;
    let name = format!("{}_{}_{}.deb", package.name, control::VERSION, crate::arch::ARCH.debian);
    let path = out.join(name);
    let mut command = bound("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", "--build"]).arg(root).arg(&path);
    // The same sources give the same package.
    command.env("SOURCE_DATE_EPOCH", control::DATE);
    Job::new(command, log).run().with_context(|| format!("pack {}", package.name))?;
    Ok(path)
}
