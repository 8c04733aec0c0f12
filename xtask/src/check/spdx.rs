// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether every file names its licence, and the right one for its place.
//!
//! Code that goes into the kernel is GPL-2.0, its user-space ABI can be had under MIT as well, and
//! everything else has the usual licences of Rust crates.

use anyhow::Result;

use super::files::{self, Pattern, extension};
use super::{Check, Place, Report};

/// The text that every such line contains.
const TAG: &str = "SPDX-License-Identifier:";

/// The tag is in the first lines, so it is easy to find.
const LINES: usize = 3;

/// Licence of each place; the first that matches counts.
const LICENCES: &[(Pattern, &str)] = &[
    // Tests in userspace have it too.
    (Pattern::Path("kernel/liveupdate/test/abi.rs"), "GPL-2.0 OR MIT"),
    (Pattern::Folder("kernel"), "GPL-2.0"),
    (Pattern::Folder("rust"), "GPL-2.0"),
    (Pattern::Folder("patches"), "GPL-2.0"),
    (Pattern::Path("Makefile"), "GPL-2.0"),
    (Pattern::Path("Kconfig"), "GPL-2.0"),
    (Pattern::Folder("uapi"), "GPL-2.0 WITH Linux-syscall-note OR MIT"),
];

/// Licence of every other place.
const DEFAULT: &str = "MIT OR Apache-2.0";

/// Files that carry no such line, and why.
const EXEMPT: &[(Pattern, &str)] = &[
    (Pattern::Name("Cargo.lock"), "written by cargo"),
    (Pattern::Extension("json"), "JSON has no comments"),
    (Pattern::Extension("snap"), "written by insta"),
    (Pattern::AnyFolder("proptest-regressions"), "written by proptest"),
    (Pattern::Folder("LICENSES"), "the licences themselves"),
    (Pattern::Recording, "kept just as it was recorded"),
];

/// How a comment opens and closes.
type Comment = (&'static str, &'static str);

/// Comments of files by extension: the first one is proposed, all are good.
const COMMENTS: &[(&[&str], &[Comment])] = &[
    (&["rs", "c"], &[("// ", ""), ("/* ", " */")]),
    (&["h", "S", "lds"], &[("/* ", " */"), ("// ", "")]),
    (&["md", "html", "xml", "svg"], &[("<!-- ", " -->")]),
    (&["rst"], &[(".. ", "")]),
    // Manual pages.
    (&["3", "7"], &[(".\\\" ", "")]),
];

/// Comments of all other files.
const HASH: &[Comment] = &[("# ", "")];

/// The right SPDX line in every file.
pub(super) struct Spdx;

impl Check for Spdx {
    fn name(&self) -> &'static str {
        "spdx"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        let files = files::all(place.project)?;
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
    if text.is_empty() || EXEMPT.iter().any(|(pattern, _)| pattern.matches(path)) {
        return None;
    }
    let good = good_lines(path);
    match find(text) {
        Some((_, line)) if good.iter().any(|good| good == line) => None,
        Some((number, line)) => {
            Some(format!("{path}:{number}: `{line}` must be `{}`", good.first()?))
        }
        None => Some(format!("{path}: lacks `{}`", good.first()?)),
    }
}

/// Finds the SPDX line and its number among the first lines of `text`.
fn find(text: &str) -> Option<(usize, &str)> {
    let lines = (1..=LINES).zip(text.lines());
    let mut tagged = lines.filter(|(_, line)| line.contains(TAG));
    tagged.next()
}

