// SPDX-License-Identifier: MIT OR Apache-2.0

//! The gap of guests in an update of their host: what took the time, from the log of the machine.

mod picture;

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use selftests::witness::Report;

pub(crate) use picture::picture;

/// A VMM, by what it says.
struct Vmm {
    /// The guest, for people.
    guest: &'static str,
    stopped: &'static str,
    claimed: &'static str,
    running: &'static str,
}

/// Those of the suite `vm` whose guests are real.
const VMMS: [Vmm; 4] = [
    Vmm {
        guest: "QEMU, KVM",
        stopped: "lu-qemu: kvm stops for an update",
        claimed: "lu-qemu: kvm comes",
        running: "lu-qemu: kvm is running",
    },
    Vmm {
        guest: "QEMU, KVM, 1 GiB",
        stopped: "lu-qemu: large stops for an update",
        claimed: "lu-qemu: large comes",
        running: "lu-qemu: large is running",
    },
    Vmm {
        guest: "QEMU, TCG",
        stopped: "lu-qemu: tcg stops for an update",
        claimed: "lu-qemu: tcg comes",
        running: "lu-qemu: tcg is running",
    },
    Vmm {
        guest: "our VMM, 2 CPUs",
        stopped: "vmm: paused",
        claimed: "vmm: claimed",
        running: "vmm: running",
    },
];

/// What the host does meanwhile, in order: its name, and the words of the line that ends it.
const HOST: [(&str, &str); 4] = [
    ("old host stops", "Starting new kernel"),
    ("kexec", "Linux version "),
    ("kernel boots", "systemd[1]: systemd "),
    ("host starts", "Started luod.service"),
];

/// A part of the gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
}

/// The gap of a guest in one update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) guest: &'static str,
    pub(crate) phases: Vec<Phase>,
}

impl Gap {
    /// All of it.
    pub(crate) fn whole(&self) -> Duration {
        self.phases.iter().map(|phase| phase.took).sum()
    }
}

/// A line of the machine's log: when the host saw it, and its text.
fn line(text: &str) -> Option<(Duration, &str)> {
    let (time, rest) = text.trim_start().split_once(' ')?;
    let seconds: f64 = time.parse().ok()?;
    Some((Duration::try_from_secs_f64(seconds).ok()?, rest))
}

/// The gaps of all guests in each update of a log, the first update first. Guests that it does not show are left out.
pub(crate) fn gaps(log: &str) -> Vec<Vec<Gap>> {
    let lines: Vec<_> = log.lines().filter_map(line).collect();
    let left = HOST.first().map_or("", |(_, words)| words);
    let is_left = |(_, text): &(Duration, &str)| text.contains(left);
    let mut places: Vec<_> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| is_left(line))
        .map(|(place, _)| place)
        .collect();
    places.push(lines.len());
    let mut begin = 0;
    let mut all = Vec::new();
    for pair in places.windows(2) {
        let &[left, end] = pair else { continue };
        let (Some(before), Some(update)) = (lines.get(begin..left), lines.get(left..end)) else {
            continue;
        };
        all.push(VMMS.iter().filter_map(|vmm| gap(vmm, before, update)).collect());
        begin = left;
    }
    all
}

/// The gap of a guest; `before` are the lines of the old kernel until it is left, and `update` those from there on.
fn gap(vmm: &Vmm, before: &[(Duration, &str)], update: &[(Duration, &str)]) -> Option<Gap> {
    // The last time: an earlier update may have been called off.
    let (mut time, _) = *before.iter().rev().find(|(_, text)| text.contains(vmm.stopped))?;
    let mut rest = update;
    let mut phases = Vec::new();
    let own = [("luod, unit starts", vmm.claimed), ("guest comes back", vmm.running)];
    for (name, end) in HOST.into_iter().chain(own) {
        let place = rest.iter().position(|(_, text)| text.contains(end))?;
        let (at, _) = *rest.get(place)?;
        phases.push(Phase { name, took: at.saturating_sub(time) });
        time = at;
        rest = rest.get(place..)?;
    }
    Some(Gap { guest: vmm.guest, phases })
}

/// The gaps as a table, in milliseconds.
pub(crate) fn table(gaps: &[Gap]) -> String {
    let Some(first) = gaps.first() else { return "no guest has a gap in this log\n".into() };
    let mut table = Table::new();
    table.load_style(NOTHING);
    let names = first.phases.iter().map(|phase| phase.name);
    table.set_header(["ms"].into_iter().chain(names).chain(["all"]));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for gap in gaps {
        let times = gap.phases.iter().map(|phase| phase.took.as_millis().to_string());
        let all = gap.whole().as_millis().to_string();
        table.add_row([gap.guest.to_owned()].into_iter().chain(times).chain([all]));
    }
    format!("{table}\n")
}

