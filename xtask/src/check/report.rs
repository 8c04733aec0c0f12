// SPDX-License-Identifier: MIT OR Apache-2.0

//! Runs checks, and tells what they found.

use std::fmt::{self, Display};
use std::io::Write;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use anyhow::Result;

use super::{Check, Folders};
use crate::failure::Interrupted;
use crate::invocation::{Invocation, said};

/// The result of a check.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The failure, if there is one.
    pub(super) failure: Option<Complaint>,
    /// Worth knowing, but no failure.
    pub(super) notices: Vec<String>,
}

impl Report {
    /// Makes a report of a check that is part of this program.
    pub(super) fn of_findings(name: &str, findings: &[String], next: &str) -> Self {
        let failure = (!findings.is_empty()).then(|| Complaint {
            output: findings.join("\n"),
            by_hand: by_hand(name),
            next: next.to_owned(),
        });
        Self { failure, notices: Vec::new() }
    }

    /// Runs `command` in `folder`; `next` is what to do when it fails.
    pub(super) fn of_command(command: &Invocation, folder: &Path, next: &str) -> Result<Self> {
        let output = command.output(folder)?;
        Ok(Self { failure: Complaint::of_output(command, &output, next), notices: Vec::new() })
    }
}

/// The information for a person who corrects the findings of a check.
#[derive(Debug)]
pub(super) struct Complaint {
    /// The output of the check.
    pub(super) output: String,
    /// Command that does the same again.
    pub(super) by_hand: String,
    /// The next step.
    pub(super) next: String,
}

impl Complaint {
    /// The complaint about the output of a command, unless it is that of a success.
    pub(super) fn of_output(command: &Invocation, output: &Output, next: &str) -> Option<Self> {
        (!output.status.success()).then(|| Self {
            output: said(output),
            by_hand: command.to_string(),
            next: next.to_owned(),
        })
    }
}

/// How many checks passed, and which did not.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    passed: usize,
    failed: Vec<&'static str>,
}

impl Summary {
    /// Whether nothing is to be corrected.
    pub(crate) fn succeeded(&self) -> bool {
        self.failed.is_empty()
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed.len())?;
        if self.succeeded() {
            return Ok(());
        }
        write!(f, ": {}", self.failed.join(", "))
    }
}

/// Runs `checks` and writes a line for each, then all that is to be corrected.
pub(super) fn run_all(
    checks: &[&dyn Check],
    folders: &Folders<'_>,
    out: &mut impl Write,
) -> Result<Summary> {
    let mut summary = Summary::default();
    let mut failures = Vec::new();
    for check in checks {
        let name = check.name();
        if let Some(announcement) = check.announce(folders) {
            writeln!(out, "note   {name}: {announcement}")?;
        }
        write!(out, "check  {:.<19} ", format!("{name} "))?;
        out.flush()?;
        let started = Instant::now();
        let outcome = check.run(folders);
        let seconds = started.elapsed().as_secs_f64();
        let report = match outcome {
            Err(error) if error.is::<Interrupted>() => {
                writeln!(out, "interrupted after {seconds:.1} s")?;
                return Err(error);
            }
            Err(error) => unable(name, &error),
            Ok(report) => report,
        };
        let word = if report.failure.is_some() { "FAILED" } else { "ok" };
        writeln!(out, "{word} {seconds:.1} s")?;
        for notice in report.notices {
            writeln!(out, "note   {name}: {notice}")?;
        }
        match report.failure {
            None => summary.passed += 1,
            Some(failure) => {
                summary.failed.push(name);
                failures.push((name, failure));
            }
        }
    }
    for (name, failure) in &failures {
        writeln!(out, "\n==== {name} ====\n{}\n", failure.output.trim_end())?;
        writeln!(out, "by hand: {}", failure.by_hand)?;
        writeln!(out, "next:    {}", failure.next)?;
    }
    if !failures.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "check  {summary}")?;
    Ok(summary)
}

/// Turns the error of a check into its failure: a check that could not run has not passed.
fn unable(name: &str, error: &anyhow::Error) -> Report {
    Report {
        failure: Some(Complaint {
            output: format!("{error:#}"),
            by_hand: by_hand(name),
            next: "see to the cause named above, then check again".to_owned(),
        }),
        notices: Vec::new(),
    }
}

