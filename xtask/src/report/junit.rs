// SPDX-License-Identifier: MIT OR Apache-2.0

//! JUnit XML, which CI systems show.
//!
//! One test case is one test in one hop. Every reason why the run has not passed is a failing case,
//! so that a reader of the XML alone comes to the same result as [`Outcome::passed`].

use anyhow::Context as _;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{
    NO_TEST, hop_name, readable, reason, setting, suites, trouble_lines, unfinished, word,
};
use crate::outcome::{Cell, Outcome, TestOutcome, Trouble, Verdict};

/// Suite of what went wrong outside any single test.
const VM: &str = "vm";

/// Renders the outcome as a JUnit report.
pub(crate) fn render(outcome: &Outcome) -> anyhow::Result<String> {
    let mut report = Report::new(format!("vm-test: {}", setting(outcome)));
    report.set_time(outcome.elapsed);
    for (name, tests) in suites(outcome) {
        let cases = tests.into_iter().flat_map(|test| test_cases(outcome, test));
        report.add_test_suite(suite(name, cases));
    }
    let vm: Vec<_> = vm_cases(outcome).collect();
    if !vm.is_empty() {
        report.add_test_suite(suite(VM, vm));
    }
    report.to_string().context("the outcome has no JUnit form")
}

fn suite(name: &str, cases: impl IntoIterator<Item = TestCase>) -> TestSuite {
    let name = readable(name);
    let mut suite = TestSuite::new(name.as_str());
    for mut case in cases {
        // Most viewers show the class and not the suite.
        case.set_classname(name.as_str());
        suite.add_test_case(case);
    }
    suite
}

fn test_cases(outcome: &Outcome, test: &TestOutcome) -> Vec<TestCase> {
    let name = readable(&test.name);
    let mut cases: Vec<_> = test.cells.iter().map(|cell| cell_case(outcome, &name, cell)).collect();
    if let Some(why) = unfinished(test) {
        cases.push(TestCase::new(name, failure("unfinished", why)));
    }
    cases
}

fn cell_case(outcome: &Outcome, test: &str, cell: &Cell) -> TestCase {
    let status = match reason(cell) {
        Some(why) => failure(word(cell.verdict), &readable(why)),
        None if cell.verdict == Verdict::NotApplicable => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(readable(cell.detail.as_deref().unwrap_or_default()));
            status
        }
        None => TestCaseStatus::success(),
    };
    let mut case = TestCase::new(format!("{test} [{}]", hop_name(outcome, cell.hop)), status);
    if let Some(elapsed) = cell.elapsed {
        case.set_time(elapsed);
    }
    case
}

fn vm_cases(outcome: &Outcome) -> impl Iterator<Item = TestCase> {
    let nothing = (outcome.tests.is_empty() && outcome.troubles.is_empty())
        .then(|| TestCase::new("tests", failure("nothing", NO_TEST)));
    let troubles = (1..).zip(&outcome.troubles);
    nothing.into_iter().chain(troubles.map(|(n, trouble)| trouble_case(outcome, n, trouble)))
}

fn trouble_case(outcome: &Outcome, number: usize, trouble: &Trouble) -> TestCase {
    let place = match trouble.hop {
        0 => "before the first kernel".to_owned(),
        hop => hop_name(outcome, hop),
    };
    let status = failure("trouble", &trouble_lines(trouble).join("\n"));
    TestCase::new(format!("trouble {number} [{place}]"), status)
}

