// SPDX-License-Identifier: MIT OR Apache-2.0

//! What may not cost more, or grow faster.

use std::fmt;

use selftests::measure::{BY_IOCTL, BY_LIBLU, BY_LUOD, CALL_OFF, RESTORE, STOP};

use crate::task::bench::{Column, Figure, LEAVE_CLIENTS, Weight};

/// Instructions that a call may take beyond those of the raw ioctl: through liblu, and by luod, which is
/// another process.
const BESIDE: [(&str, &str, i64); 2] = [("liblu", BY_LIBLU, 200), ("luod", BY_LUOD, 100_000)];

/// The cost of a call beyond the raw ioctl.
#[derive(Debug, PartialEq)]
pub(super) struct Beside<'a> {
    by: &'a str,
    name: &'a str,
    hops: &'a str,
    /// How often it was called.
    count: usize,
    /// Instructions.
    more: i64,
    most: i64,
    /// Whether the limit holds: C's commands take longer for each session that there is, also those that luod
    /// calls besides.
    is_limited: bool,
}

/// Sessions up to which limits hold for C.
const FEW: usize = 100;

impl Beside<'_> {
    pub(super) fn holds(&self) -> bool {
        !self.is_limited || self.more <= self.most
    }
}

impl fmt::Display for Beside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, name, hops, count, more, most, is_limited: _ } = self;
        write!(
            f,
            "{by}, {name}, {count} times ({hops}): {more:+} instructions a call (limit {most})"
        )
    }
}

/// Calls that were measured by the raw ioctl too.
pub(super) fn beside_ioctls(column: &Column) -> Vec<Beside<'_>> {
    let pairs = column.figures.iter().filter_map(|this| {
        let of = |(by, end, most): (&'static str, &str, i64)| {
            this.name.strip_suffix(end).map(|name| (by, name, most))
        };
        let (by, name, most) = BESIDE.into_iter().find_map(of)?;
        let is_raw =
            |it: &&Figure| it.name.strip_suffix(BY_IOCTL) == Some(name) && it.count == this.count;
        let raw = column.figures.iter().find(is_raw)?;
        let whole = |figure: &Figure| i64::try_from(figure.instructions).unwrap_or(i64::MAX);
        let count = i64::try_from(this.count.max(1)).unwrap_or(i64::MAX);
        let more = whole(this).saturating_sub(whole(raw)) / count;
        let is_limited = column.is_ours || this.count <= FEW;
        Some(Beside { by, name, hops: &column.hops, count: this.count, more, most, is_limited })
    });
    pairs.collect()
}

/// The limit of growth: more than this, for ten times as many, is neither linear nor n log n.
const MOST_GROWTH: u64 = 20;

/// Instructions that are by chance: an interrupt of the timer more or less.
const CHANCE: u64 = 100_000;

/// Figures that are more than [`MOST_GROWTH`] times those of a tenth as many.
pub(super) fn out_of_proportion(column: &Column) -> Vec<String> {
    // The end of a kernel has a limit of its own, and too little of it is luod's to be compared.
    let others = column.figures.iter().filter(|figure| figure.name != LEAVE_CLIENTS);
    let grows = others.filter(|figure| {
        tenth(column, figure).is_some_and(|tenth| {
            figure.instructions > tenth.instructions.max(CHANCE).saturating_mul(MOST_GROWTH)
        })
    });
    let text = |figure: &Figure| {
        format!("{}: ten times as many take more than {MOST_GROWTH} times as long", figure.name)
    };
    grows.map(text).collect()
}

/// The same operation with a tenth of the count.
fn tenth<'c>(column: &'c Column, figure: &Figure) -> Option<&'c Figure> {
    column.next_smaller(figure).filter(|it| it.count * 10 == figure.count)
}

/// The limit of the cost of a client of an update, compared with a tenth as many: 13 tenths.
const MOST_TENTHS: u64 = 13;

/// Instructions from the last client's answer to `reboot(2)`.
const MOST_TO_LEAVE: u64 = 50_000_000;

/// Bytes of luod for a client.
const MOST_MEMORY: u64 = 64 << 10;

/// Memory for each of many, in words.
pub(super) fn memory(column: &Column) -> Vec<String> {
    let line = |it: &Weight| {
        let (kib, most) = (it.each().div_ceil(1024), MOST_MEMORY >> 10);
        let Weight { name, count, .. } = it;
        format!("{name}, {count} clients ({}): {kib} KiB a client (limit {most})", column.hops)
    };
    column.memory.iter().map(line).collect()
}

