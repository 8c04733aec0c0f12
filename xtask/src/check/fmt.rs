// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether all Rust code is formatted by rustfmt.

use anyhow::Result;

use super::files::{self, extension, is_at};
use super::{Check, Folders, Report};
use crate::invocation::Invocation;

/// `cargo fmt --all --check`, and `rustfmt --check` of what only Kbuild compiles.
pub(super) struct Fmt;

/// Folders of files that no package of cargo has.
const KBUILD: &[&str] =
    &["kernel/liveupdate/luo/", "kernel/liveupdate/memfd/", "kernel/liveupdate/test/", "rust/"];

impl Check for Fmt {
    fn name(&self) -> &'static str {
        "fmt"
    }

    fn run(&self, folders: &Folders<'_>) -> Result<Report> {
        let command = Invocation::new(["cargo", "fmt", "--all", "--check"]);
        let report = Report::of_command(&command, folders.project, "run `cargo fmt --all`")?;
        if report.failure.is_some() {
            return Ok(report);
        }
        let ours =
            |path: &String| extension(path) == "rs" && KBUILD.iter().any(|at| is_at(path, at));
        let files = files::all(folders.project)?.into_iter().map(|file| file.path).filter(ours);
        let files: Vec<_> = files.collect();
        // The nearest `rustfmt.toml` says how the kernel wants it.
        let command = Invocation::new(["rustfmt", "--check", "--edition", "2021"]).args(&files);
        Report::of_command(&command, folders.project, "run the same without `--check`")
    }
}
