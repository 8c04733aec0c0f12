// SPDX-License-Identifier: MIT OR Apache-2.0

//! The table itself: a row for each test, a column for each hop.

use std::ops::Range;

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, LineStyle, Table, TableStyle};

use crate::outcome::{Outcome, TestOutcome, Verdict};
use crate::report::text::{Colour, Mood, painted, readable, span};
use crate::report::{NO_TEST, label, suites, word};

/// Only the header has a line.
const STYLE: TableStyle = NOTHING.header_separator(LineStyle::none().fill('─'));

/// Blanks between two columns.
const GAP: u16 = 2;

/// Chains with more hops than this show the last few alone, and a summary of the others.
const ALL_SHOWN: usize = 10;

/// How many these few are.
const LAST_SHOWN: usize = 4;

/// A hop in which a test has no verdict.
const NO_VERDICT: &str = "·";

/// Whether cells have times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Shown,
    Left,
}

/// Renders the table in as many pieces as the width demands, with times if one is enough.
pub(super) fn render(outcome: &Outcome, width: usize, colour: Colour) -> Vec<String> {
    if outcome.tests.is_empty() {
        return vec![NO_TEST.to_owned()];
    }
    let timed = table(outcome, Times::Shown);
    if let [_] = bands(&timed, width)[..] {
        return pieces(timed, width, colour);
    }
    pieces(table(outcome, Times::Left), width, colour)
}

fn table(outcome: &Outcome, times: Times) -> Table {
    let hops = hops(outcome);
    // Hops that have one column together.
    let summed = if hops > ALL_SHOWN { hops - LAST_SHOWN } else { 0 };
    let mut table = Table::new();
    table.load_style(STYLE);
    let heads =
        (summed + 1..=hops).map(|hop| format!("{hop} {}", label(outcome, hop).unwrap_or_default()));
    let sum = (summed > 0).then(|| format!("1–{summed}"));
    table.set_header(std::iter::once("test".to_owned()).chain(sum).chain(heads));
    for (suite, tests) in suites(outcome) {
        table.add_row([readable(suite)]);
        for test in tests {
            let name = std::iter::once(format!("  {}", readable(&test.name)));
            let sum = (summed > 0).then(|| sum_text(test, summed));
            let cells = (summed + 1..=hops).map(|hop| cell_text(test, hop, times));
            table.add_row(name.chain(sum).chain(cells));
        }
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 0 } else { GAP }, 0));
    }
    table
}

/// The text of the cell for the first `summed` hops: `48 ok`, `47 ok 1 FAIL`.
fn sum_text(test: &TestOutcome, summed: usize) -> String {
    let verdicts = [
        Verdict::Prepared,
        Verdict::Passed,
        Verdict::NotApplicable,
        Verdict::Failed,
        Verdict::Missing,
    ];
    let counts = verdicts.map(|verdict| {
        let cells = test.cells.iter().filter(|cell| cell.hop <= summed);
        (cells.filter(|cell| cell.verdict == verdict).count(), word(verdict))
    });
    let said = counts.iter().filter(|(count, _)| *count > 0);
    let said: Vec<_> = said.map(|(count, word)| format!("{count} {word}")).collect();
    if said.is_empty() { NO_VERDICT.to_owned() } else { said.join(" ") }
}

/// Number of hops, with any that have verdicts beyond the end of the chain.
fn hops(outcome: &Outcome) -> usize {
    let cells = outcome.tests.iter().flat_map(|test| &test.cells);
    let last = cells.map(|cell| cell.hop).max().unwrap_or(0);
    last.max(outcome.chain.len())
}

/// The text of a cell: `ok (15) 1.2 s`.
fn cell_text(test: &TestOutcome, hop: usize, times: Times) -> String {
    let Some(cell) = test.cells.iter().find(|cell| cell.hop == hop) else {
        return NO_VERDICT.to_owned();
    };
    let subtests = match cell.verdict {
        Verdict::Passed if cell.subtests > 0 => format!(" ({})", cell.subtests),
        _ => String::new(),
    };
    let time = match cell.elapsed {
        Some(elapsed) if times == Times::Shown => format!(" {}", span(elapsed)),
        _ => String::new(),
    };
    format!("{}{subtests}{time}", word(cell.verdict))
}

