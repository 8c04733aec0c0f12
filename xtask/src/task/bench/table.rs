// SPDX-License-Identifier: MIT OR Apache-2.0

//! The figures as a table for people.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use crate::task::bench::Column;

/// Only the header has a line.
const STYLE: TableStyle = NOTHING.header_separator(LineStyle::none().fill('─'));

/// A table of all figures: a row for each operation, the first column is what others are compared
/// with.
pub(crate) fn render(columns: &[Column]) -> String {
    let mut table = Table::new();
    table.load_style(STYLE);
    let mut header = vec!["thousand instructions".to_owned(), "n".to_owned()];
    for (at, column) in columns.iter().enumerate() {
        header.push(column.hops.clone());
        if at > 0 {
            header.push("times fewer".into());
        }
    }
    header.extend(columns.iter().map(|column| format!("growth {}", column.hops)));
    let count = header.len();
    table.set_header(header);
    let Some(first) = columns.first() else {
        return table.to_string();
    };
    for (row, figure) in first.figures.iter().enumerate() {
        let mut cells = vec![figure.name.clone(), figure.count.to_string()];
        for (at, column) in columns.iter().enumerate() {
            let Some(this) = column.figures.get(row) else {
                continue;
            };
            cells.push(thousands(this.instructions));
            if at > 0 {
                cells.push(format!("{:.2}", ratio(figure.instructions, this.instructions)));
            }
        }
        cells.extend(columns.iter().map(|column| growth(column, row)));
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
fn growth(column: &Column, row: usize) -> String {
    let Some(this) = column.figures.get(row) else {
        return String::new();
    };
    match column.next_smaller(this) {
        Some(smaller) => format!("{:.1}", ratio(this.instructions, smaller.instructions)),
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
    use crate::task::bench::Figure;

    #[test]
    fn a_row_has_ratio_and_growth() {
        let figure =
            |name: &str, count, instructions| Figure { name: name.into(), count, instructions };
        let column = |hops: &str, factor: u64| Column {
            hops: hops.into(),
            is_ours: false,
            figures: vec![
                figure("create", 1000, 20_000 * factor),
                figure("create", 10_000, 1_500_000 * factor),
            ],
            memory: Vec::new(),
        };
        let text = render(&[column("c → c", 3), column("rust → rust", 1)]);
        let row = text.lines().find(|line| line.contains("10000")).unwrap();
        for part in ["create", "4500.0", "1500.0", "3.00", "75.0"] {
            assert!(row.contains(part), "{part} in {row}");
        }
    }
}