/// Gaps of several updates, as a table in Markdown: phases in milliseconds.
pub(crate) fn figures(rows: &[(String, Gap)]) -> String {
    let names = rows.first().map(|(_, gap)| gap.phases.iter().map(|phase| phase.name));
    let names: Vec<_> = names.into_iter().flatten().collect();
    let mut text = format!("| guest | update | {} | all |\n", names.join(" | "));
    text.push_str(&format!("| --- | --- |{}\n", " ---: |".repeat(names.len() + 1)));
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|(_, gap)| gap.guest);
    for (update, gap) in rows {
        let times: Vec<_> =
            gap.phases.iter().map(|phase| phase.took.as_millis().to_string()).collect();
        let all = gap.whole().as_millis();
        let _ = writeln!(text, "| {} | {update} | {} | {all} |", gap.guest, times.join(" | "));
    }
    text
}

/// What the guests say after the update: the last report of each.
pub(crate) fn reports(log: &str) -> Vec<(String, Report)> {
    let mut reports: Vec<(String, Report)> = Vec::new();
    for (_, text) in log.lines().filter_map(line) {
        let found = text.split_once("vm-test: guest ").and_then(|(_, rest)| rest.split_once(": "));
        let Some((name, report)) =
            found.and_then(|(name, line)| Some((name, Report::parse(line)?)))
        else {
            continue;
        };
        match reports.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = report,
            None => reports.push((name.to_owned(), report)),
        }
    }
    reports
}

/// What a guest has seen, in words.
pub(crate) fn words(name: &str, report: &Report) -> String {
    let mut text = format!(
        "{name}: {} pages verified, {} blocks of its disk, {} packets answered, {} wrong bytes, clocks or blocks",
        report.pages, report.blocks, report.answers, report.complaints
    );
    match report.gaps {
        0 => text.push_str("; its clock shows no gap"),
        gaps => {
            let _ = write!(
                text,
                "; its clock shows {gaps} gap(s), the longest {} ms",
                report.longest_gap_ms
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest of our VMM, after an update that was called off.
    const LOG: &str = "\
   10.000 | [    1.0] vmm: paused at 5.5
   10.500 | [    1.5] vmm: resumed at 6.0
   20.000 | [   11.0] vmm[77]: vmm: paused at 15.5
   20.750 | [   11.7] kexec_core: Starting new kernel
   21.000 | [    0.0] Linux version 7.3.4-rust
   23.000 | [    2.0] systemd[1]: systemd 262 running in system mode
   26.000 | [    5.0] systemd[1]: Started luod.service - Agent of live updates.
   27.500 | [    6.5] vmm[80]: vmm: claimed at 6.4
   27.625 | [    6.6] vmm[80]: vmm: running at 6.6
   28.000 | [    7.0] vm-test: guest ours: witness {\"number\":7,\"monotonic_ns\":1,\"realtime_ns\":1,\"pages\":9,\"rounds\":1,\"blocks\":2,\"answers\":0,\"lost\":0,\"random\":0,\"gaps\":1,\"longest_gap_ms\":7600,\"last_gap_ms\":7600,\"complaints\":0,\"first_complaint\":\"\"}
";

    #[test]
    fn a_gap_is_that_of_the_last_update() {
        let updates = gaps(LOG);
        let [gaps] = &updates[..] else { panic!("{updates:?}") };
        let [gap] = &gaps[..] else { panic!("{gaps:?}") };
        let times: Vec<_> = gap.phases.iter().map(|phase| phase.took.as_millis()).collect();
        assert_eq!(times, [750, 250, 2000, 3000, 1500, 125]);
        assert_eq!(gap.whole().as_millis(), 7625);
        let table = table(gaps);
        let row = table.lines().last().unwrap_or_default().split_whitespace();
        let row: Vec<_> = row.collect();
        assert_eq!(
            row,
            ["our", "VMM,", "2", "CPUs", "750", "250", "2000", "3000", "1500", "125", "7625"]
        );
        let picture = picture(gaps, "one < two");
        assert!(picture.contains("<title>kernel boots: 2000 ms</title>"), "{picture}");
        assert!(picture.contains("one &lt; two") && picture.contains("7.6 s"), "{picture}");
    }

    #[test]
    fn a_log_without_an_update_has_no_gap() {
        assert!(gaps("").is_empty());
        assert!(gaps(&LOG[..LOG.find("Starting").unwrap()]).is_empty());
        assert!(table(&[]).contains("no guest"));
    }

    #[test]
    fn reports_are_the_last_of_each_guest() {
        let reports = reports(LOG);
        let [(name, report)] = &reports[..] else { panic!("{reports:?}") };
        insta::assert_snapshot!(words(name, report), @"ours: 9 pages verified, 2 blocks of its disk, 0 packets answered, 0 wrong bytes, clocks or blocks; its clock shows 1 gap(s), the longest 7600 ms");
    }
}
