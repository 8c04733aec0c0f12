// SPDX-License-Identifier: MIT OR Apache-2.0

//! The figures of `bench blackout` as `docs/performance.md` has them: a table, and pictures.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use selftests::measure::blackout::{FILES, MEMORY, OPEN, PRESERVE, SESSIONS, TOUCH};

use super::Column;
use super::blackout::{BLACKOUT, BOOT, HANDOVER, KEXEC, kib_a_gib};
use super::chart::{Bar, Chart};
use crate::failure::Failure;
use crate::project::Project;
use crate::run_folder::{GROWTH, PHASES};

const FOLDER: &str = "docs";
const PAGE: &str = "docs/performance.md";

/// What is between these lines of the page is written anew.
const BEGIN: &str = "<!-- figures -->";
const END: &str = "<!-- end of figures -->";

/// The phases of the blackout, with their names in the picture.
const PHASES_SHOWN: [(&str, &str); 6] = [
    (KEXEC, "kexec"),
    (BOOT, "boot"),
    (OPEN, "open"),
    (SESSIONS, "sessions"),
    (FILES, "files"),
    (MEMORY, "memory"),
];

/// The figures that grow with memory, with their names in the picture.
const GROWING: [(&str, &str); 4] =
    [(HANDOVER, "handover"), (PRESERVE, "preserve"), (MEMORY, "retrieve"), (TOUCH, "first use")];

/// Writes the page's figures and the pictures.
pub(super) fn write(project: &Project, columns: &[Column]) -> Result<()> {
    let path = project.folder.join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let page = replaced(&page, &format!("{}\n{}", table(columns), memory_table(columns)))?;
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    write_pictures(&project.folder.join(FOLDER), columns)
}

/// Writes the pictures into a folder.
pub(super) fn write_pictures(folder: &Path, columns: &[Column]) -> Result<()> {
    pictures(columns).try_for_each(|(name, picture)| {
        let path = folder.join(name);
        fs::write(&path, picture).with_context(|| format!("write {}", path.display()))
    })
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

/// The pictures that have figures.
fn pictures(columns: &[Column]) -> impl Iterator<Item = (&'static str, String)> {
    let growth = growth(columns);
    let growth = (!growth.groups.is_empty()).then(|| (GROWTH, growth.render()));
    [(PHASES, blackout(columns).render())].into_iter().chain(growth)
}

/// A bar for each case and list of kernels, with a part for each phase.
fn blackout(columns: &[Column]) -> Chart<'static> {
    let cases = names(columns).filter_map(|name| case_of(name, BLACKOUT));
    let group = |case: &str| {
        let bars = columns.iter().filter_map(|column| {
            let of = |figure| column.instructions(&format!("{case}: {figure}"));
            let parts = PHASES_SHOWN.map(|(figure, _)| of(figure).unwrap_or(0)).into();
            Some(Bar { label: format!("{case}, {}", column.hops), parts, whole: of(BLACKOUT)? })
        });
        bars.collect()
    };
    Chart {
        title: "From reboot(2) to the last file retrieved, in million instructions",
        parts: PHASES_SHOWN.map(|(_, name)| name).into(),
        longest: 3_000_000_000,
        text: million,
        groups: cases.map(group).collect(),
    }
}

/// A bar for each list of kernels and case that a larger or smaller one is compared with, of what each MiB costs: where
/// the cost is in proportion, the bars of a list are equal.
fn growth(columns: &[Column]) -> Chart<'static> {
    let pairs: Vec<_> = columns.iter().flat_map(|column| &column.smaller).collect();
    let is_compared = |name: &&str| {
        let mut compared = pairs.iter().flat_map(|(name, smaller)| [*name, *smaller]);
        case_of(name, PRESERVE).is_some() && compared.any(|it| it == name)
    };
    let cases: Vec<_> =
        names(columns).filter(is_compared).filter_map(|name| case_of(name, PRESERVE)).collect();
    let bar = |column: &Column, case: &&str| {
        let figure = |name| {
            let name = format!("{case}: {name}");
            column.figures.iter().find(|figure| figure.name == name)
        };
        let mib = u64::try_from(figure(PRESERVE)?.count.max(1)).ok()?;
        let of = |name| figure(name).map_or(0, |it| it.instructions / mib);
        let parts: Vec<_> = GROWING.map(|(figure, _)| of(figure)).into();
        let whole = parts.iter().sum();
        Some(Bar { label: format!("{case}, {}", column.hops), parts, whole })
    };
    let group = |column| cases.iter().filter_map(|case| bar(column, case)).collect();
    let groups = columns.iter().map(group).filter(|group: &Vec<_>| !group.is_empty());
    Chart {
        title: "A MiB of memory, in thousand instructions",
        parts: GROWING.map(|(_, name)| name).into(),
        longest: 3_000_000,
        text: |instructions| format!("{}", instructions / 1_000),
        groups: groups.collect(),
    }
}

/// The case of a figure.
fn case_of<'n>(name: &'n str, figure: &str) -> Option<&'n str> {
    name.strip_suffix(figure)?.strip_suffix(": ")
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
    fn pictures_show_what_was_measured() {
        let mut columns = columns();
        let names =
            |columns: &[Column]| pictures(columns).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&columns), [PHASES]);
        let all = blackout(&columns).render();
        assert!(all.contains("… 9000") && all.contains("12.3"), "{all}");

        let figures = [("64 MiB", 64, 6_400_000), ("256 MiB", 256, 51_200_000)];
        let figures = figures.iter().flat_map(|(case, count, instructions)| {
            let of = |name, instructions| Figure {
                name: format!("{case}: {name}"),
                count: *count,
                instructions,
            };
            [of(PRESERVE, *instructions), of(HANDOVER, 2 * *instructions)]
        });
        columns[1].figures = figures.collect();
        let [small, large] = ["64 MiB", "256 MiB"].map(|case| format!("{case}: {PRESERVE}"));
        columns[1].smaller = [(large, small)].into();
        assert_eq!(names(&columns), [PHASES, GROWTH]);
        let growth = growth(&columns).groups;
        let wholes: Vec<Vec<_>> = growth
            .iter()
            .map(|group| group.iter().map(|bar| (&*bar.label, bar.whole)).collect())
            .collect();
        assert_eq!(wholes, [[("64 MiB, rust → rust", 300_000), ("256 MiB, rust → rust", 600_000)]]);
    }
}
