// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether `unsafe` is only where it was agreed on, and `docs/unsafe.md` counts it.

use std::collections::BTreeMap;

use anyhow::Result;

use super::files::{self, Pattern, TextFile, extension};
use super::{Check, Place, Report};

/// Where `unsafe` may be, and why there.
const AGREED: &[Pattern] = &[
    // Abstractions over C.
    Pattern::Folder("rust/kernel"),
    // The borders of the orchestrator: the functions that C calls, and those of C.
    Pattern::Path("kernel/liveupdate/luo/exports.rs"),
    Pattern::Path("kernel/liveupdate/luo/ffi.rs"),
    Pattern::Folder("kernel/liveupdate/luo/ffi"),
    // The system calls of liblu, and its border to C.
    Pattern::Path("liblu/src/sys.rs"),
    Pattern::Folder("liblu/capi/src"),
    // System calls that no library wraps safely.
    Pattern::Path("selftests/src/abi.rs"),
    Pattern::Folder("selftests/src/abi"),
];

/// The document.
const INVENTORY: &str = "docs/unsafe.md";

/// The items that are counted, by the words that they begin with.
const KINDS: [(&str, &[&str]); 3] = [
    ("blocks", &["unsafe {"]),
    ("impls", &["unsafe impl"]),
    ("functions", &["unsafe fn ", "unsafe extern \"C\" fn "]),
];

/// The inventory of `unsafe`.
pub(super) struct Inventory;

impl Check for Inventory {
    fn name(&self) -> &'static str {
        "unsafe"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        Ok(judge(&files::all(place.project)?))
    }
}

fn judge(files: &[TextFile]) -> Report {
    // rustc forbids it in this program, which only talks about it.
    let talk = Pattern::Folder("xtask");
    let code =
        files.iter().filter(|file| extension(&file.path) == "rs" && !talk.matches(&file.path));
    let counts: BTreeMap<&str, [usize; 3]> = code
        .map(|file| (file.path.as_str(), count(&file.text)))
        .filter(|(_, counts)| counts.iter().any(|count| *count > 0))
        .collect();
    let strangers =
        counts.keys().filter(|path| !AGREED.iter().any(|pattern| pattern.matches(path)));
    let mut findings: Vec<String> =
        strangers.map(|path| format!("{path}: `unsafe` in a place that is to be safe")).collect();

    let document = files.iter().find(|file| file.path == INVENTORY);
    let rows = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect()
    };
    let there = document.map(|file| rows(&file.text)).unwrap_or_default();
    let wanted = rows(&table(&counts));
    if there != wanted {
        findings.push(format!("{INVENTORY} does not say what is there:\n{}", table(&counts)));
    }
    let next = format!(
        "move `unsafe` to where it belongs, and put the table into {INVENTORY} with a reason for \
         what is new"
    );
    Report::of_findings(Inventory.name(), &findings, &next)
}

/// Blocks, impls and functions in a file, without what stands in comments and macros of strings.
fn count(text: &str) -> [usize; 3] {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let mut counts = [0; 3];
    for line in lines {
        // A string that has the word is not code; such strings have no quotes around the word here.
        let code = line.split("//").next().unwrap_or_default();
        for (count, (_, words)) in counts.iter_mut().zip(KINDS) {
            *count += words.iter().map(|word| code.matches(word).count()).sum::<usize>();
        }
    }
    counts
}

fn table(counts: &BTreeMap<&str, [usize; 3]>) -> String {
    let heads: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
    let mut lines = vec![format!("| file | {} |", heads.join(" | "))];
    lines.push("| --- | ---: | ---: | ---: |".into());
    for (path, [blocks, impls, functions]) in counts {
        lines.push(format!("| `{path}` | {blocks} | {impls} | {functions} |"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.into(), text: text.into() }
    }

    #[test]
    fn words_are_counted_where_they_are_code() {
        let text = "// unsafe { }\nlet x = unsafe { f() }; // unsafe {\nunsafe impl Send for X {}\n\
                    pub(crate) unsafe extern \"C\" fn f() {}\nunsafe fn g() {}\n";
        assert_eq!(count(text), [1, 1, 2]);
    }

    #[test]
    fn a_stranger_and_a_wrong_table_are_told() {
        let good = file("rust/kernel/kho.rs", "unsafe { f() }\n");
        let table = file(INVENTORY, "| file |\n| `rust/kernel/kho.rs` | 1 | 0 | 0 |\n");
        assert!(judge(&[good, table]).failure.is_none());

        let stranger = file("kernel/liveupdate/luo/session.rs", "unsafe { f() }\n");
        let failure = judge(&[stranger]).failure.unwrap();
        assert!(failure.output.contains("is to be safe"), "{failure:?}");
        assert!(failure.output.contains("session.rs` | 1 | 0 | 0 |"), "{failure:?}");
    }
}