/// Command that runs the check `name` alone.
fn by_hand(name: &str) -> String {
    format!("cargo xtask check {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    /// A check that does as it is told.
    struct Fake(&'static str, Behaviour);

    #[derive(Clone, Copy)]
    enum Behaviour {
        Pass,
        Fail,
        Break,
        Interrupted,
    }

    impl Check for Fake {
        fn name(&self) -> &'static str {
            self.0
        }

        fn announce(&self, _folders: &Folders<'_>) -> Option<String> {
            (self.0 == "slow").then(|| "takes long".to_owned())
        }

        fn run(&self, _folders: &Folders<'_>) -> Result<Report> {
            match self.1 {
                Behaviour::Pass => {
                    Ok(Report { failure: None, notices: vec!["by the way".to_owned()] })
                }
                Behaviour::Fail => {
                    let findings = ["a.rs:1: bad".to_owned()];
                    Ok(Report::of_findings(self.0, &findings, "make it good"))
                }
                Behaviour::Break => bail!("no such program; install it"),
                Behaviour::Interrupted => Err(Interrupted.into()),
            }
        }
    }

    /// The output of `checks`, with every time as `0.0 s`, and how it ended.
    fn printed(checks: &[&dyn Check]) -> (String, Result<Summary>) {
        let folders = Folders { project: Path::new("."), tools: Path::new("."), target: None };
        let mut out = Vec::new();
        let outcome = run_all(checks, &folders, &mut out);
        let text = String::from_utf8(out).unwrap();
        let number = |c: char| c.is_ascii_digit() || c == '.';
        let lines = text.lines().map(|line| match line.strip_suffix(" s") {
            Some(timed) => format!("{}0.0 s", timed.trim_end_matches(number)),
            None => line.to_owned(),
        });
        (lines.collect::<Vec<_>>().join("\n") + "\n", outcome)
    }

    #[test]
    fn a_failed_command_is_told_with_both_streams() {
        let of = |script: &str| {
            let command = Invocation::new(["sh", "-c", script]);
            Report::of_command(&command, Path::new("."), "do this").unwrap().failure
        };
        let complaint = of("echo out; echo err >&2; exit 3").unwrap();
        assert_eq!(complaint.output, "out\nerr");
        assert_eq!(complaint.by_hand, "sh -c 'echo out; echo err >&2; exit 3'");
        assert_eq!(complaint.next, "do this");
        assert!(of("exit 3").unwrap().output.contains("exit status: 3"));
        assert!(of("true").is_none());
    }

    #[test]
    fn goes_on_after_failures_and_tells_all_at_the_end() {
        let checks: &[&dyn Check] = &[
            &Fake("bad", Behaviour::Fail),
            &Fake("broken", Behaviour::Break),
            &Fake("slow", Behaviour::Pass),
        ];
        let (text, outcome) = printed(checks);
        let summary = outcome.unwrap();
        assert!(!summary.succeeded());
        assert_eq!(
            text,
            "check  bad ............... FAILED 0.0 s\n\
             check  broken ............ FAILED 0.0 s\n\
             note   slow: takes long\n\
             check  slow .............. ok 0.0 s\n\
             note   slow: by the way\n\
             \n==== bad ====\na.rs:1: bad\n\n\
             by hand: cargo xtask check bad\n\
             next:    make it good\n\
             \n==== broken ====\nno such program; install it\n\n\
             by hand: cargo xtask check broken\n\
             next:    see to the cause named above, then check again\n\
             \ncheck  1 passed, 2 failed: bad, broken\n"
        );
    }

    #[test]
    fn succeeds_when_all_pass() {
        let (text, outcome) = printed(&[&Fake("good", Behaviour::Pass)]);
        assert!(outcome.unwrap().succeeded());
        assert!(text.ends_with("check  1 passed, 0 failed\n"), "{text}");
    }

    #[test]
    fn stops_only_when_interrupted() {
        let (text, outcome) =
            printed(&[&Fake("first", Behaviour::Interrupted), &Fake("second", Behaviour::Pass)]);
        assert!(outcome.unwrap_err().is::<Interrupted>());
        assert!(!text.contains("second"), "{text}");
    }
}
