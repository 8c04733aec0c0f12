// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reports made from an [`Outcome`]: for people, for CI, and for other programs.
//!
//! Each format is a module with one `render` function from the outcome to text. Code that more than
//! one of them needs (words, sentences, names of hops) is here, so that all reports say the same.

pub(crate) mod json;
pub(crate) mod junit;
pub(crate) mod table;
mod text;
pub(crate) mod timeline;

#[cfg(test)]
mod samples;

use std::path::Path;

use anyhow::Context as _;

pub(crate) use self::text::Colour;
use self::text::{hanging, readable};
use crate::cache::write_by_rename;
use crate::kernel::path;
use crate::outcome::{Cell, Outcome, TestOutcome, Trouble, Verdict};

/// Names of the reports in a folder.
pub(crate) const FILES: [&str; 3] = ["report.txt", "junit.xml", "report.json"];

/// Width of `report.txt`, which no terminal limits.
const FILE_WIDTH: usize = 100;

/// Said when there is no test at all, which must not look like success.
const NO_TEST: &str = "no test ran";

/// A chain with more hops is not spelt out; the table names each hop anyway.
const LONGEST_CHAIN: usize = 6;

/// Writes `report.txt`, `junit.xml` and `report.json` into a folder.
///
/// Each file is complete or absent: it is written under another name and then renamed.
pub(crate) fn write(outcome: &Outcome, folder: &Path) -> anyhow::Result<()> {
    let [text, junit, json] = FILES;
    write_file(folder, text, Ok(page(outcome)))?;
    write_file(folder, junit, junit::render(outcome))?;
    write_file(folder, json, json::render(outcome))
}

/// Table and timeline as in `report.txt`.
fn page(outcome: &Outcome) -> String {
    let table = table::render(outcome, FILE_WIDTH, Colour::Off);
    let timeline = timeline::render(&outcome.updates, FILE_WIDTH);
    if timeline.is_empty() { table } else { format!("{table}\n{timeline}") }
}

fn write_file(folder: &Path, name: &str, text: anyhow::Result<String>) -> anyhow::Result<()> {
    let path = folder.join(name);
    text.and_then(|text| write_by_rename(&path, text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The tests by suite, both in the order in which they first appear.
fn suites(outcome: &Outcome) -> Vec<(&str, Vec<&TestOutcome>)> {
    let mut suites: Vec<(&str, Vec<&TestOutcome>)> = Vec::new();
    for test in &outcome.tests {
        match suites.iter_mut().find(|(name, _)| *name == test.suite) {
            Some((_, tests)) => tests.push(test),
            None => suites.push((&test.suite, vec![test])),
        }
    }
    suites
}

/// The one word for a verdict.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "ok",
        Verdict::Prepared => "ready",
        Verdict::NotApplicable => "n/a",
        Verdict::Failed => "FAIL",
        Verdict::Missing => "NOT RUN",
    }
}

/// Why a cell is not good; `None` if it is.
fn reason(cell: &Cell) -> Option<&str> {
    let otherwise = match cell.verdict {
        Verdict::Passed | Verdict::Prepared | Verdict::NotApplicable => return None,
        Verdict::Failed => "no reason was given",
        Verdict::Missing => "the guest said nothing about it",
    };
    let detail = cell.detail.as_deref().map(str::trim_end);
    Some(detail.filter(|detail| !detail.is_empty()).unwrap_or(otherwise))
}

/// Why a test has not passed although none of its cells is bad; `None` in any other case.
///
/// Without it, such a test would fail the run and no report would say so.
fn unfinished(test: &TestOutcome) -> Option<&'static str> {
    if test.passed()
        || test.is_not_applicable()
        || test.cells.iter().any(|cell| !cell.verdict.is_good())
    {
        None
    } else if test.cells.is_empty() {
        Some("it has no verdict in any hop")
    } else {
        Some("it was prepared, and no later hop has a verdict")
    }
}

/// `hop 2 (c)`, or `hop 2` beyond the end of the chain.
fn hop_name(outcome: &Outcome, hop: usize) -> String {
    match label(outcome, hop) {
        Some(label) => format!("hop {hop} ({label})"),
        None => format!("hop {hop}"),
    }
}

