// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs for guests, built with the host's cargo: static, for a guest may have no C library.

use std::path::PathBuf;

use anyhow::Result;

use crate::arch::ARCH;
use crate::cache::{Cache, Key, Lock, write_program};
use crate::dist;
use crate::failure::NextStep;
use crate::process::Job;
use crate::products::{self, Product};
use crate::project::Project;

/// In place of the compiler for the crates of this project alone, so that crates of others are compiled once, for
/// packages too. Cargo's probe of the compiler gets the usual answer.
const STATIC: &str = r#"#!/bin/sh
case " $* " in *" --crate-name ___ "*) exec "$@" ;; esac
exec "$@" -Ctarget-feature=+crt-static
"#;

/// Builds what `what` selects, in cargo's words. Returns the folder with the programs, of which these `files` of cargo's
/// folder are of use.
pub(crate) fn build(
    cache: &Cache,
    project: &Project,
    what: &[&str],
    files: &[&str],
    lock: &Lock,
) -> Result<PathBuf> {
    let product = Product { kind: "static", of: &[what, files].concat() };
    product.prepare(cache, &project.folder, lock, |to| {
        let built = compile(cache, project, what, lock)?;
        products::copy(files.iter().map(|file| built.join(file)), to)
    })
}

fn compile(cache: &Cache, project: &Project, what: &[&str], lock: &Lock) -> Result<PathBuf> {
    // Cargo takes what another wrapper has made for another program, and knows wrappers by their names.
    let key = Key::of("rustc-static", 1).with(STATIC).finish();
    let wrapper = cache.path("tools", format!("rustc-static-{key}"));
    write_program(&wrapper, STATIC)?;
    let mut command = dist::cargo(&project.folder, ARCH.target, what);
    command.env("RUSTC_WORKSPACE_WRAPPER", wrapper);
    let job = Job::new(command, cache.path("logs", "guest.log"));
    dist::with_crates(cache, &project.folder, ARCH.target, lock, || {
        job.run().or_advise(|| {
            let next =
                "mend the error above; if the linker finds no static C library, install libc6-dev";
            ("the guest's programs do not build", next)
        })
    })
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
    let folder = build(cache, project, &what, &names, lock)?;
    Ok(names.map(|name| folder.join(name)))
}
