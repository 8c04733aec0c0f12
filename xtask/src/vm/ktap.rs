// SPDX-License-Identifier: MIT OR Apache-2.0

//! KTAP, line by line: <https://docs.kernel.org/dev-tools/ktap.html>.

use selftests::event::Event;
use selftests::plan::NOT_APPLICABLE;

/// A line of the top level, or of the program that runs below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// `KTAP version 1`, or `TAP version 13` of a test program.
    Version,
    /// `1..N`: so many results will follow.
    Plan(usize),
    /// `ok` or `not ok`.
    Result(TestResult<'a>),
    /// An event of PID 1.
    Event(Event),
    /// `# ...`: for people.
    Diagnostic(&'a str),
    /// `Bail out!`: nothing more will come.
    BailOut(&'a str),
    /// A line of the level below.
    Nested(&'a str),
    /// Anything else; test programs print what they like.
    Other(&'a str),
}

/// One verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TestResult<'a> {
    /// `ok`.
    pub(crate) ok: bool,
    /// Its number in the plan.
    pub(crate) number: usize,
    /// Name of the test.
    pub(crate) name: &'a str,
    /// Whether it was skipped or is not expected to pass: then `ok` means nothing.
    pub(crate) excused: bool,
    /// Why the step makes no sense here, if PID 1 says so.
    pub(crate) not_applicable: Option<&'a str>,
}

/// How far a nested line is indented at least.
const INDENT: &str = "  ";

/// Reads one line.
pub(crate) fn parse(line: &str) -> Line<'_> {
    if let Some(event) = Event::parse(line) {
        // An event that is damaged is no event; the host notices what is missing.
        return event.map_or(Line::Other(line), Line::Event);
    }
    if let Some(nested) = line.strip_prefix(INDENT) {
        return Line::Nested(nested);
    }
    if line == "KTAP version 1" || line == "TAP version 13" {
        return Line::Version;
    }
    if let Some(text) = line.strip_prefix("Bail out!") {
        return Line::BailOut(text.trim());
    }
    if let Some(text) = line.strip_prefix('#') {
        return Line::Diagnostic(text.trim());
    }
    if let Some(number) = line.strip_prefix("1..").and_then(|number| number.trim().parse().ok()) {
        return Line::Plan(number);
    }
    parse_result(line).map_or(Line::Other(line), Line::Result)
}

/// `ok 3 name # SKIP why`, with or without a dash before the name.
fn parse_result(line: &str) -> Option<TestResult<'_>> {
    let (ok, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let number = number.parse().ok()?;
    let rest = rest.trim_start().strip_prefix("- ").unwrap_or(rest);
    let (name, directive) = rest.split_once('#').unwrap_or((rest, ""));
    let directive = directive.trim_start();
    let not_applicable = directive.strip_prefix("SKIP ");
    let not_applicable = not_applicable.and_then(|why| why.strip_prefix(NOT_APPLICABLE));
    let directive = directive.to_ascii_uppercase();
    let excused = ["SKIP", "TODO", "XFAIL"].iter().any(|word| directive.starts_with(word));
    Some(TestResult { ok, number, name: name.trim(), excused, not_applicable })
}

/// The results of a test program, as far as it speaks TAP itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subtests {
    planned: Option<usize>,
    seen: Vec<usize>,
    problems: Vec<String>,
}

impl Subtests {
    /// Takes in one line of the program.
    pub(crate) fn line(&mut self, line: &str) {
        match parse(line) {
            Line::Plan(number) if self.planned.is_none() => self.planned = Some(number),
            Line::Plan(_) => self.problems.push("two plans".into()),
            Line::Result(result) => self.result(&result),
            Line::BailOut(why) => self.problems.push(format!("bailed out: {why}")),
            _ => {}
        }
    }

    /// How many passed, or what is wrong; a program that says nothing of the kind has none.
    pub(crate) fn verdict(&self) -> Result<usize, String> {
        if !self.problems.is_empty() {
            return Err(self.problems.join("; "));
        }
        match self.planned {
            Some(planned) if planned != self.seen.len() => {
                Err(format!("{} of {planned} subtests said how they went", self.seen.len()))
            }
            _ => Ok(self.seen.len()),
        }
    }

    fn result(&mut self, result: &TestResult<'_>) {
        let name = result.name;
        if self.seen.contains(&result.number) {
            self.problems.push(format!("subtest {} ({name}) has two verdicts", result.number));
        }
        self.seen.push(result.number);
        if result.excused {
            self.problems.push(format!("subtest {name} was skipped"));
        } else if !result.ok {
            self.problems.push(format!("subtest {name} failed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn result(ok: bool, number: usize, name: &str, excused: bool) -> Line<'_> {
        Line::Result(TestResult { ok, number, name, excused, not_applicable: None })
    }

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(parse("KTAP version 1"), Line::Version);
        assert_eq!(parse("1..7"), Line::Plan(7));
        assert_eq!(parse("ok 1 first"), result(true, 1, "first", false));
        assert_eq!(parse("not ok 2 - second one"), result(false, 2, "second one", false));
        assert_eq!(parse("ok 3 third # SKIP no device"), result(true, 3, "third", true));
        assert_eq!(parse("not ok 4 # TODO later"), result(false, 4, "", true));
        assert_eq!(parse("# a note"), Line::Diagnostic("a note"));
        assert_eq!(parse("  ok 1 below"), Line::Nested("ok 1 below"));
        assert_eq!(parse("Bail out! no plan"), Line::BailOut("no plan"));
        assert_eq!(parse("okay"), Line::Other("okay"));
        assert_eq!(parse("ok x"), Line::Other("ok x"));
        assert_eq!(parse("1..x"), Line::Other("1..x"));
        assert_eq!(parse(r#"# event {"event":"done"}"#), Line::Event(Event::Done));
        assert_eq!(parse("# event {"), Line::Other("# event {"));
    }

    fn subtests(text: &str) -> Result<usize, String> {
        let mut subtests = Subtests::default();
        text.lines().for_each(|line| subtests.line(line));
        subtests.verdict()
    }

    #[test]
    fn subtests_need_one_good_verdict_each() {
        assert_eq!(subtests("TAP version 13\n1..2\nok 1 a\nok 2 b\n# Totals: pass:2"), Ok(2));
        assert_eq!(subtests("# only words"), Ok(0));
        assert_eq!(subtests("1..2\nok 1 a\nnot ok 2 b"), Err("subtest b failed".into()));
        assert_eq!(subtests("1..2\nok 1 a"), Err("1 of 2 subtests said how they went".into()));
        assert_eq!(subtests("1..1\nok 1 a\nok 1 a"), Err("subtest 1 (a) has two verdicts".into()));
        assert_eq!(subtests("1..1\nok 1 a # SKIP"), Err("subtest a was skipped".into()));
        assert_eq!(subtests("1..1\nBail out! lost"), Err("bailed out: lost".into()));
    }

    #[test]
    fn a_recorded_run_of_the_api_tests_is_understood() {
        let recorded = include_str!("../../testdata/liveupdate.tap");
        assert_eq!(subtests(recorded), Ok(15));
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in ".*") {
            parse(&line);
            let _ = subtests(&line);
        }

        #[test]
        fn a_verdict_reads_back(ok: bool, number in 0usize..9999, name in "[a-z_.]{1,20}") {
            let line = format!("{} {number} {name}", if ok { "ok" } else { "not ok" });
            prop_assert_eq!(parse(&line), result(ok, number, &name, false));
        }
    }
}
