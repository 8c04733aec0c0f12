// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether `unsafe` is in the files that `docs/unsafe.md` lists, and only there.

use std::collections::BTreeSet;

use anyhow::Result;

use super::files::{self, TextFile, extension, is_at};
use super::{Check, Folders, Report};

/// The document with the list: a row of its table for each file.
const LIST: &str = "docs/unsafe.md";

/// The words of the language stand in strings here; rustc forbids the code itself.
const FORBIDDEN_BY_RUSTC: &str = "xtask/";

/// The list of files with `unsafe`.
pub(super) struct UnsafeCode;

impl Check for UnsafeCode {
    fn name(&self) -> &'static str {
        "unsafe"
    }

    fn run(&self, folders: &Folders<'_>) -> Result<Report> {
        Ok(judge(&files::all(folders.project)?))
    }
}

fn judge(files: &[TextFile]) -> Report {
    let has_unsafe = |file: &&TextFile| {
        !is_at(&file.path, FORBIDDEN_BY_RUSTC) && rust_code(file).into_iter().any(mentions_unsafe)
    };
    let found: BTreeSet<&str> =
        files.iter().filter(has_unsafe).map(|file| file.path.as_str()).collect();
    let list = files.iter().find(|file| file.path == LIST);
    let listed: BTreeSet<&str> = list.into_iter().flat_map(|file| rows(&file.text)).collect();
    let strangers =
        found.difference(&listed).map(|path| format!("{path}: has `unsafe`, and is not listed"));
    let stale =
        listed.difference(&found).map(|path| format!("{path}: is listed, and has no `unsafe`"));
    let findings: Vec<_> = strangers.chain(stale).collect();
    let next = format!(
        "move `unsafe` to a file that is for it, or correct the list in {LIST}, with a reason for \
         a new file"
    );
    Report::of_findings(UnsafeCode.name(), &findings, &next)
}

/// The files in the table, each at the beginning of its row.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}

/// The lines of Rust in a file: all of them, or those that a patch adds.
fn rust_code(file: &TextFile) -> Vec<&str> {
    match extension(&file.path) {
        "rs" => file.text.lines().collect(),
        // Mutants land nowhere.
        "patch" if file.path.starts_with("patches/") => {
            let mut is_rust = false;
            let added = file.text.lines().filter_map(|line| {
                if let Some(path) = line.strip_prefix("+++ ") {
                    is_rust = extension(path) == "rs";
                }
                line.strip_prefix('+').filter(|_| is_rust)
            });
            added.collect()
        }
        _ => Vec::new(),
    }
}

/// Whether the word stands in a line outside of a comment; `unsafe_code` is another word.
fn mentions_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings for these files and a list that has `rust/kernel/kho.rs`.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let list = (LIST, "| file | reason |\n| `rust/kernel/kho.rs` | calls C |\n");
        let files = files.iter().chain([&list]);
        let files =
            files.map(|(path, text)| TextFile { path: (*path).into(), text: (*text).into() });
        let report = judge(&files.collect::<Vec<_>>());
        let output = report.failure.map(|failure| failure.output);
        output.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    #[test]
    fn list_and_code_agree_in_both_directions() {
        assert!(found(&[("rust/kernel/kho.rs", "unsafe { f() }\n")]).is_empty());
        let stale = "rust/kernel/kho.rs: is listed, and has no `unsafe`";
        assert_eq!(found(&[("rust/kernel/kho.rs", "// unsafe { f() }\n")]), [stale]);
        let both = found(&[("kernel/liveupdate/luo/gate.rs", "unsafe impl Send for X {}\n")]);
        let stranger = "kernel/liveupdate/luo/gate.rs: has `unsafe`, and is not listed";
        assert_eq!(both, [stranger, stale]);
    }

    #[test]
    fn comments_attributes_and_other_words_are_no_unsafe_code() {
        for line in ["/// `unsafe`", "f(); // unsafe { }", "#![deny(unsafe_code)]", "is_unsafe()"] {
            assert!(!mentions_unsafe(line), "{line}");
        }
        for line in ["let x = unsafe{ f() };", "pub unsafe fn f()", "#[unsafe(no_mangle)]"] {
            assert!(mentions_unsafe(line), "{line}");
        }
    }

    #[test]
    fn a_patch_counts_for_the_rust_that_it_adds() {
        let patch = |lines: &str| TextFile { path: "patches/1.patch".into(), text: lines.into() };
        let has = |lines: &str| rust_code(&patch(lines)).into_iter().any(mentions_unsafe);
        assert!(has("+++ b/rust/kernel/alloc.rs\n+    unsafe { f() }\n"));
        assert!(!has("+++ b/rust/kernel/alloc.rs\n-    unsafe { f() }\n     unsafe { g() }\n"));
        assert!(!has("+++ b/a.rs\n+safe\n+++ b/Documentation/a.rst\n+unsafe\n"));
    }
}
