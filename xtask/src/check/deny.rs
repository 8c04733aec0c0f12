// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether the dependencies are what `deny.toml` allows.

use std::path::Path;

use anyhow::Result;

use super::tool::Tool;
use super::{Check, Complaint, Folders, Report};
use crate::invocation::{Invocation, said};

/// The program that does it.
const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    // It runs for a fraction of a second: the time for its own optimisation is never won back.
    settings: &[
        "profile.release.lto=\"off\"",
        "profile.release.codegen-units=16",
        "profile.release.opt-level=0",
    ],
    takes: "some 60 s with 2 cores",
};

/// The checks that need nothing but the crates themselves.
const ALWAYS: [&str; 3] = ["bans", "licenses", "sources"];

/// Seconds after which the database of advisories counts as out of reach.
const FETCH_SECONDS: &str = "120";

/// `cargo deny check`.
pub(super) struct Deny;

impl Check for Deny {
    fn name(&self) -> &'static str {
        "deny"
    }

    fn announce(&self, folders: &Folders<'_>) -> Option<String> {
        CARGO_DENY.announce(folders.tools)
    }

    fn run(&self, folders: &Folders<'_>) -> Result<Report> {
        let program = CARGO_DENY.ensure(folders)?;
        let command = Invocation::new([&program]).args(["--locked", "check"]);
        let mut command = command.args(ALWAYS);
        let mut notices = Vec::new();
        match fetch(&program, folders.project)? {
            None => command = command.args(["advisories"]),
            Some(why) => notices
                .push(format!("advisories are not checked, their database is out of reach: {why}")),
        }
        let output = command.output(folders.project)?;
        let text = said(&output);
        let warnings = warnings(&text);
        if output.status.success() && warnings > 0 {
            notices.push(format!("warnings: {warnings}; to see them, run {command}"));
        }
        let next = "take another crate or version; where that is impossible, add an exception \
                    with its reason to deny.toml";
        let failure = Complaint::of_output(&command, &output, next);
        Ok(Report { failure, notices })
    }
}

/// Fetches the database of advisories, or tells why that is impossible.
fn fetch(program: &Path, project: &Path) -> Result<Option<String>> {
    // A network that swallows everything would hold up git for long.
    let fetch = Invocation::new(["timeout", "--kill-after=5", FETCH_SECONDS])
        .args([program])
        .args(["fetch", "db"])
        // A password cannot be typed here.
        .env("GIT_TERMINAL_PROMPT", "0");
    let output = fetch.output(project)?;
    Ok(match output.status.code() {
        Some(0) => None,
        // That of `timeout` for a command that it had to end.
        Some(124 | 137) => Some(format!("no answer in {FETCH_SECONDS} s")),
        _ => said(&output).lines().last().map(str::to_owned),
    })
}

/// Counts the warnings in what cargo-deny says.
fn warnings(text: &str) -> usize {
    let lines = text.lines();
    lines.filter(|line| line.starts_with("warning[")).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Runs the check with a script in place of cargo-deny.
    fn with_script(script: &str) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path();
        let program = CARGO_DENY.program(tools);
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        let source = tools.join("script");
        fs::write(&source, format!("#!/bin/sh\n{script}\n")).unwrap();
        // By another process: a file that this one has open for writing in any thread may not be
        // executed.
        let install = Invocation::new(["install"]).args([&source, &program]);
        assert!(install.output(tools).unwrap().status.success());
        let project = tools;
        Deny.run(&Folders { project, tools, target: None }).unwrap()
    }

    #[test]
    fn advisories_are_checked_when_their_database_can_be_had() {
        let report = with_script("test $1 = fetch || { echo $*; exit 1; }");
        let failure = report.failure.unwrap();
        let args = "--locked check bans licenses sources advisories";
        assert_eq!(failure.output, args);
        assert!(failure.by_hand.ends_with(args), "{failure:?}");
        assert!(report.notices.is_empty(), "{:?}", report.notices);
    }

    #[test]
    fn no_database_is_no_failure() {
        let fetch = "if test $1 = fetch; then echo ERROR >&2; echo 'no host' >&2; exit 1; fi";
        let report = with_script(fetch);
        assert!(report.failure.is_none());
        let notice = "advisories are not checked, their database is out of reach: no host";
        assert_eq!(report.notices, [notice]);

        let report = with_script(&format!("{fetch}; echo $*; exit 1"));
        let output = report.failure.unwrap().output;
        assert_eq!(output, "--locked check bans licenses sources");
    }

    #[test]
    fn warnings_are_counted() {
        let report = with_script("echo 'warning[duplicate]: two of a crate' >&2");
        assert!(report.failure.is_none());
        assert!(report.notices[0].starts_with("warnings: 1; to see them, run "));
        for (text, expected) in [
            ("", 0),
            ("bans ok, licenses ok", 0),
            ("a warning[x] inside\nerror[rejected]: x", 0),
            ("warning[duplicate]: a\n  | x\nwarning[parse-error]: b", 2),
        ] {
            assert_eq!(warnings(text), expected, "{text}");
        }
    }
}
