// SPDX-License-Identifier: MIT OR Apache-2.0

//! The report on a terminal: tests by hops, then everything that went wrong.

mod grid;

use std::path::PathBuf;

use super::text::{Colour, Mood, hanging, painted, readable, span};
use super::{hop_name, reason, setting, trouble_lines, unfinished, whole_log, word};
use crate::outcome::{Cell, Outcome, TestOutcome, Verdict};

/// Renders the table, each failure, each trouble and a summary, separated by blank lines.
///
/// Times are shown if they fit into `width`. Hops that do not fit go into further tables below.
/// Details and excerpts are not wrapped, so that they can be searched for. Colour only repeats
/// what the words say.
pub(crate) fn render(outcome: &Outcome, width: usize, colour: Colour) -> String {
    let mut blocks = grid::render(outcome, width, colour);
    for test in &outcome.tests {
        blocks.extend(failures(outcome, test, colour));
    }
    for trouble in &outcome.troubles {
        blocks.push(headed(trouble_lines(trouble), colour));
    }
    blocks.extend(inapplicable(outcome));
    blocks.extend(outcome.retries.iter().map(|retry| readable(&retry.to_string())));
    blocks.extend(other_logs(outcome));
    blocks.push(summary(outcome, width, colour));
    blocks.join("\n\n") + "\n"
}

/// A paragraph for each reason for which the test did not pass.
fn failures(outcome: &Outcome, test: &TestOutcome, colour: Colour) -> Vec<String> {
    // A guest that died is silent in all further hops: that is one paragraph, not one each.
    let silent = |cell: &Cell| cell.verdict == Verdict::Missing;
    let groups = test.cells.chunk_by(|a, b| silent(a) && silent(b) && a.detail == b.detail);
    let bad = groups.filter_map(|cells| {
        let first = cells.first()?;
        // The table says that it did not run, and a trouble says why.
        if silent(first) && first.detail.is_none() && !outcome.troubles.is_empty() {
            return None;
        }
        let place = format!(" in {}", place(outcome, cells));
        Some(failure(test, first.verdict, &place, reason(first)?, colour))
    });
    let unfinished = unfinished(test).map(|why| failure(test, Verdict::Missing, "", why, colour));
    bad.chain(unfinished).collect()
}