/// What an update with many clients breaks.
pub(super) fn of_updates(column: &Column) -> Vec<String> {
    let hops = &column.hops;
    let mut broken = Vec::new();
    for figure in &column.figures {
        let grows = tenth(column, figure)
            .is_some_and(|it| figure.instructions > it.instructions.saturating_mul(MOST_TENTHS));
        if figure.name == CALL_OFF && grows {
            let count = figure.count;
            broken.push(format!(
                "a client of {count} costs 1.3 times one of a tenth as many ({hops})"
            ));
        }
        if figure.name == LEAVE_CLIENTS && figure.instructions > MOST_TO_LEAVE {
            let count = figure.count;
            broken.push(format!(
                "luod leaves later than 50 ms after the last of {count} clients ({hops})"
            ));
        }
    }
    for weight in &column.memory {
        if weight.each() > MOST_MEMORY {
            broken.push(format!("{}: {} bytes a client ({hops})", weight.name, weight.each()));
        }
    }
    broken
}

/// Instructions that the VMM may take to restore a guest.
const MOST_TO_RESTORE: u64 = 20_000_000;

/// What of a VMM grows with the memory of its guest, beyond what the kernel's RETRIEVE takes, or takes too long.
pub(super) fn of_guests(column: &Column) -> Vec<String> {
    let mut broken = Vec::new();
    for figure in column.figures.iter().filter(|it| [STOP, RESTORE].contains(&&*it.name)) {
        let Figure { name, count, instructions } = figure;
        let hops = &column.hops;
        // For eight times the memory. These figures differ by a third from one run to the next.
        let grows = column
            .next_smaller(figure)
            .is_some_and(|it| *instructions > it.instructions.saturating_mul(2));
        if grows {
            broken.push(format!("{name}, {count}: it grows with the memory ({hops})"));
        }
        if name == RESTORE && *instructions > MOST_TO_RESTORE {
            broken.push(format!("{name}, {count}: {instructions} instructions ({hops})"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(figures: &[(&str, usize, u64)]) -> Column {
        let figure = |&(name, count, instructions): &(&str, usize, u64)| Figure {
            name: name.into(),
            count,
            instructions,
        };
        let figures = figures.iter().map(figure).collect();
        Column { hops: "rust,rust".into(), is_ours: true, figures, ..Column::default() }
    }

    #[test]
    fn a_call_is_compared_with_the_raw_one() {
        let column = column(&[
            ("PRESERVE_FD", 16, 9_999),
            ("PRESERVE_FD by ioctl", 1_000, 5_000_000),
            ("PRESERVE_FD by liblu", 1_000, 5_040_000),
            ("open by ioctl", 10, 1_000),
            ("open by luod", 10, 2_001_000),
            ("open by luod", 100, 1_000),
        ]);
        let text: Vec<_> = beside_ioctls(&column).iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "liblu, PRESERVE_FD, 1000 times (rust,rust): +40 instructions a call (limit 200)",
                "luod, open, 10 times (rust,rust): +200000 instructions a call (limit 100000)",
            ]
        );
        let holds: Vec<_> = beside_ioctls(&column).iter().map(Beside::holds).collect();
        assert_eq!(holds, [true, false]);
    }

    #[test]
    fn growth_out_of_proportion_is_named() {
        let column = column(&[
            ("linear", 1_000, 500_000),
            ("linear", 10_000, 9_000_000),
            ("quadratic", 1_000, 500_000),
            ("quadratic", 10_000, 40_000_000),
            ("by chance", 1_000, 0),
            ("by chance", 10_000, 700_000),
            ("single", 1, 7),
        ]);
        let text = "quadratic: ten times as many take more than 20 times as long";
        assert_eq!(out_of_proportion(&column), [text]);
    }

    #[test]
    fn a_guest_has_limits() {
        let good = [(STOP, 128, 100), (RESTORE, 128, 15_000_000), (RESTORE, 1024, 20_000_000)];
        assert!(of_guests(&column(&good)).is_empty());
        let bad = [(STOP, 128, 100), (STOP, 1024, 201), (RESTORE, 1024, 20_000_001)];
        assert_eq!(of_guests(&column(&bad)).len(), 2);
    }

    #[test]
    fn an_update_has_limits() {
        let good =
            [(CALL_OFF, 10, 1_000), (CALL_OFF, 100, 13_000), (LEAVE_CLIENTS, 10, 50_000_000)];
        assert!(of_updates(&column(&good)).is_empty());
        let bad = [(CALL_OFF, 10, 1_000), (CALL_OFF, 100, 13_001), (LEAVE_CLIENTS, 10, 50_000_001)];
        let mut bad = column(&bad);
        bad.memory = vec![Weight { name: "luod".into(), count: 2, bytes: (128 << 10) + 2 }];
        assert_eq!(of_updates(&bad).len(), 3);
    }
}