/// Columns that are shown together, beside the first one, which is always shown.
fn bands(table: &Table, width: usize) -> Vec<Range<usize>> {
    let widths = table.column_max_content_widths();
    let mut bands = Vec::new();
    let mut start = 1;
    while start < widths.len() {
        let mut used = usize::from(widths[0]);
        let fits = |column: &&u16| {
            used += usize::from(GAP) + usize::from(**column);
            used <= width
        };
        // At least one, or there would be no end.
        let end = start + widths[start..].iter().take_while(fits).count().max(1);
        bands.push(start..end);
        start = end;
    }
    bands
}

/// The table once for each band, the columns of the others hidden.
fn pieces(mut table: Table, width: usize, colour: Colour) -> Vec<String> {
    let names = usize::from(table.column_max_content_widths()[0]);
    let mut pieces = Vec::new();
    for band in bands(&table, width) {
        for (index, column) in table.column_iter_mut().enumerate().skip(1) {
            if band.contains(&index) {
                column.remove_constraint();
            } else {
                column.set_constraint(ColumnConstraint::Hidden);
            }
        }
        let text = table.trim_fmt();
        let lines = text.lines().enumerate().map(|(number, line)| match number {
            0 => line.to_owned(),
            _ => painted_row(line, names, colour),
        });
        pieces.push(lines.collect::<Vec<_>>().join("\n"));
    }
    pieces
}

/// A row with colour right of the names, where there is nothing but what [`cell_text`] says.
///
/// The table itself gets no escapes because it would count them as characters.
fn painted_row(row: &str, names: usize, colour: Colour) -> String {
    let Some((start, _)) = row.char_indices().nth(names) else {
        return row.to_owned();
    };
    let (name, mut cells) = (&row[..start], row[start..].to_owned());
    for verdict in [Verdict::Passed, Verdict::Failed, Verdict::Missing] {
        let word = word(verdict);
        cells = cells.replace(word, &painted(word, Mood::of(verdict.is_good()), colour));
    }
    name.to_owned() + &cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn plain(outcome: &Outcome, width: usize) -> String {
        render(outcome, width, Colour::Off).join("\n\n")
    }

    #[test]
    fn times_go_first_when_there_is_no_room() {
        let text = plain(&samples::all_passed(), 40);
        assert!(text.contains("ready    ok\n"), "{text}");
        assert!(!text.contains("1.2 s"), "{text}");
    }

    #[test]
    fn names_keep_their_colour() {
        let tests = vec![samples::test("ok", "FAIL ok", &[Verdict::Passed])];
        let outcome = Outcome { tests, ..samples::empty() };
        let text = render(&outcome, 80, Colour::On).join("");
        assert!(text.contains("\nok\n  FAIL ok  \x1b[32mok\x1b[0m"), "{text}");
    }

    #[test]
    fn a_very_long_chain_shows_its_end_and_a_sum() {
        let mut verdicts = vec![Verdict::Passed; 50];
        verdicts[0] = Verdict::Prepared;
        verdicts[20] = Verdict::Failed;
        let chain = vec!["rust".to_owned(); 50];
        let tests = vec![samples::test("scenarios", "counted", &verdicts)];
        let text = plain(&Outcome { chain, tests, ..samples::empty() }, 80);
        insta::assert_snapshot!(text, @"
        test       1–46                  47 rust  48 rust  49 rust  50 rust
        ───────────────────────────────────────────────────────────────────
        scenarios
          counted  1 ready 44 ok 1 FAIL  ok       ok       ok       ok
        ");
    }

    #[test]
    fn any_width_ends_and_shows_every_hop() {
        for width in [0, 1, 30, 80, usize::MAX] {
            let text = plain(&samples::long_chain(), width);
            assert!(text.contains("1 c") && text.contains("10 rust"), "{text}");
        }
    }
}
