// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask msrv`: whether the libraries build with the oldest Rust that they promise.
//!
//! The toolchain root has this Rust: Debian's, which builds the kernel too. There is no network in
//! it, so the host's cargo copies the sources of all dependencies into the cache.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::api;
use crate::failure::{Failure, NextStep as _};
use crate::process::{Job, bound};
use crate::progress::Progress;
use crate::say;
use crate::setup::Toolchain;

/// The libraries that other programs link.
const LIBRARIES: [&str; 3] = ["liveupdate_uapi", "liblu", "liblu-capi"];

/// Folder in the cache, for sources and builds.
pub(crate) const FOLDER: &str = "msrv";

/// Runs the task.
pub(crate) fn run() -> Result<()> {
    let (Toolchain { project, cache, root, .. }, _lock) = Toolchain::open()?;
    let log = cache.path("logs", "msrv.log");
    let (sources, target) = (cache.path(FOLDER, "vendor"), cache.path(FOLDER, "target"));
    let folder = &project.folder;
    let mut version = root.command("rustc", folder, &[]);
    version.arg("--version");
    let rustc = Job::new(version, &log).output()?;
    // `rustc 1.85.1 (4eb161250 2025-03-15)`.
    let rustc = rustc.split(" (").next().unwrap_or_default();
    for name in LIBRARIES {
        check_promise(name, &api::rust_version(folder, name)?, rustc)?;
    }

    let mut step = Progress::begin(&cache, format!("build the libraries with {rustc}"));
    let mut vendor = bound("cargo");
    vendor.args(["vendor", "--quiet", "--locked", "--versioned-dirs"]).arg(&sources);
    vendor.current_dir(folder);
    Job::new(vendor, &log).run().or_advise(|| {
        let next = "check the network: cargo downloads the crates that Cargo.lock names";
        ("cannot copy the sources of the dependencies", next)
    })?;
    let mut build = root.command("cargo", folder, &[]);
    build.args(["build", "--offline", "--locked"]);
    build.args(LIBRARIES.iter().flat_map(|name| ["--package", name]));
    build.arg("--target-dir").arg(target).args(replaced(&sources));
    Job::new(build, &log).on_line(|line| step.now(line)).run().or_advise(|| {
        let next = format!(
            "use what this Rust has, or `cargo update --precise` for a dependency that needs a \
             newer one; the whole output is in {}",
            log.display()
        );
        (format!("the libraries do not build with {rustc}"), next)
    })?;
    step.done();
    say(&format!("{} build with {rustc}\n", LIBRARIES.join(", ")))
}

/// The options of cargo to take all crates from a folder.
fn replaced(sources: &Path) -> [String; 4] {
    let option = || "--config".to_owned();
    let folder = format!("source.copies.directory={:?}", sources.display().to_string());
    [option(), "source.crates-io.replace-with=\"copies\"".to_owned(), option(), folder]
}

/// Refuses a promise that a build with this compiler says nothing about; cargo itself refuses one of a
/// newer Rust.
fn check_promise(name: &str, promised: &str, rustc: &str) -> Result<()> {
    let version = rustc.split(' ').nth(1).with_context(|| format!("no version in `{rustc}`"))?;
    ensure!(!promised.is_empty(), "{name} promises no Rust: its Cargo.toml lacks `rust-version`");
    let minor = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
    if minor(version) == minor(promised) {
        return Ok(());
    }
    let what = format!("{name} promises Rust {promised}, and the toolchain root has {version}");
    let next = "promise what the root has: `rust-version` in the Cargo.toml of the library";
    Err(Failure::new(what, next).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_that_of_the_compiler() {
        let check = |promised: &str, rustc: &str| check_promise("liblu", promised, rustc);
        check("1.85", "rustc 1.85.1 (4eb161250 2025-03-15) (built from a source tarball)").unwrap();
        check("1.85.0", "rustc 1.85.1").unwrap();
        for wrong in ["1.84", "1.8", "1.86", ""] {
            assert!(check(wrong, "rustc 1.85.1").is_err(), "{wrong}");
        }
        assert!(check("1.85", "rustc").is_err());
    }
}