/// All ways to write the SPDX line of the file at `path`, the usual one first.
fn good_lines(path: &str) -> Vec<String> {
    let licence = LICENCES.iter().find(|(place, _)| place.matches(path));
    let licence = licence.map_or(DEFAULT, |(_, licence)| licence);
    let extension = extension(path);
    let comments = COMMENTS.iter().find(|(of, _)| of.contains(&extension));
    let comments = comments.map_or(HASH, |(_, comments)| comments);
    let line = |(open, close): &Comment| format!("{open}{TAG} {licence}{close}");
    comments.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: &str = "SPDX-License-Identifier: MIT OR Apache-2.0";
    const GPL: &str = "SPDX-License-Identifier: GPL-2.0";
    const UAPI: &str = "SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT";

    #[test]
    fn good_files() {
        let table = [
            ("xtask/src/main.rs", format!("// {OURS}\n\n//! Doc.\n")),
            ("xtask/Cargo.toml", format!("# {OURS}\n[package]\n")),
            ("README.md", format!("<!-- {OURS} -->\n# Title\n")),
            (".gitignore", format!("# {OURS}\n/target\n")),
            ("tools/run.sh", format!("#!/bin/sh\n# {OURS}\n")),
            ("tools/run", format!("#!/bin/sh\n\n# {OURS}")),
            ("Makefile", format!("# {GPL}\n")),
            ("Kconfig", format!("# {GPL}\n")),
            ("kernel/luo/session.rs", format!("// {GPL}\n")),
            ("kernel/luo/session.c", format!("// {GPL}\n")),
            ("rust/helpers/luo.h", format!("/* {GPL} */\n")),
            ("rust/kernel/luo.md", format!("<!-- {GPL} -->\n")),
            ("patches/0001-a.patch", format!("# {GPL}\ndiff --git a/x b/x\n")),
            ("uapi/src/device.rs", format!("// {UAPI}\n")),
            ("uapi/include/liveupdate.h", format!("/* {UAPI} */\n")),
            ("docs/guide.rst", format!(".. {OURS}\n")),
            ("tools/Makefile", format!("# {OURS}\n")),
            ("xtask/tests/empty.rs", String::new()),
            ("Cargo.lock", "version = 4\n".to_owned()),
            ("xtask/src/snapshots/a.snap", "---\n".to_owned()),
            ("LICENSES/MIT.txt", "MIT License\n".to_owned()),
            ("xtask/tests/data/boot.log", "[    0.0] Linux\n".to_owned()),
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
            ("a.rs", format!("// {OURS}, surely\n"), "a.rs:1: "),
            // Another licence than that of the place.
            ("a.rs", format!("// {GPL}\n"), "MIT OR Apache-2.0`"),
            (
                "kernel/a.rs",
                format!("// {OURS}\n"),
                "must be `// SPDX-License-Identifier: GPL-2.0`",
            ),
            ("kernel/a.rs", format!("// {GPL}-only\n"), "GPL-2.0`"),
            ("uapi/src/a.rs", format!("// {GPL}\n"), "WITH Linux-syscall-note OR MIT`"),
            ("kernels/a.rs", format!("// {GPL}\n"), "MIT OR Apache-2.0`"),
            ("tools/Makefile", format!("# {GPL}\n"), "MIT OR Apache-2.0`"),
            // Another comment than that of the language.
            ("README.md", format!("# {OURS}\n"), "must be `<!-- SPDX"),
            ("README.md", format!("<!-- {OURS}\n"), "Apache-2.0 -->`"),
            ("a.h", format!("# {OURS}\n"), "must be `/* SPDX"),
            ("a.toml", format!("// {OURS}\n"), "must be `# SPDX"),
            ("a.rs", format!("{OURS}\n"), "must be `// SPDX"),
        ];
        for (path, text, expected) in table {
            let finding = judge(path, &text).unwrap_or_default();
            assert!(finding.contains(expected), "{path}: {finding}");
        }
    }

    #[test]
    fn every_exemption_has_its_reason() {
        assert!(EXEMPT.iter().all(|(_, reason)| !reason.is_empty()));
    }

    proptest! {
        #[test]
        fn any_text_is_looked_through(text in any::<String>(), path in any::<String>()) {
            find(&text);
            judge(&path, &text);
        }

        #[test]
        fn what_is_found_is_a_line_with_the_tag(
            before in proptest::collection::vec("[^\r\n]{0,9}", 0..5),
            rest in "(.|\n){0,20}",
        ) {
            let text = format!("{}\n# {TAG} {rest}", before.join("\n"));
            match find(&text) {
                Some((number, line)) => {
                    prop_assert!(number <= LINES);
                    prop_assert_eq!(text.lines().nth(number - 1), Some(line));
                    prop_assert!(line.contains(TAG));
                }
                None => prop_assert!(before.len() >= LINES),
            }
        }

        #[test]
        fn the_proposed_line_is_good(path in "([a-z]{1,6}/){0,2}[a-zA-Z]{1,8}(\\.[a-zS]{1,3})?") {
            for line in good_lines(&path) {
                prop_assert_eq!(judge(&path, &format!("{line}\n")), None);
            }
        }
    }
}
