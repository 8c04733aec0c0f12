// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether every file names its licence, and the right one for its folders.
//!
//! Code that goes into the kernel is GPL-2.0, its user-space ABI can be had under MIT as well, and
//! everything else has the usual licences of Rust crates.

use anyhow::Result;

use super::files::{self, extension, is_at};
use super::{Check, Folders, Report};

/// The text that every such line contains.
const TAG: &str = "SPDX-License-Identifier:";

/// The tag is in the first lines, so it is easy to find.
const LINES: usize = 3;

/// Licence of each place; the first that matches counts.
const LICENCES: &[(&str, &str)] = &[
    // Tests in userspace have it too.
    ("kernel/liveupdate/test/abi.rs", "GPL-2.0 OR MIT"),
    ("kernel/", "GPL-2.0"),
    ("rust/", "GPL-2.0"),
    ("patches/", "GPL-2.0"),
    ("selftests/mutants/", "GPL-2.0"),
    ("Makefile", "GPL-2.0"),
    ("Kconfig", "GPL-2.0"),
    ("uapi/", "GPL-2.0 WITH Linux-syscall-note OR MIT"),
];

/// Licence of every other folders.
const DEFAULT: &str = "MIT OR Apache-2.0";

/// Files without such a line: cargo's own, the licences themselves, and recordings of machines.
const EXEMPT: &[&str] = &["Cargo.lock", "LICENSES/", "xtask/testdata/"];

/// The right SPDX line in every file.
pub(super) struct Spdx;

impl Check for Spdx {
    fn name(&self) -> &'static str {
        "spdx"
    }

    fn run(&self, folders: &Folders<'_>) -> Result<Report> {
        let files = files::all(folders.project)?;
        let judged = files.iter().filter_map(|file| judge(&file.path, &file.text));
        let findings: Vec<_> = judged.collect();
        let next = "write these lines, each as the first of its file (below `#!` if it has that); \
                    files that cannot have one belong into EXEMPT of xtask/src/check/spdx.rs";
        Ok(Report::of_findings(self.name(), &findings, next))
    }
}

/// Tells what is wrong with the file at `path`, if anything is.
fn judge(path: &str, text: &str) -> Option<String> {
    // An empty file has nothing that could be licensed.
    if text.is_empty() || EXEMPT.iter().any(|place| is_at(path, place)) {
        return None;
    }
    let good = right_line(path);
    let mut tagged = (1..=LINES).zip(text.lines()).filter(|(_, line)| line.contains(TAG));
    match tagged.next() {
        Some((_, line)) if line == good => None,
        Some((number, line)) => Some(format!("{path}:{number}: `{line}` must be `{good}`")),
        None => Some(format!("{path}: lacks `{good}`")),
    }
}

/// The SPDX line of the file at `path`.
fn right_line(path: &str) -> String {
    let licence = LICENCES.iter().find(|(folders, _)| is_at(path, folders));
    let licence = licence.map_or(DEFAULT, |(_, licence)| licence);
    let (open, close) = match extension(path) {
        "rs" | "c" => ("// ", ""),
        "h" => ("/* ", " */"),
        "md" | "svg" => ("<!-- ", " -->"),
        // Manual pages.
        "3" | "5" | "7" | "8" => (".\\\" ", ""),
        _ => ("# ", ""),
    };
    format!("{open}{TAG} {licence}{close}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "SPDX-License-Identifier: MIT OR Apache-2.0";
    const GPL: &str = "SPDX-License-Identifier: GPL-2.0";
    const UAPI: &str = "SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT";

    #[test]
    fn good_files() {
        let table = [
            ("xtask/src/main.rs", format!("// {OURS}\n\n//! Doc.\n")),
            ("README.md", format!("<!-- {OURS} -->\n# Title\n")),
            (".gitignore", format!("# {OURS}\n/target\n")),
            ("tools/run", format!("#!/bin/sh\n\n# {OURS}")),
            ("Makefile", format!("# {GPL}\n")),
            ("tools/Makefile", format!("# {OURS}\n")),
            ("kernel/luo/session.c", format!("// {GPL}\n")),
            ("rust/helpers/luo.h", format!("/* {GPL} */\n")),
            ("patches/0001-a.patch", format!("# {GPL}\ndiff --git a/x b/x\n")),
            ("uapi/src/device.rs", format!("// {UAPI}\n")),
            ("xtask/src/empty.rs", String::new()),
            ("Cargo.lock", "version = 4\n".to_owned()),
            ("LICENSES/MIT.txt", "MIT License\n".to_owned()),
            ("xtask/testdata/boot.log", "[    0.0] Linux\n".to_owned()),
        ];
        for (path, text) in table {
            assert_eq!(judge(path, &text), None, "{path}");
        }
    }

    #[test]
    fn bad_files() {
        let table = [
            // None, too late, or not the whole line.
            ("a.rs", "fn main() {}\n".to_owned(), "a.rs: lacks `// SPDX"),
            ("a.rs", format!("\n\n\n// {OURS}\n"), "a.rs: lacks"),
            ("a.rs", format!("x(); // {OURS}\n"), "a.rs:1: `x(); //"),
            ("a.rs", format!("\n// {OURS} "), "a.rs:2: "),
            // Another licence than that of the folders.
            ("a.rs", format!("// {GPL}\n"), "MIT OR Apache-2.0`"),
            ("kernel/a.rs", format!("// {OURS}\n"), "must be `// SPDX-License-Identifier: GPL"),
            ("uapi/src/a.rs", format!("// {GPL}\n"), "WITH Linux-syscall-note OR MIT`"),
            ("kernels/a.rs", format!("// {GPL}\n"), "MIT OR Apache-2.0`"),
            // Another comment than that of the language.
            ("README.md", format!("# {OURS}\n"), "must be `<!-- SPDX"),
            ("README.md", format!("<!-- {OURS}\n"), "Apache-2.0 -->`"),
            ("a.h", format!("# {OURS}\n"), "must be `/* SPDX"),
            ("a.toml", format!("// {OURS}\n"), "must be `# SPDX"),
        ];
        for (path, text, expected) in table {
            let finding = judge(path, &text).unwrap_or_default();
            assert!(finding.contains(expected), "{path}: {finding}");
        }
    }
}
