// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask check`: everything that can be told without booting a kernel.
//!
//! All checks run, also after failures, so that one run reports all findings.

mod commands;
mod deny;
mod files;
mod floors;
mod fmt;
mod generated;
mod package;
mod report;
mod size;
mod spdx;
mod tool;
mod unsafe_code;

use std::io;
use std::path::{self, Path};

use anyhow::{Result, bail};

use crate::cache::Key;
pub(crate) use report::Summary;
use report::{Complaint, Report, run_all};

/// Every check, in the order in which they run: quick ones first.
const ALL: &[&dyn Check] = &[
    &fmt::Fmt,
    &spdx::Spdx,
    &size::Size,
    &commands::WHITESPACE,
    &unsafe_code::UnsafeCode,
    &floors::Floors,
    &crate::generated::C_HEADER,
    &commands::CLIPPY,
    &commands::DOCS,
    &crate::generated::APIS,
    &package::Package,
    &deny::Deny,
];

/// A key of all text files of the checkout, also of those that are not committed yet, but not of those
/// below the folder `except`.
pub(crate) fn checkout(project: &Path, except: Option<&'static str>) -> Result<String> {
    let files = files::all(project)?;
    let is_wanted = |file: &&files::TextFile| {
        !except.is_some_and(|folder| Path::new(&file.path).starts_with(folder))
    };
    let with = |key: Key, file: &files::TextFile| key.with(&file.path).with(&file.text);
    Ok(files.iter().filter(is_wanted).fold(Key::of("checkout", 1), with).finish())
}

/// Where the checks work.
struct Folders<'a> {
    /// Root of the project, the folder of the workspace's `Cargo.toml`.
    project: &'a Path,
    /// Cache of programs that cargo builds for the checks.
    tools: &'a Path,
    /// The folder that cargo builds in, if it is not the usual one.
    target: Option<&'a Path>,
}

/// One thing to check.
trait Check {
    /// Its name on the command line and in the report.
    fn name(&self) -> &'static str;

    /// The message beforehand, when it is about to take unusually long.
    fn announce(&self, _folders: &Folders<'_>) -> Option<String> {
        None
    }

    /// Checks; an error means that it could not be found out.
    fn run(&self, folders: &Folders<'_>) -> Result<Report>;
}

/// Runs the checks named by `filter`, all of them if it is empty, and prints what they find.
///
/// `tools` is the folder into which programs are installed that are not there yet. A problem
/// of the project is in the [`Summary`]; errors are unknown names and interruptions.
pub(crate) fn run(
    project: &Path,
    tools: &Path,
    target: Option<&Path>,
    filter: &[String],
) -> Result<Summary> {
    let checks = choose(ALL, filter)?;
    // Commands run in the project, wherever this program does.
    let project = &path::absolute(project)?;
    let tools = &path::absolute(tools)?;
    let folders = Folders { project, tools, target };
    run_all(&checks, &folders, &mut io::stdout().lock())
}

/// Picks the checks that `filter` names.
fn choose<'a>(all: &[&'a dyn Check], filter: &[String]) -> Result<Vec<&'a dyn Check>> {
    for name in filter {
        if !all.iter().any(|check| check.name() == name) {
            let known: Vec<_> = all.iter().map(|check| check.name()).collect();
            bail!(
                "there is no check `{name}`; name any of these, or none to run them all: {}",
                known.join(", ")
            );
        }
    }
    let wanted =
        |check: &&dyn Check| filter.is_empty() || filter.iter().any(|name| name == check.name());
    Ok(all.iter().copied().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_names_checks() {
        let names = |filter: &[&str]| -> Result<Vec<&'static str>> {
            let filter: Vec<String> = filter.iter().map(ToString::to_string).collect();
            Ok(choose(ALL, &filter)?.iter().map(|c| c.name()).collect())
        };
        assert_eq!(names(&[]).unwrap().len(), ALL.len());
        // In the order of the checks, each once.
        assert_eq!(names(&["spdx", "fmt", "spdx"]).unwrap(), ["fmt", "spdx"]);
        let error = names(&["fmt", "format"]).unwrap_err().to_string();
        assert!(error.contains("`format`"), "{error}");
        for check in ALL {
            assert!(error.contains(check.name()), "{error}");
        }
    }
}
