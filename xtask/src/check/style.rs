// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether text files are clean: no invisible white space, and a newline at the end.

use anyhow::Result;

use super::files::{self, Pattern, extension};
use super::{Check, Place, Report};

/// Files that may look as they like, and why.
const EXEMPT: &[(Pattern, &str)] = &[
    (Pattern::Folder("LICENSES"), "reproduced to the letter"),
    (Pattern::Recording, "kept just as it was recorded"),
];

/// Files in which a line may end with white space, and why.
const TRAILING: &[(Pattern, &str)] = &[
    (Pattern::Extension("patch"), "an empty line of context is a space"),
    (Pattern::Extension("snap"), "shows output just as it was"),
];

/// Something that may be wrong with a line: which lines, and what it is called.
type Fault = (fn(&str, &str) -> bool, &'static str);

/// Faults of single lines, each told once for every file.
const FAULTS: &[Fault] = &[
    (|_, line| line.ends_with('\r'), "ends with CR LF"),
    (trailing, "ends with white space"),
    (|path, line| extension(path) == "rs" && line.contains('\t'), "contains a tab"),
];

/// Clean white space everywhere.
pub(super) struct Style;

impl Check for Style {
    fn name(&self) -> &'static str {
        "style"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        let files = files::all(place.project)?;
        let judged = files.iter().flat_map(|file| judge(&file.path, &file.text));
        let findings: Vec<_> = judged.collect();
        let next = "correct these lines; `sed -i 's/[[:space:]]*$//' FILE` does it for white space \
                    at the ends of lines, CR among it";
        Ok(Report::of_findings(self.name(), &findings, next))
    }
}

/// Tells all that is wrong with the file at `path`.
fn judge(path: &str, text: &str) -> Vec<String> {
    if is_in(EXEMPT, path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (has, what) in FAULTS {
        let lines = (1..).zip(text.split('\n'));
        let mut faulty = lines.filter(|(_, line)| has(path, line));
        let Some((first, _)) = faulty.next() else {
            continue;
        };
        let more = match faulty.count() {
            0 => String::new(),
            count => format!(", and {count} more"),
        };
        findings.push(format!("{path}:{first}: {what}{more}"));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(format!("{path}: does not end with a newline"));
    }
    findings
}

/// Whether `line` ends with white space other than that of CR LF.
fn trailing(path: &str, line: &str) -> bool {
    let line = line.strip_suffix('\r').unwrap_or(line);
    line.ends_with(char::is_whitespace) && !is_in(TRAILING, path)
}

/// Whether one of `patterns` is for `path`.
fn is_in(patterns: &[(Pattern, &str)], path: &str) -> bool {
    patterns.iter().any(|(pattern, _)| pattern.matches(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_and_bad_files() {
        let table: &[(&str, &str, &[&str])] = &[
            ("a.rs", "", &[]),
            ("a.rs", "fn main() {}\n\n// end\n", &[]),
            ("Makefile", "all:\n\techo\n", &[]),
            ("a.patch", "+a\n \n", &[]),
            ("a.snap", "a  \n", &[]),
            ("LICENSES/MIT.txt", "a \r\nb", &[]),
            ("tests/data/boot.log", "a \r\nb", &[]),
            ("a.rs", "a", &["a.rs: does not end with a newline"]),
            ("a.rs", "a\nb \n", &["a.rs:2: ends with white space"]),
            ("a.md", "a\t\n", &["a.md:1: ends with white space"]),
            ("a.md", "a\u{a0}\n", &["a.md:1: ends with white space"]),
            (
                "a.md",
                "a\n ",
                &["a.md:2: ends with white space", "a.md: does not end with a newline"],
            ),
            ("a.rs", "\ta\n\tb\n\tc\n", &["a.rs:1: contains a tab, and 2 more"]),
            ("a.c", "a\r\nb\r\n", &["a.c:1: ends with CR LF, and 1 more"]),
            ("a.snap", "a \r\n", &["a.snap:1: ends with CR LF"]),
            (
                "a.rs",
                "a\n\tb \r\n",
                &[
                    "a.rs:2: ends with CR LF",
                    "a.rs:2: ends with white space",
                    "a.rs:2: contains a tab",
                ],
            ),
        ];
        for (path, text, expected) in table {
            assert_eq!(judge(path, text), *expected, "{path} {text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_looked_through(text in any::<String>()) {
            judge("a.rs", &text);
        }

        #[test]
        fn trimmed_text_is_clean(lines in proptest::collection::vec("[^\r\n\t]{0,12}", 0..5)) {
            let mut text = String::new();
            for line in lines {
                text += line.trim_end();
                text += "\n";
            }
            prop_assert!(judge("a.rs", &text).is_empty());
        }
    }
}
