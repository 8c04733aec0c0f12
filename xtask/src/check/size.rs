// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether source files are short enough to be read in one go.
//!
//! Only code counts: configuration, documents and data are as long as they have to be.

use anyhow::Result;

use super::files::{self, TextFile};
use super::{Check, Folders, Report};
use crate::c_header;

/// More lines than this are a failure.
const HARD: usize = 450;

/// More lines than this are worth a thought.
const TYPICAL: usize = 250;

/// A limit on the lines of source files.
pub(super) struct Size;

impl Check for Size {
    fn name(&self) -> &'static str {
        "size"
    }

    fn run(&self, folders: &Folders<'_>) -> Result<Report> {
        Ok(judge(&files::all(folders.project)?))
    }
}

/// Tells which of `files` are too long, and how many are rather long.
fn judge(files: &[TextFile]) -> Report {
    // The header is made from code that is short enough.
    let is_written = |file: &&TextFile| files::is_code(&file.path) && file.path != c_header::PATH;
    let code = files.iter().filter(is_written);
    let mut sizes: Vec<_> = code.map(|file| (file.text.lines().count(), &file.path)).collect();
    sizes.sort_by(|one, other| other.cmp(one));

    let too_long = sizes.iter().filter(|(lines, _)| *lines > HARD);
    let findings: Vec<_> = too_long
        .map(|(lines, path)| format!("{path}: {lines} lines, {} too many", lines - HARD))
        .collect();
    let next = format!("split these files: {HARD} lines is the limit, {TYPICAL} the aim");
    let mut report = Report::of_findings(Size.name(), &findings, &next);

    let long = sizes.iter().filter(|(lines, _)| *lines > TYPICAL).count();
    if let (Some((lines, path)), 1..) = (sizes.first(), long) {
        let total = sizes.len();
        report.notices.push(format!(
            "{long} of {total} source files have more than {TYPICAL} lines; \
             the longest is {path} with {lines}"
        ));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings and notices of the check for files of so many lines.
    fn judged(files: &[(&str, usize)]) -> (String, Vec<String>) {
        let files: Vec<_> = files
            .iter()
            .map(|(path, lines)| TextFile { path: (*path).to_owned(), text: "x\n".repeat(*lines) })
            .collect();
        let report = judge(&files);
        let output = report.failure.map(|failure| failure.output);
        (output.unwrap_or_default(), report.notices)
    }

    #[test]
    fn the_limit_is_on_code() {
        let table = [
            ("a.rs", 450, ""),
            ("a.rs", 451, "a.rs: 451 lines, 1 too many"),
            ("k/a.c", 500, "k/a.c: 500 lines, 50 too many"),
            ("k/a.h", 500, "k/a.h: 500 lines, 50 too many"),
            ("run.sh", 500, "run.sh: 500 lines, 50 too many"),
            ("Cargo.toml", 500, ""),
            ("README.md", 500, ""),
            ("tests/data/boot.log", 5000, ""),
        ];
        for (path, lines, expected) in table {
            assert_eq!(judged(&[(path, lines)]).0, expected, "{path} {lines}");
        }
        let both = judged(&[("a.rs", 451), ("c.rs", 9), ("b.rs", 452)]).0;
        assert_eq!(both, "b.rs: 452 lines, 2 too many\na.rs: 451 lines, 1 too many");
    }

    #[test]
    fn long_files_are_counted() {
        assert!(judged(&[]).1.is_empty());
        assert!(judged(&[("a.rs", 250), ("b.md", 300)]).1.is_empty());
        let notices = judged(&[("a.rs", 251), ("b.rs", 449), ("c.rs", 3)]).1;
        let expected = "2 of 3 source files have more than 250 lines; the longest is b.rs with 449";
        assert_eq!(notices, [expected]);
    }
}
