// SPDX-License-Identifier: MIT OR Apache-2.0

//! The report of campaigns: text, JSON and JUnit.

use std::path::Path;

use anyhow::{Context, Result};
use quick_junit::{Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use crate::cache::write_by_rename;
use crate::campaign::run::{Ran, Verdict};
use crate::progress::human;
use crate::report::FILES;
use crate::report::junit::failure;

/// Version of the JSON format.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Json<'a> {
    format: u32,
    passed: bool,
    parts: Vec<JsonPart<'a>>,
}

#[derive(Serialize)]
struct JsonPart<'a> {
    name: &'a str,
    command: &'a str,
    passed: bool,
    /// It has passed in an earlier run on the same checkout.
    earlier: bool,
    why: Option<&'a str>,
    elapsed_ms: u128,
    log: &'a Path,
}

impl Ran {
    /// Whether it passed.
    pub(crate) fn passed(&self) -> bool {
        matches!(self.verdict, Verdict::Passed { .. })
    }
}

/// A line for each part, and a summary.
pub(crate) fn render(all: &[Ran]) -> String {
    let width = all.iter().map(|ran| ran.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for ran in all {
        let (word, time) = match &ran.verdict {
            Verdict::Passed { earlier: true } => ("ok  ", "passed before".to_owned()),
            Verdict::Passed { earlier: false } => ("ok  ", human(ran.elapsed)),
            Verdict::Failed(_) => ("FAIL", human(ran.elapsed)),
        };
        text += &format!("{word}  {:<width$}  {time}\n", ran.name);
        if let Verdict::Failed(why) = &ran.verdict {
            let why = reason(why);
            let (command, log) = (&ran.command, ran.log.display());
            text += &format!("      {why}\n      by hand: {command}\n      log:     {log}\n");
        }
    }
    let passed = all.iter().filter(|ran| ran.passed()).count();
    text + &format!("{passed} passed, {} failed\n", all.len() - passed)
}

/// The line that tells most: the first error of a task of ours, else the first line.
fn reason(why: &str) -> &str {
    let error = why.lines().find_map(|line| line.strip_prefix("error: "));
    error.or_else(|| why.lines().next()).unwrap_or_default()
}

/// Writes `report.txt`, `junit.xml` and `report.json` into a folder.
pub(crate) fn write(all: &[Ran], folder: &Path) -> Result<()> {
    let [text, junit, json] = FILES.map(|name| folder.join(name));
    write_by_rename(&text, render(all).as_bytes())?;
    let report = junit_of(all).to_string().context("the campaign has no JUnit form")?;
    write_by_rename(&junit, report.as_bytes())?;
    write_by_rename(&json, json_of(all)?.as_bytes())
}

fn json_of(all: &[Ran]) -> Result<String> {
    let parts = all.iter().map(|ran| JsonPart {
        name: &ran.name,
        command: &ran.command,
        passed: ran.passed(),
        earlier: matches!(ran.verdict, Verdict::Passed { earlier: true }),
        why: match &ran.verdict {
            Verdict::Passed { .. } => None,
            Verdict::Failed(why) => Some(why),
        },
        elapsed_ms: ran.elapsed.as_millis(),
        log: &ran.log,
    });
    let json = Json { format: FORMAT, passed: all.iter().all(Ran::passed), parts: parts.collect() };
    Ok(serde_json::to_string_pretty(&json)? + "\n")
}

fn junit_of(all: &[Ran]) -> Report {
    let mut suite = TestSuite::new("campaign");
    for ran in all {
        let status = match &ran.verdict {
            Verdict::Passed { .. } => TestCaseStatus::success(),
            Verdict::Failed(why) => failure("FAIL", why),
        };
        let mut case = TestCase::new(ran.name.as_str(), status);
        case.set_time(ran.elapsed);
        suite.add_test_case(case);
    }
    let mut report = Report::new("campaign");
    report.add_test_suite(suite);
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ran(name: &str, verdict: Verdict) -> Ran {
        Ran {
            name: name.into(),
            command: "cargo xtask vm-test".into(),
            verdict,
            elapsed: Duration::from_secs(75),
            log: "/tmp/x.log".into(),
        }
    }

    #[test]
    fn a_failure_says_how_to_see_it_again() {
        let all = [
            ran("soak rust*200", Verdict::Passed { earlier: false }),
            ran("miri liblu", Verdict::Failed("ended with 1\nmore".into())),
            ran("mutants x", Verdict::Failed("ended with 1\nerror: x survived: y\nz".into())),
            ran("fuzz passing", Verdict::Passed { earlier: true }),
        ];
        insta::assert_snapshot!(render(&all), @"
        ok    soak rust*200  1 min 15 s
        FAIL  miri liblu     1 min 15 s
              ended with 1
              by hand: cargo xtask vm-test
              log:     /tmp/x.log
        FAIL  mutants x      1 min 15 s
              x survived: y
              by hand: cargo xtask vm-test
              log:     /tmp/x.log
        ok    fuzz passing   passed before
        2 passed, 2 failed
        ");
        assert!(json_of(&all).unwrap().contains("\"passed\": false"));
        assert!(junit_of(&all).to_string().unwrap().contains("failures=\"2\""));
    }
}
