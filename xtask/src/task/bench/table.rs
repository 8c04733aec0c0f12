// SPDX-License-Identifier: MIT OR Apache-2.0

//! The figures as a table for people.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use crate::task::bench::{Column, Figure};

/// Only the header has a line.
const STYLE: TableStyle = NOTHING.header_separator(LineStyle::none().fill('─'));

/// A table of all figures, by the thousand, which the unit is: a row for each operation, the first column is what others are compared
/// with.
pub(crate) fn render(columns: &[Column], unit: &str) -> String {
    let mut table = Table::new();
    table.load_style(STYLE);
    let mut header = vec![unit.to_owned(), "n".to_owned()];
    for (at, column) in columns.iter().enumerate() {
        header.push(column.hops.clone());
        if at > 0 {
            header.push("times fewer".into());
        }
    }
    let Some(most) = Column::most(columns) else {
        return table.to_string();
    };
    let grows = most.figures.iter().any(|figure| most.next_smaller(figure).is_some());
    if grows {
        header.extend(columns.iter().map(|column| format!("growth {}", column.hops)));
    }
    let count = header.len();
    table.set_header(header);
    for figure in &most.figures {
        let mut cells = vec![figure.name.clone(), figure.count.to_string()];
        let first = columns.first().and_then(|column| column.same(figure));
        for (at, column) in columns.iter().enumerate() {
            let this = column.same(figure);
            cells.push(this.map_or(String::new(), |this| thousands(this.instructions)));
            if at > 0 {
                // A figure of zero has no ratio.
                let some = this.filter(|this| this.instructions > 0);
                let times = first.zip(some).map(|(one, other)| {
                    format!("{:.2}", ratio(one.instructions, other.instructions))
                });
                cells.push(times.unwrap_or_default());
            }
        }
        if grows {
            cells.extend(columns.iter().map(|column| growth(column, figure)));
        }
        table.add_row(cells);
    }
    for column in 1..count {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// How many times more the same operation took than with the next smaller count.
fn growth(column: &Column, figure: &Figure) -> String {
    match column.same(figure).zip(column.next_smaller(figure)) {
        Some((this, smaller)) => format!("{:.1}", ratio(this.instructions, smaller.instructions)),
        None => String::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}

fn thousands(instructions: u64) -> String {
    format!("{}.{}", instructions / 1000, instructions % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_ratio_and_growth() {
        let figure =
            |name: &str, count, instructions| Figure { name: name.into(), count, instructions };
        let column = |hops: &str, factor: u64| Column {
            hops: hops.into(),
            figures: vec![
                figure("create", 1000, 20_000 * factor),
                figure("create", 10_000, 1_500_000 * factor),
            ],
            ..Column::default()
        };
        let text = render(&[column("c → c", 3), column("rust → rust", 1)], "thousand instructions");
        let row = text.lines().find(|line| line.contains("10000")).unwrap();
        for part in ["create", "4500.0", "1500.0", "3.00", "75.0"] {
            assert!(row.contains(part), "{part} in {row}");
        }
    }
}