/// The tests that make no sense in any hop, with the reasons.
fn inapplicable(outcome: &Outcome) -> Option<String> {
    let tests = outcome.tests.iter().filter(|test| test.is_not_applicable());
    let lines: Vec<_> = tests
        .map(|test| {
            let why = test.cells.iter().rev().find_map(|cell| cell.detail.as_deref());
            let name = readable(&format!("{}/{}", test.suite, test.name));
            format!(
                "{} {name}: {}",
                word(Verdict::NotApplicable),
                readable(why.unwrap_or_default())
            )
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn failure(test: &TestOutcome, verdict: Verdict, place: &str, why: &str, colour: Colour) -> String {
    let name = readable(&format!("{}/{}", test.suite, test.name));
    let word = painted(word(verdict), Mood::Bad, colour);
    hanging([format!("{word} {name}{place}: {}", readable(why))]).join("\n")
}

/// `hop 2 (c)` or `hops 2, 3, 4`.
fn place(outcome: &Outcome, cells: &[Cell]) -> String {
    if let [cell] = cells {
        return hop_name(outcome, cell.hop);
    }
    let hops: Vec<_> = cells.iter().map(|cell| cell.hop.to_string()).collect();
    format!("hops {}", hops.join(", "))
}

/// A trouble, its sentence in colour.
fn headed(mut lines: Vec<String>, colour: Colour) -> String {
    if let Some(first) = lines.first_mut() {
        *first = painted(first, Mood::Bad, colour);
    }
    lines.join("\n")
}

/// Logs that no trouble names, if there is a reason to look into them.
fn other_logs(outcome: &Outcome) -> Option<String> {
    let named = |log: &PathBuf| outcome.troubles.iter().any(|trouble| trouble.log == *log);
    let logs: Vec<_> =
        outcome.logs.iter().filter(|log| !named(log)).map(|log| whole_log(log)).collect();
    (!outcome.passed() && !logs.is_empty()).then(|| logs.join("\n"))
}

/// The verdict, the numbers, and what was run: on one line, or on two if it is too long.
fn summary(outcome: &Outcome, width: usize, colour: Colour) -> String {
    let word = if outcome.passed() { "PASS" } else { "FAIL" };
    let numbers = numbers(outcome);
    let run = format!("{}, {}", setting(outcome), span(outcome.elapsed));
    let length = format!("{word}: {numbers}; {run}").chars().count();
    let joint = if length > width { ";\n    " } else { "; " };
    format!("{}: {numbers}{joint}{run}", painted(word, Mood::of(outcome.passed()), colour))
}

/// `3 tests, 2 passed, 1 failed`, and the troubles if there are any.
fn numbers(outcome: &Outcome) -> String {
    let all = outcome.tests.len();
    let passed = outcome.tests.iter().filter(|test| test.passed()).count();
    let inapplicable = outcome.tests.iter().filter(|test| test.is_not_applicable()).count();
    let failed = all - passed - inapplicable;
    let inapplicable = match inapplicable {
        0 => String::new(),
        count => format!("{count} n/a, "),
    };
    let troubles = match outcome.troubles.len() {
        0 => String::new(),
        count => format!(", {}", counted(count, "trouble")),
    };
    let all = counted(all, "test");
    format!("{all}, {passed} passed, {inapplicable}{failed} failed{troubles}")
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn plain(outcome: &Outcome, width: usize) -> String {
        render(outcome, width, Colour::Off)
    }

    #[test]
    fn a_test_that_makes_no_sense_is_counted_apart() {
        let mut outcome = samples::all_passed();
        outcome.tests[2].cells[1] =
            samples::cell(2, Verdict::NotApplicable, Some("on C, commands wait"));
        insta::assert_snapshot!(plain(&outcome, 80), @"
        test                1 c           2 c
        ──────────────────────────────────────────
        upstream
          liveupdate        ok (15)       ok (15)
          luo_kexec_simple  ready 340 ms  ok 1.2 s
        scenarios
          memfd             ready         n/a

        n/a scenarios/memfd: on C, commands wait

        PASS: 3 tests, 2 passed, 1 n/a, 0 failed;
            c → c, release, tcg, Linux 7.3.4, 42.1 s
        ");
        assert!(outcome.passed());
        outcome.tests = vec![outcome.tests.remove(2)];
        assert!(!outcome.passed(), "a run must check something");
    }

    #[test]
    fn a_failure_with_detail_and_a_missing_verdict() {
        insta::assert_snapshot!(plain(&samples::failed(), 80), @r#"
        test                1 c           2 c
        ─────────────────────────────────────────
        upstream
          liveupdate        ok (15)       ok (15)
          luo_kexec_simple  ready 340 ms  FAIL
        scenarios
          memfd             ready         NOT RUN

        FAIL upstream/luo_kexec_simple in hop 2 (c): exit code 1
            # luo_kexec_simple.c:57: session    not found

            # <end> & "done"

        NOT RUN scenarios/memfd in hop 2 (c): the guest said nothing about it

        whole log: /tmp/logs/c-c.log

        FAIL: 3 tests, 1 passed, 2 failed; c → c, release, tcg, Linux 7.3.4, 42.1 s
        "#);
    }

    #[test]
    fn a_trouble_with_excerpt() {
        insta::assert_snapshot!(plain(&samples::troubled(), 80), @"
        test                1 c           2 c
        ──────────────────────────────────────────
        upstream
          liveupdate        ok (15)       ok (15)
          luo_kexec_simple  ready 340 ms  ok 1.2 s
        scenarios
          memfd             ready         ok

        kernel panic in hop 2 (c): KHO
            [    1.234567] Kernel panic - not syncing: ␛[31mKHO␛[0m ␀�<broken>

            [    1.234600] CPU: 0 PID: 1 Comm: swapper/0
        whole log: /tmp/logs/c-c.log

        machine boot-1 was run again: a defect of QEMU: it lost a page (https://qemu.example/1); /tmp/logs/boot-1.qemu-defect.log

        FAIL: 3 tests, 3 passed, 0 failed, 1 trouble;
            c → c, release, tcg, Linux 7.3.4, 42.1 s
        ");
    }

    #[test]
    fn an_empty_outcome() {
        insta::assert_snapshot!(plain(&samples::empty(), 80), @"
        no test ran

        whole log: /tmp/logs/c-c.log

        FAIL: 0 tests, 0 passed, 0 failed; c → c, release, tcg, Linux 7.3.4, 42.1 s
        ");
    }

    #[test]
    fn a_long_chain() {
        let text = plain(&samples::long_chain(), 80);
        assert!(text.lines().take(6).all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text, @"
        test                       1 c    2 rust  3 c  4 rust  5 c  6 rust  7 c  8 rust
        ───────────────────────────────────────────────────────────────────────────────
        scenarios
          many_sessions_and_files  ok     ok      ok   ok      ok   ok      ok   ok
        upstream
          luo_kexec_simple         ready  ok      ·    ·       ·    ·       ·    ·

        test                       9 c      10 rust
        ───────────────────────────────────────────
        scenarios
          many_sessions_and_files  NOT RUN  NOT RUN
        upstream
          luo_kexec_simple         ·        ·

        NOT RUN scenarios/many_sessions_and_files in hops 9, 10: the guest said nothing about it

        whole log: /tmp/logs/c-c.log

        FAIL: 2 tests, 1 passed, 1 failed;
            c → rust → … → rust, 10 hops, release, tcg, Linux 7.3.4, 42.1 s
        ");
    }

    #[test]
    fn each_failure_has_its_own_paragraph() {
        let tests = vec![samples::test("upstream", "luo_kexec_simple", &[Verdict::Failed; 2])];
        let text = plain(&Outcome { tests, ..samples::empty() }, 80);
        assert!(text.contains("simple in hop 1 (c): no reason was given"), "{text}");
        assert!(text.contains("simple in hop 2 (c): no reason was given"), "{text}");
    }

    #[test]
    fn an_unfinished_test_is_named() {
        let tests = vec![
            samples::test("upstream", "luo_multi_session", &[]),
            samples::test("scenarios", "memfd", &[Verdict::Prepared]),
        ];
        let outcome = Outcome { tests, ..samples::empty() };
        insta::assert_snapshot!(plain(&outcome, 80), @"
        test                 1 c    2 c
        ───────────────────────────────
        upstream
          luo_multi_session  ·      ·
        scenarios
          memfd              ready  ·

        NOT RUN upstream/luo_multi_session: it has no verdict in any hop

        NOT RUN scenarios/memfd: it was prepared, and no later hop has a verdict

        whole log: /tmp/logs/c-c.log

        FAIL: 2 tests, 0 passed, 2 failed; c → c, release, tcg, Linux 7.3.4, 42.1 s
        ");
    }

    #[test]
    fn colour_only_adds_to_the_words() {
        for outcome in [samples::failed(), samples::troubled(), samples::long_chain()] {
            let coloured = render(&outcome, 80, Colour::On);
            assert!(coloured.contains("\x1b[31mFAIL\x1b[0m: "), "{coloured}");
            assert!(coloured.contains(" \x1b[32mok\x1b[0m"), "{coloured}");
            let mut stripped = coloured;
            for escape in ["\x1b[31m", "\x1b[32m", "\x1b[0m"] {
                stripped = stripped.replace(escape, "");
            }
            assert_eq!(stripped, plain(&outcome, 80));
        }
    }
}
