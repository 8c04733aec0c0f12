// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs for guests, built with the host's cargo: static, for a guest may have no C library.

use std::path::PathBuf;

use anyhow::Result;

use crate::arch::ARCH;
use crate::cache::{Cache, Lock};
use crate::crates;
use crate::failure::NextStep;
use crate::process::{Job, bound};
use crate::project::Project;

/// Builds what `what` selects, in cargo's words, and returns the folder with the programs.
pub(crate) fn build(
    cache: &Cache,
    project: &Project,
    what: &[&str],
    lock: &Lock,
) -> Result<PathBuf> {
    let target = project.folder.join("target/guest");
    let mut command = bound("cargo");
    command.args(["build", "--quiet", "--locked", "--release"]).args(what);
    // The target is named so that flags for the guest do not touch what runs on the host.
    command.args(["--target", ARCH.target, "--target-dir"]).arg(&target);
    command.current_dir(&project.folder);
    command.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    let job = Job::new(command, cache.path("logs", "guest.log"));
    crates::with_seed(cache, &project.folder, &target, "static", lock, || {
        job.run().or_advise(|| {
            let next =
                "mend the error above; if the linker finds no static C library, install libc6-dev";
            ("the guest's programs do not build", next)
        })
    })?;
    Ok(target.join(ARCH.target).join("release"))
}

/// Builds these programs of the crate `selftests`.
pub(crate) fn selftests<const N: usize>(
    cache: &Cache,
    project: &Project,
    names: [&str; N],
    lock: &Lock,
) -> Result<[PathBuf; N]> {
    let mut what = vec!["--package", "selftests"];
    what.extend(names.iter().flat_map(|name| ["--bin", *name]));
    let folder = build(cache, project, &what, lock)?;
    Ok(names.map(|name| folder.join(name)))
}