/// A failure whose message is the first line, and whose text is all.
pub(crate) fn failure(kind: &str, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(kind);
    status.set_message(text.lines().next().unwrap_or_default());
    status.set_description(text);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn rendered(outcome: &Outcome) -> String {
        render(outcome).unwrap()
    }

    /// Reads the XML back, and says how many cases and failures the reader sees.
    fn counted(xml: &str) -> (usize, usize) {
        let report = Report::deserialize_from_str(xml).unwrap();
        (report.tests, report.failures)
    }

    #[test]
    fn a_test_that_makes_no_sense_is_skipped_with_the_reason() {
        let mut outcome = samples::all_passed();
        outcome.tests[2].cells[1] =
            samples::cell(2, Verdict::NotApplicable, Some("on C, commands wait"));
        let text = render(&outcome).unwrap();
        assert!(text.contains(r#"<skipped message="on C, commands wait"/>"#), "{text}");
    }

    #[test]
    fn a_failure_with_detail_and_a_missing_verdict() {
        let mut outcome = samples::failed();
        outcome.tests.remove(0);
        let xml = rendered(&outcome);
        assert_eq!(counted(&xml), (4, 2));
        insta::assert_snapshot!(xml, @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="vm-test: c → c, release, tcg, Linux 7.3.4" tests="4" skipped="0" failures="2" errors="0" time="42.123">
            <testsuite name="upstream" tests="2" skipped="0" errors="0" failures="1">
                <testcase name="luo_kexec_simple [hop 1 (c)]" classname="upstream" time="0.340"/>
                <testcase name="luo_kexec_simple [hop 2 (c)]" classname="upstream">
                    <failure message="exit code 1" type="FAIL">exit code 1
        # luo_kexec_simple.c:57: session    not found

        # &lt;end&gt; &amp; &quot;done&quot;</failure>
                </testcase>
            </testsuite>
            <testsuite name="scenarios" tests="2" skipped="0" errors="0" failures="1">
                <testcase name="memfd [hop 1 (c)]" classname="scenarios"/>
                <testcase name="memfd [hop 2 (c)]" classname="scenarios">
                    <failure message="the guest said nothing about it" type="NOT RUN">the guest said nothing about it</failure>
                </testcase>
            </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn a_trouble_with_excerpt() {
        let mut outcome = samples::troubled();
        outcome.tests.drain(..2);
        let xml = rendered(&outcome);
        assert_eq!(counted(&xml), (3, 1));
        insta::assert_snapshot!(xml, @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="vm-test: c → c, release, tcg, Linux 7.3.4" tests="3" skipped="0" failures="1" errors="0" time="42.123">
            <testsuite name="scenarios" tests="2" skipped="0" errors="0" failures="0">
                <testcase name="memfd [hop 1 (c)]" classname="scenarios"/>
                <testcase name="memfd [hop 2 (c)]" classname="scenarios"/>
            </testsuite>
            <testsuite name="vm" tests="1" skipped="0" errors="0" failures="1">
                <testcase name="trouble 1 [hop 2 (c)]" classname="vm">
                    <failure message="kernel panic in hop 2 (c): KHO" type="trouble">kernel panic in hop 2 (c): KHO
            [    1.234567] Kernel panic - not syncing: ␛[31mKHO␛[0m ␀�&lt;broken&gt;

            [    1.234600] CPU: 0 PID: 1 Comm: swapper/0
        whole log: /tmp/logs/c-c.log</failure>
                </testcase>
            </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn there_are_failures_exactly_if_it_did_not_pass() {
        let outcomes = [
            samples::all_passed(),
            samples::failed(),
            samples::troubled(),
            samples::empty(),
            samples::long_chain(),
        ];
        for outcome in outcomes {
            assert_eq!(counted(&rendered(&outcome)).1 == 0, outcome.passed());
        }
    }

    #[test]
    fn a_trouble_may_come_before_the_first_kernel() {
        let mut outcome = samples::troubled();
        outcome.troubles[0].hop = 0;
        let xml = rendered(&outcome);
        assert!(xml.contains(r#"name="trouble 1 [before the first kernel]""#), "{xml}");
    }

    #[test]
    fn an_unfinished_test_fails() {
        for verdicts in [&[][..], &[Verdict::Prepared]] {
            let tests = vec![samples::test("upstream", "luo_multi_session", verdicts)];
            let outcome = Outcome { tests, ..samples::empty() };
            assert_eq!(counted(&rendered(&outcome)).1, 1);
        }
    }

    #[test]
    fn no_character_makes_the_xml_invalid() {
        let every: String = (0..=0xffff).filter_map(char::from_u32).collect();
        let mut outcome = samples::troubled();
        outcome.chain[1].clone_from(&every);
        outcome.tests[0].suite.clone_from(&every);
        outcome.tests[0].name.clone_from(&every);
        outcome.tests[0].cells[0] = samples::cell(1, Verdict::Failed, Some(&every));
        outcome.troubles[0].what.clone_from(&every);
        outcome.troubles[0].excerpt.push(every.clone());
        outcome.troubles[0].log = every.into();
        let xml = rendered(&outcome);
        assert_eq!(counted(&xml), (7, 2));
        let forbidden = |c: char| {
            (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
                || matches!(c, '\u{fffe}' | '\u{ffff}')
        };
        assert_eq!(xml.chars().find(|c| forbidden(*c)), None);
    }
}
