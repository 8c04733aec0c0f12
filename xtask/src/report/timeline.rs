// SPDX-License-Identifier: MIT OR Apache-2.0

//! When what happened in each live update, with a bar for each moment.

use std::time::Duration;

use super::text::readable;
use crate::outcome::{Mark, Update};

/// A longer bar shows nothing more.
const LONGEST_BAR: usize = 60;

/// The last cell of a bar, by eighths.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// More updates than this are not all shown.
const ALL_SHOWN: usize = 6;

/// How many are shown then.
const LAST_SHOWN: usize = 3;

/// The scale that all lines share, so that bars of different updates can be compared.
struct Scale {
    /// Characters of the longest name.
    names: usize,
    /// Characters of the longest number.
    numbers: usize,
    /// Length of a full bar.
    bar: usize,
    /// The time that a full bar stands for.
    longest: Duration,
}

/// Renders the updates one below the other; nothing at all if there is none.
///
/// The times count from the reboot call, in milliseconds. Where `width` leaves no room, the bars
/// are left out; names and times are always whole.
/// Of many updates the last few are shown.
pub(crate) fn render(updates: &[Update], width: usize) -> String {
    let hidden = if updates.len() > ALL_SHOWN { updates.len() - LAST_SHOWN } else { 0 };
    let updates = updates.get(hidden..).unwrap_or_default();
    let scale = Scale::new(updates, width);
    let others = (hidden > 0).then(|| format!("{hidden} updates before these: see report.json\n"));
    let blocks = updates.iter().map(|update| block(update, &scale));
    others.into_iter().chain(blocks).collect::<Vec<_>>().join("\n")
}

impl Scale {
    fn new(updates: &[Update], width: usize) -> Self {
        let marks = || updates.iter().flat_map(|update| &update.marks);
        let names = marks().map(|mark| length(&readable(&mark.name))).max().unwrap_or(0);
        let numbers = marks().map(|mark| length(&milliseconds(mark.after))).max().unwrap_or(0);
        let taken = length(&line("", names, "", numbers, "-")) - 1;
        let longest = marks().map(|mark| mark.after).max().unwrap_or_default();
        Self { names, numbers, bar: width.saturating_sub(taken).min(LONGEST_BAR), longest }
    }
}

/// A heading and the marks of one update.
fn block(update: &Update, scale: &Scale) -> String {
    let by = update.by.map(|command| format!(", by `{command}`")).unwrap_or_default();
    let heading = format!("update {}: {} → {}{by}", update.hop, update.from, update.to);
    let mut block = format!("{}\n", readable(&heading));
    if update.marks.is_empty() {
        block.push_str("  nothing is known of it\n");
    }
    for Mark { name, after } in &update.marks {
        let bar = bar(*after, scale);
        let number = milliseconds(*after);
        block.push_str(&line(&readable(name), scale.names, &number, scale.numbers, &bar));
        block.push('\n');
    }
    block
}

fn line(name: &str, names: usize, number: &str, numbers: usize, bar: &str) -> String {
    format!("  {name:<names$}  {number:>numbers$} ms  {bar}").trim_end().to_owned()
}

/// A bar as long as the time, never empty but for zero.
fn bar(after: Duration, scale: &Scale) -> String {
    let full = scale.bar * 8;
    // No overflow: a duration has less than 2^94 nanoseconds, and the bar at most 480 eighths.
    let eighths = after.as_nanos() * (full as u128) / scale.longest.as_nanos().max(1);
    let least = usize::from(!after.is_zero());
    let eighths = usize::try_from(eighths).unwrap_or(full).max(least).min(full);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::update;

    #[test]
    fn no_update_is_no_text() {
        assert_eq!(render(&[], 80), "");
    }

    #[test]
    fn of_many_updates_the_last_are_shown() {
        let updates: Vec<_> =
            (1..=49).map(|hop| Update { hop, ..update(1, &[("init", 1000)]) }).collect();
        let text = render(&updates, 80);
        assert!(text.starts_with("46 updates before these"), "{text}");
        assert!(text.contains("update 47") && text.contains("update 49"), "{text}");
        assert!(!text.contains("update 46:"), "{text}");
    }

    #[test]
    fn bars_of_all_updates_have_one_scale() {
        let updates = [
            update(
                1,
                &[
                    ("old kernel's last line", 41_250),
                    ("new kernel's first line", 310_000),
                    ("init", 812_460),
                    ("device opened", 820_000),
                    ("session retrieved", 820_000),
                ],
            ),
            Update {
                by: Some("systemctl kexec"),
                ..update(2, &[("new kernel's first line", 620_000), ("init", 1_640_000)])
            },
        ];
        insta::assert_snapshot!(render(&updates, 80), @"
        update 1: c → c
          old kernel's last line     41.2 ms  █
          new kernel's first line   310.0 ms  ███████▉
          init                      812.5 ms  ████████████████████▊
          device opened             820.0 ms  █████████████████████
          session retrieved         820.0 ms  █████████████████████

        update 2: c → c, by `systemctl kexec`
          new kernel's first line   620.0 ms  ███████████████▉
          init                     1640.0 ms  ██████████████████████████████████████████
        ");
    }

    #[test]
    fn missing_zero_and_equal_marks() {
        let updates = [update(1, &[]), update(2, &[("reboot call", 0), ("same", 1), ("same", 1)])];
        insta::assert_snapshot!(render(&updates, 60), @"
        update 1: c → c
          nothing is known of it

        update 2: c → c
          reboot call  0.0 ms
          same         0.0 ms  █████████████████████████████████████
          same         0.0 ms  █████████████████████████████████████
        ");
        insta::assert_snapshot!(render(&[update(3, &[("reboot call", 0)])], 60), @"
        update 3: c → c
          reboot call  0.0 ms
        ");
    }

    #[test]
    fn without_room_there_is_no_bar() {
        let updates = [update(1, &[("new kernel's first line", 1500)])];
        let narrow = "update 1: c → c\n  new kernel's first line  1.5 ms\n";
        assert_eq!(render(&updates, 20), narrow);
        assert_eq!(render(&updates, 0), narrow);
    }
}
