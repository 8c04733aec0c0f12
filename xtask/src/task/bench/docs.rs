// SPDX-License-Identifier: MIT OR Apache-2.0

//! The figures of `bench blackout` as `docs/performance.md` has them: a table, and a picture.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use selftests::measure::blackout::{FILES, MEMORY, OPEN, SESSIONS};

use super::Column;
use super::blackout::{BLACKOUT, BOOT, KEXEC, kib_a_gib};
use crate::drawing::{COLOURS, document, part, round, sheet, square, text};
use crate::failure::Failure;
use crate::project::Project;

const PAGE: &str = "docs/performance.md";
const PICTURE: &str = "docs/blackout.svg";

/// What is between these lines of the page is written anew.
const BEGIN: &str = "<!-- figures -->";
const END: &str = "<!-- end of figures -->";

/// The parts of a bar, with their names in the picture.
const PARTS: [(&str, &str); 6] = [
    (KEXEC, "kexec"),
    (BOOT, "boot"),
    (OPEN, "open"),
    (SESSIONS, "sessions"),
    (FILES, "files"),
    (MEMORY, "memory"),
];

/// Writes the page's figures and the picture.
pub(super) fn write(project: &Project, columns: &[Column]) -> Result<()> {
    let path = project.folder.join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let page = replaced(&page, &format!("{}\n{}", table(columns), memory_table(columns)))?;
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    write_picture(&project.folder.join(PICTURE), columns)
}

/// Writes the picture.
pub(super) fn write_picture(path: &Path, columns: &[Column]) -> Result<()> {
    fs::write(path, picture(columns)).with_context(|| format!("write {}", path.display()))
}

/// The page with other figures.
fn replaced(page: &str, figures: &str) -> Result<String> {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.ok_or_else(|| {
        Failure::new(
            format!("{PAGE} has no place for figures"),
            format!("put a line `{BEGIN}` and a line `{END}` there"),
        )
    })?;
    Ok(format!("{before}{BEGIN}\n{figures}{END}{after}"))
}

/// A table of the memory that PRESERVE takes.
fn memory_table(columns: &[Column]) -> String {
    let mut table = heading("KiB a GiB", columns);
    let most = columns.iter().max_by_key(|column| column.memory.len());
    for weight in most.iter().flat_map(|column| &column.memory) {
        let _ = write!(table, "| {} |", weight.name);
        for column in columns {
            let same = column.memory.iter().find(|it| it.name == weight.name);
            let cell = same.map_or_else(|| "-".into(), |it| kib_a_gib(it).to_string());
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table
}

/// The names of all figures.
fn names(columns: &[Column]) -> impl Iterator<Item = &str> {
    let most = Column::most(columns).into_iter();
    most.flat_map(|column| column.figures.iter().map(|figure| &*figure.name))
}

/// Million instructions: three digits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn million(instructions: u64) -> String {
    let million = instructions as f64 / 1e6;
    match instructions {
        0..10_000_000 => format!("{million:.2}"),
        10_000_000..100_000_000 => format!("{million:.1}"),
        _ => format!("{million:.0}"),
    }
}

/// The first lines of a table with a column for each list of hops.
fn heading(first: &str, columns: &[Column]) -> String {
    let mut table = format!("| {first} |");
    for column in columns {
        let _ = write!(table, " {} |", column.hops);
    }
    table.push_str("\n| --- |");
    table.push_str(&" ---: |".repeat(columns.len()));
    table.push('\n');
    table
}

fn table(columns: &[Column]) -> String {
    let mut table = heading("million instructions", columns);
    for name in names(columns) {
        let _ = write!(table, "| {name} |");
        for column in columns {
            let cell = column.instructions(name).map_or_else(|| "-".into(), million);
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 80.0;
const BAR: f64 = 18.0;
const ROW: f64 = 24.0;

/// A bar is cut here: the others would not be seen beside it.
const LONGEST: u64 = 3_000_000_000;

/// A bar for each case and list of kernels, with a colour for each phase.
#[expect(clippy::cast_precision_loss, reason = "tenths of a point are drawn")]
fn picture(columns: &[Column]) -> String {
    let scale = (WIDTH - LEFT - RIGHT) / LONGEST as f64;
    let mut all = sheet(12);
    let title = "From reboot(2) to the last file retrieved, in million instructions";
    all = all.add(text(title, 10.0, 22.0, "start").set("font-weight", "bold"));
    let mut y = 40.0;
    let case = |name: &'_ str| name.strip_suffix(BLACKOUT)?.strip_suffix(": ").map(str::to_owned);
    for case in names(columns).filter_map(case) {
        for column in columns {
            let of = |figure| column.instructions(&format!("{case}: {figure}"));
            let Some(whole) = of(BLACKOUT) else { continue };
            let label = format!("{case}, {}", column.hops);
            all = all.add(text(label, LEFT - 8.0, y + 13.0, "end"));
            let mut done = 0;
            for ((figure, name), colour) in PARTS.into_iter().zip(COLOURS) {
                let count = of(figure).unwrap_or(0);
                let shown = count.min(LONGEST.saturating_sub(done));
                let x = LEFT + done as f64 * scale;
                let label = format!("{name}: {}", million(count));
                all = all.add(part(x, y, [shown as f64 * scale, BAR], colour, label));
                done += shown;
            }
            let cut = if whole > LONGEST { "… " } else { "" };
            let end = LEFT + done as f64 * scale + 6.0;
            all = all.add(text(format!("{cut}{}", million(whole)), round(end), y + 13.0, "start"));
            y += ROW;
        }
        y += 6.0;
    }
    for (number, ((_, name), colour)) in (0_u8..).zip(PARTS.into_iter().zip(COLOURS)) {
        let x = LEFT + 80.0 * f64::from(number);
        all = all.add(square(x, y, colour)).add(text(name, x + 16.0, y + 11.0, "start"));
    }
    document(all, WIDTH, y + 24.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Hops;
    use crate::task::bench::Figure;

    fn columns() -> Vec<Column> {
        let column = |hops: &str, figures: &[(&str, u64)]| {
            let mut column = Column::new(&hops.parse::<Hops>().unwrap());
            column.figures = figures
                .iter()
                .map(|(name, instructions)| Figure {
                    name: (*name).into(),
                    count: 1,
                    instructions: *instructions,
                })
                .collect();
            column
        };
        vec![
            column("c,c", &[("a: boot", 9_000_000_000), ("a: blackout", 9_000_000_001)]),
            column(
                "rust,rust",
                &[("a: boot", 45_600), ("a: blackout", 12_345_678), ("b: blackout", 123_456_789)],
            ),
        ]
    }

    #[test]
    fn the_table_has_each_figure_with_three_digits() {
        let expected = "| million instructions | c → c | rust → rust |\n| --- | ---: | ---: |\n\
                        | a: boot | 9000 | 0.05 |\n| a: blackout | 9000 | 12.3 |\n| b: blackout | - | 123 |\n";
        assert_eq!(table(&columns()), expected);
    }

    #[test]
    fn only_the_figures_of_the_page_change() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replaced(&page, "new\n").unwrap(), format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert!(replaced("a", "new").unwrap_err().to_string().contains(PAGE));
    }

    #[test]
    fn a_bar_that_is_too_long_is_cut() {
        let picture = picture(&columns());
        assert!(picture.contains("… 9000") && picture.contains("12.3"), "{picture}");
        let longest = format!("width=\"{}\"", WIDTH - LEFT - RIGHT);
        assert!(picture.contains(&longest), "{picture}");
    }
}