/// Which kernel a hop boots, if the chain has the hop.
fn label(outcome: &Outcome, hop: usize) -> Option<String> {
    outcome.chain.get(hop.checked_sub(1)?).map(|label| readable(label))
}

/// The run, on one line: `c → c, release, tcg, Linux 7.3.4`.
fn setting(outcome: &Outcome) -> String {
    let linux = match outcome.linux.as_str() {
        "" => String::new(),
        version => format!("Linux {version}"),
    };
    let parts = [chain(&outcome.chain), outcome.profile.clone(), outcome.accel.clone(), linux];
    let known: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    readable(&known.join(", "))
}

/// `c → rust → c`; a long chain is abbreviated.
fn chain(hops: &[String]) -> String {
    let whole = path(hops);
    match hops {
        [first, second, .., last] if whole.matches('→').count() >= LONGEST_CHAIN => {
            format!("{first} → {second} → … → {last}, {} hops", hops.len())
        }
        _ => whole,
    }
}

/// A trouble in lines: its sentence, then the excerpt, indented, then where the whole log lies.
fn trouble_lines(trouble: &Trouble) -> Vec<String> {
    let what = readable(trouble.what.trim_end());
    let excerpt = trouble.excerpt.iter().map(|line| readable(line));
    let mut lines = hanging(std::iter::once(what).chain(excerpt));
    lines.push(whole_log(&trouble.log));
    lines
}

fn whole_log(path: &Path) -> String {
    format!("whole log: {}", readable(&path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn three_files_are_written_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("report.txt"), "from an earlier run").unwrap();
        write(&samples::all_passed(), folder.path()).unwrap();

        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["junit.xml", "report.json", "report.txt"]);
        let text = fs::read_to_string(folder.path().join("report.txt")).unwrap();
        assert!(text.starts_with("test "), "{text}");
        assert!(text.contains("\n\nupdate 1: c → c\n"), "{text}");
    }

    #[test]
    fn a_bad_cell_always_has_a_reason() {
        let cell = |verdict, detail: Option<&str>| samples::cell(1, verdict, detail);
        assert_eq!(reason(&cell(Verdict::Passed, Some("all right"))), None);
        assert_eq!(reason(&cell(Verdict::Failed, Some("exit code 1\n"))), Some("exit code 1"));
        assert_eq!(reason(&cell(Verdict::Failed, Some(" \n"))), Some("no reason was given"));
        let missing = cell(Verdict::Missing, None);
        assert_eq!(reason(&missing), Some("the guest said nothing about it"));
    }

    #[test]
    fn a_test_without_any_bad_cell_may_still_be_unfinished() {
        let passed = samples::test("scenarios", "memfd", &[Verdict::Prepared, Verdict::Passed]);
        assert_eq!(unfinished(&passed), None);
        let failed = samples::test("scenarios", "memfd", &[Verdict::Failed]);
        assert_eq!(unfinished(&failed), None);
        let prepared = samples::test("scenarios", "memfd", &[Verdict::Prepared]);
        assert!(unfinished(&prepared).unwrap().contains("prepared"));
        let none = samples::test("scenarios", "memfd", &[]);
        assert!(unfinished(&none).unwrap().contains("no verdict"));
    }

    #[test]
    fn hops_beyond_the_chain_have_a_number_only() {
        let outcome = samples::all_passed();
        assert_eq!(hop_name(&outcome, 2), "hop 2 (c)");
        assert_eq!(hop_name(&outcome, 3), "hop 3");
        assert_eq!(hop_name(&outcome, 0), "hop 0");
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let mut outcome = samples::empty();
        assert_eq!(setting(&outcome), "c → c, release, tcg, Linux 7.3.4");
        outcome.linux.clear();
        outcome.chain.clear();
        assert_eq!(setting(&outcome), "release, tcg");
    }

    #[test]
    fn a_long_chain_is_abbreviated() {
        let hops: Vec<_> = ["c", "rust"].into_iter().cycle().take(7).map(String::from).collect();
        assert_eq!(chain(&hops[..1]), "c");
        assert_eq!(chain(&hops[..6]), "c → rust → c → rust → c → rust");
        assert_eq!(chain(&hops), "c → rust → … → c, 7 hops");
        assert_eq!(chain(&vec!["c".to_owned(); 50]), "c × 50");
        assert_eq!(chain(&[]), "");
    }
}
