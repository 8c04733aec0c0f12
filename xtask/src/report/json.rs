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

    #[test]
    fn every_part_of_an_outcome_is_there() {
        let Outcome { tests, updates, .. } = samples::failed();
        let mut outcome = Outcome { updates, ..samples::troubled() };
        outcome.tests = vec![tests[1].clone()];
        outcome.troubles[0].excerpt.truncate(1);
        insta::assert_snapshot!(render(&outcome).unwrap(), @r#"
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
                  "verdict": "failed",
                  "detail": "exit code 1\n# luo_kexec_simple.c:57: session\tnot found\n\n# <end> & \"done\"\n",
                  "elapsed_ms": null,
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
          "troubles": [
            {
              "hop": 2,
              "what": "kernel panic in hop 2 (c): KHO",
              "excerpt": [
                "[    1.234567] Kernel panic - not syncing: \u001b[31mKHO\u001b[0m \u0000￿<broken>\r"
              ],
              "log": "/tmp/logs/c-c.log"
            }
          ],
          "retries": [
            {
              "machine": "boot-1",
              "defect": "it lost a page",
              "report": "https://qemu.example/1",
              "log": "/tmp/logs/boot-1.qemu-defect.log"
            }
          ],
          "logs": [
            "/tmp/logs/c-c.log"
          ]
        }
        "#);
    }
}
