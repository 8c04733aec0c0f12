// SPDX-License-Identifier: MIT OR Apache-2.0

//! The whole outcome as JSON, for other programs.

use anyhow::Context as _;
use serde::Serialize;

use crate::outcome::Outcome;

/// Version of the format: raised when a field goes away or changes its meaning.
const FORMAT: u32 = 1;

/// The outcome with what a reader would otherwise have to work out.
#[derive(Serialize)]
struct Report<'a> {
    format: u32,
    passed: bool,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// Renders the outcome as indented JSON.
///
/// Its fields are on the top level, after `format` and `passed`. The only error is a path of a log
/// that is not UTF-8.
pub(crate) fn render(outcome: &Outcome) -> anyhow::Result<String> {
    let report = Report { format: FORMAT, passed: outcome.passed(), outcome };
    let mut text = serde_json::to_string_pretty(&report).context("the outcome has no JSON form")?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;
    use serde_json::Value;

    fn parsed(outcome: &Outcome) -> Value {
        serde_json::from_str(&render(outcome).unwrap()).unwrap()
    }

    #[test]
    fn all_passed() {
        let mut outcome = samples::all_passed();
        outcome.tests.truncate(2);
        outcome.tests.remove(0);
        insta::assert_snapshot!(render(&outcome).unwrap(), @r#"
        {
          "format": 1,
          "passed": true,
          "chain": [
            "c",
            "c"
          ],
          "profile": "release",
          "accel": "tcg",
          "linux": "7.3.4",
          "started": 1800000000,
          "elapsed_ms": 42123.0,
          "tests": [
            {
              "suite": "upstream",
              "name": "luo_kexec_simple",
              "cells": [
                {
                  "hop": 1,
                  "verdict": "prepared",
                  "detail": null,
                  "elapsed_ms": 340.0,
                  "subtests": 0
                },
                {
                  "hop": 2,
                  "verdict": "passed",
                  "detail": null,
                  "elapsed_ms": 1234.0,
                  "subtests": 0
                }
              ]
            }
          ],
          "updates": [
            {
              "hop": 1,
              "from": "c",
              "to": "c",
              "marks": [
                {
                  "name": "init",
                  "ms": 650.5
                },
                {
                  "name": "device opened",
                  "ms": 900.0
                }
              ]
            }
          ],
          "troubles": [],
          "logs": [
            "/tmp/logs/c-c.log"
          ]
        }
        "#);
    }

    #[test]
    fn a_failure_has_its_detail() {
        let json = parsed(&samples::failed());
        assert_eq!(json["passed"], false);
        let cell = serde_json::to_string_pretty(&json["tests"][1]["cells"][1]).unwrap();
        insta::assert_snapshot!(cell, @r#"
        {
          "detail": "exit code 1\n# luo_kexec_simple.c:57: session\tnot found\n\n# <end> & \"done\"\n",
          "elapsed_ms": null,
          "hop": 2,
          "subtests": 0,
          "verdict": "failed"
        }
        "#);
        assert_eq!(json["tests"][2]["cells"][1]["verdict"], "missing");
    }

    #[test]
    fn a_trouble_keeps_every_character_of_its_excerpt() {
        let outcome = samples::troubled();
        let trouble = &parsed(&outcome)["troubles"][0];
        assert_eq!(trouble["excerpt"][0], outcome.troubles[0].excerpt[0]);
        assert_eq!(trouble["log"], "/tmp/logs/c-c.log");
    }

    #[test]
    fn an_empty_outcome_has_not_passed() {
        insta::assert_snapshot!(render(&samples::empty()).unwrap(), @r#"
        {
          "format": 1,
          "passed": false,
          "chain": [
            "c",
            "c"
          ],
          "profile": "release",
          "accel": "tcg",
          "linux": "7.3.4",
          "started": 1800000000,
          "elapsed_ms": 42123.0,
          "tests": [],
          "updates": [],
          "troubles": [],
          "logs": [
            "/tmp/logs/c-c.log"
          ]
        }
        "#);
    }

    #[test]
    fn a_long_chain_has_all_hops() {
        let json = parsed(&samples::long_chain());
        assert_eq!(json["chain"].as_array().unwrap().len(), 10);
        assert_eq!(json["tests"][0]["cells"][9]["hop"], 10);
    }

    #[test]
    fn a_path_that_is_no_text_is_an_error() {
        use std::os::unix::ffi::OsStrExt as _;
        let mut outcome = samples::empty();
        outcome.logs = vec![std::ffi::OsStr::from_bytes(b"\xff.log").into()];
        let error = render(&outcome).unwrap_err();
        assert_eq!(error.to_string(), "the outcome has no JSON form");
    }
}
