// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether all Rust code is formatted by rustfmt.

use std::path::Path;

use anyhow::Result;

use super::files::{self, extension};
use super::invocation::Invocation;
use super::{Check, Place, Report};

/// `cargo fmt --all --check`, and `rustfmt --check` of what only Kbuild compiles.
pub(super) struct Fmt;

/// Folders of files that no package of cargo has.
const KBUILD: &[&str] = &["kernel/liveupdate/luo", "kernel/liveupdate/test", "rust"];

impl Check for Fmt {
    fn name(&self) -> &'static str {
        "fmt"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        let command = Invocation::new(["cargo", "fmt", "--all", "--check"]);
        let report = command.report(place.project, "run `cargo fmt --all`")?;
        let is_there = KBUILD.iter().any(|folder| place.project.join(folder).is_dir());
        if report.failure.is_some() || !is_there {
            return Ok(report);
        }
        let ours = |path: &str| {
            extension(path) == "rs"
                && KBUILD.iter().any(|folder| Path::new(path).starts_with(folder))
        };
        let files = files::all(place.project)?;
        let files: Vec<_> =
            files.into_iter().map(|file| file.path).filter(|path| ours(path)).collect();
        // The nearest `rustfmt.toml` says how the kernel wants it.
        let command = Invocation::new(["rustfmt", "--check", "--edition", "2021"]).args(&files);
        command.report(place.project, "run the same without `--check`")
    }
}
