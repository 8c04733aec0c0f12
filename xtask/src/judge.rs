// SPDX-License-Identifier: MIT OR Apache-2.0

//! Verdicts: the output of the guests, compared with the expected output.
//!
//! Anything but exactly one good verdict for each step of the plan is a failure.

mod in_log;

use std::path::{Path, PathBuf};
use std::time::Duration;

use selftests::event::Event;
use selftests::scenario::boot::Boot;
use selftests::scenario::{Kernel, Kernels, Side};
use selftests::test_device::BESIDE_FREEZE;

use crate::judge::in_log::Kexec;
use crate::outcome::{Cell, Mark, Retry, TestOutcome, Trouble, Update, Verdict};
use crate::suite::{CARRY, Kind, Role, Test, Vm, part_name, stage_name};
use crate::vm::{HopRecord, Record};

/// Lines of a step's output that a failure shows.
const SHOWN: usize = 30;

/// Whether a line of the kernel's log has a part in a verdict.
pub(crate) fn is_evidence(line: &str) -> bool {
    in_log::is_evidence(line) || line.contains(BESIDE_FREEZE)
}

/// A machine that was run.
pub(crate) struct Ran {
    pub(crate) vm: Vm,
    pub(crate) record: Record,
    pub(crate) log: PathBuf,
    /// Why this is its second run, if it is.
    pub(crate) retry: Option<Retry>,
}

impl Ran {
    /// The record of hop `number` of the whole run, if the machine came to it.
    fn hop(&self, number: usize) -> Option<&HopRecord> {
        self.record.hops.get(number.checked_sub(self.vm.first)?)
    }

    /// Whether hop `number` of the whole run is in the plan of this machine.
    fn plans(&self, number: usize) -> bool {
        (self.vm.first..self.vm.first + self.vm.plan.count()).contains(&number)
    }
}

/// Judges `test` in all its hops; the first machine runs the whole chain.
pub(crate) fn test(test: &Test, machines: &[&Ran]) -> TestOutcome {
    let count = machines.first().map_or(0, |chain| chain.vm.plan.count());
    let cells = (1..=count).filter_map(|hop| cell(test, machines, hop, count));
    TestOutcome { suite: test.suite.to_string(), name: test.name.clone(), cells: cells.collect() }
}

fn cell(test: &Test, machines: &[&Ran], hop: usize, count: usize) -> Option<Cell> {
    let chain = machines.first()?;
    match test.kind {
        Kind::Carry => Some(step(chain, hop, CARRY)),
        Kind::EveryHop => Some(step(chain, hop, &test.name)),
        Kind::Misbehave(_, at) => (at == hop).then(|| step(chain, hop, &test.name)),
        Kind::Staged | Kind::Service(_) => {
            let stage = |stage| step(chain, hop, &stage_name(&test.name, stage));
            Some(over_kexecs(hop, count, || stage(2), || stage(1)))
        }
        Kind::Scenario(scenario) => {
            let part = |side| {
                let is_played = scenario.part(side).is_some();
                is_played.then(|| step(chain, hop, &part_name(scenario.name, side)))
            };
            Some(in_parts(
                hop,
                (hop > 1).then(|| part(Side::After)).flatten(),
                part(Side::Here),
                (hop < count).then(|| part(Side::Before)).flatten(),
            ))
        }
        Kind::Alone(alone) => {
            // Of several lists, names begin with that of the list.
            let is_its = |ran: &Ran| Path::new(&ran.vm.name).ends_with(alone.machine);
            let ran = machines.iter().find(|ran| is_its(ran))?;
            let part = |side| step(ran, hop, &part_name(&test.name, side));
            Some(over_kexecs(hop, count, || part(Side::After), || part(Side::Before)))
        }
        Kind::FlbLog => {
            let steps = chain.vm.plan.hop(hop).map_or(&[][..], |hop| &hop.steps);
            Some(in_log::flb(hop, chain.hop(hop), Kexec::of(hop, count, steps)))
        }
        Kind::Boot(boot) => (hop == 2).then(|| booted(machines, boot, hop)),
        Kind::Panics(boot) => (hop == 2).then(|| panicked(machines, boot, hop)),
        Kind::KUnit => {
            let ran = machines.iter().find(|ran| ran.vm.role == Role::KUnit)?;
            let is_rust = |label: &str| luo(label) == Some(Kernel::Rust);
            let first = chain.vm.plan.hops().position(|hop| is_rust(&hop.label))?;
            (first + 1 == hop).then(|| in_log::kunit(hop, ran.hop(1)))
        }
        // The kernel saves in the first hop of a machine and restores in the second.
        Kind::KhoLog => {
            let before = hop.checked_sub(1)?;
            let ran = machines.iter().find(|ran| {
                ran.plans(before) && ran.plans(hop) && (before - ran.vm.first).is_multiple_of(2)
            })?;
            Some(in_log::kho(hop, ran.hop(hop)))
        }
    }
}

/// A test with a part after each kexec and one before the next.
fn over_kexecs(
    hop: usize,
    count: usize,
    after: impl FnOnce() -> Cell,
    before: impl FnOnce() -> Cell,
) -> Cell {
    in_parts(hop, (hop > 1).then(after), None, (hop < count).then(before))
}

/// A test in up to three parts: the first that is not good counts, then the first that has checked
/// something. A test that is only prepared gets its verdict in the next hop.
fn in_parts(hop: usize, after: Option<Cell>, here: Option<Cell>, before: Option<Cell>) -> Cell {
    let before = before.map(|cell| match cell.verdict {
        Verdict::Passed => Cell { verdict: Verdict::Prepared, ..cell },
        _ => cell,
    });
    let parts: Vec<Cell> = [after, here, before].into_iter().flatten().collect();
    let bad = parts.iter().position(|cell| !cell.verdict.is_good());
    let says = || parts.iter().position(|cell| cell.verdict != Verdict::NotApplicable);
    let first = bad.or_else(says).unwrap_or(0);
    parts.into_iter().nth(first).unwrap_or_else(|| missing(hop))
}

/// The implementation of LUO in the kernel with this label.
fn luo(label: &str) -> Option<Kernel> {
    Kernels::from_label(label).map(|kernels| kernels.luo)
}

/// The message of a kernel that refuses the handover that the boot scenario has damaged: its root
/// has the format of no kernel.
fn refusal(label: &str) -> &'static str {
    match luo(label) {
        Some(Kernel::C) => "not syncing: The incoming tree failed to initialize properly",
        _ => {
            "not syncing: liveupdate: the root of the previous kernel cannot be used: unknown format"
        }
    }
}

/// A machine whose second kernel must have panicked, and for this reason.
fn panicked(machines: &[&Ran], boot: &Boot, hop: usize) -> Cell {
    let Some(ran) = machines.iter().find(|ran| ran.vm.role == Role::Panics) else {
        return missing(hop);
    };
    let damage = step(ran, 1, &part_name(boot.scenario.name, Side::Before));
    if !damage.verdict.is_good() {
        return Cell { hop, ..damage };
    }
    if has_refused(ran) {
        return Cell { detail: None, subtests: 0, hop, ..damage };
    }
    failed(hop, "the kernel did not panic because of what it got", &ran.record.excerpt())
}

fn has_refused(ran: &Ran) -> bool {
    ran.vm.plan.hop(2).zip(ran.record.alarm.as_ref()).is_some_and(|(planned, alarm)| {
        alarm.hop == 2 && alarm.detail.contains(refusal(&planned.label))
    })
}

/// A boot scenario: its halves are neighbouring hops of one machine.
fn booted(machines: &[&Ran], boot: &Boot, hop: usize) -> Cell {
    let half = |side| {
        let name = part_name(boot.scenario.name, side);
        machines.iter().filter(|ran| ran.vm.role == Role::Boot).find_map(|ran| {
            let mut hops = ran.vm.plan.hops();
            let at = hops.position(|hop| hop.steps.iter().any(|step| step.name == name));
            at.map(|at| step(ran, at + 1, &name))
        })
    };
    match (half(Side::Before), half(Side::After)) {
        (Some(before), Some(_)) if !before.verdict.is_good() => Cell { hop, ..before },
        (Some(_), Some(after)) => Cell { hop, ..after },
        _ => missing(hop),
    }
}

/// A cell about which nothing was heard.
fn missing(hop: usize) -> Cell {
    Cell { hop, verdict: Verdict::Missing, detail: None, elapsed: None, subtests: 0 }
}

/// The verdict of one step.
fn step(ran: &Ran, hop: usize, name: &str) -> Cell {
    let Some(record) = ran.hop(hop) else {
        return missing(hop);
    };
    let said: Vec<_> = record.verdicts.iter().filter(|said| said.name == name).collect();
    let begun = record.steps.iter().find(|step| step.name == name);
    let [said] = said[..] else {
        if said.is_empty() {
            return missing(hop);
        }
        let words: Vec<_> = said.iter().map(|said| if said.ok { "ok" } else { "not ok" }).collect();
        let detail = format!("`{name}` has {} verdicts: {}", words.len(), words.join(", "));
        return failed(hop, &detail, &[]);
    };
    let Some(begun) = begun else {
        return failed(hop, &format!("`{name}` has a verdict but was never begun"), &[]);
    };
    let elapsed = Some(said.at.saturating_sub(begun.began));
    if let Some(why) = said.not_applicable.as_ref().filter(|_| said.ok) {
        let detail = Some(why.clone());
        return Cell { hop, verdict: Verdict::NotApplicable, detail, elapsed, subtests: 0 };
    }
    let why = match (said.excused, said.ok, begun.subtests.verdict()) {
        (true, _, _) => Err("was skipped; nothing may be".to_owned()),
        (_, false, Err(why)) => Err(format!("failed: {why}")),
        (_, false, Ok(_)) => Err("failed".to_owned()),
        (_, true, Err(why)) => Err(format!("says ok, but {why}")),
        (_, true, Ok(subtests)) => Ok(subtests),
    };
    match why {
        Ok(subtests) => Cell { hop, verdict: Verdict::Passed, detail: None, elapsed, subtests },
        Err(why) => Cell { elapsed, ..failed(hop, &format!("`{name}` {why}"), &begun.output) },
    }
}

fn failed(hop: usize, what: &str, output: &[String]) -> Cell {
    let shown = output.iter().skip(output.len().saturating_sub(SHOWN)).map(String::as_str);
    let detail = std::iter::once(what).chain(shown).collect::<Vec<_>>().join("\n");
    Cell { hop, verdict: Verdict::Failed, detail: Some(detail), elapsed: None, subtests: 0 }
}

/// Whether nothing is wrong with the machine but the alarm that has ended it.
pub(crate) fn has_only_ended(ran: &Ran) -> bool {
    let mut hops = (ran.vm.first..).zip(ran.vm.plan.hops());
    let has_failed = |number, name: &str| step(ran, number, name).verdict == Verdict::Failed;
    let failed =
        hops.any(|(number, hop)| hop.steps.iter().any(|step| has_failed(number, &step.name)));
    !failed && troubles(ran).len() == 1
}

/// The troubles of a machine outside any single test.
pub(crate) fn troubles(ran: &Ran) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    // Hops of other machines are not those of the table.
    let machine = match ran.vm.role {
        Role::Alone | Role::Boot | Role::KUnit | Role::Panics => {
            format!(" of machine {}", ran.vm.name)
        }
        Role::Chain => String::new(),
    };
    let trouble = |hop, what: String, excerpt| {
        let what = format!("{what}{machine}");
        Trouble { hop, what, excerpt, log: ran.log.clone() }
    };
    // A panic is what one machine is for.
    let is_meant = ran.vm.role == Role::Panics && has_refused(ran);
    if let Some(alarm) = ran.record.alarm.as_ref().filter(|_| !is_meant) {
        let hop = if alarm.hop == 0 { 0 } else { ran.vm.first + alarm.hop - 1 };
        let place = match ran.vm.plan.hop(alarm.hop) {
            Some(kernel) => format!("in hop {hop} ({})", kernel.label),
            None => "before the first kernel spoke".into(),
        };
        let what = format!("{} {place}: {}", alarm.kind, alarm.detail);
        troubles.push(trouble(hop, what, ran.record.excerpt()));
    }
    for (index, (record, planned)) in ran.record.hops.iter().zip(ran.vm.plan.hops()).enumerate() {
        let hop = ran.vm.first + index;
        // Each fragment of `xtask/configs` gives its kernel a name.
        if !record.release.ends_with(&format!("-{}", planned.label)) {
            let what = format!(
                "hop {hop} booted {}, which is no kernel of the implementation `{}`",
                record.release, planned.label
            );
            troubles.push(trouble(hop, what, Vec::new()));
        }
        let beside: Vec<_> =
            record.log.iter().filter(|line| line.contains(BESIDE_FREEZE)).cloned().collect();
        if !beside.is_empty() {
            let what =
                format!("callbacks run beside or after freeze in hop {hop} ({})", planned.label);
            troubles.push(trouble(hop, what, beside));
        }
        let known = |name: &str| planned.steps.iter().any(|step| step.name == name);
        for said in record.verdicts.iter().filter(|said| !known(&said.name)) {
            let what =
                format!("hop {hop} has a verdict for `{}`, which is not in the plan", said.name);
            troubles.push(trouble(hop, what, Vec::new()));
        }
        if record.planned.is_some_and(|count| count != planned.steps.len()) {
            let what = format!("PID 1 of hop {hop} announced another number of steps than planned");
            troubles.push(trouble(hop, what, Vec::new()));
        }
    }
    let (came, planned) = (ran.record.hops.len(), ran.vm.plan.count());
    if came > planned {
        let what = format!("{came} kernels booted where {planned} were planned");
        troubles.push(trouble(planned, what, Vec::new()));
    }
    if ran.record.done && came < planned && ran.record.alarm.is_none() {
        let what = format!("the guest says it is done after {came} of {planned} hops");
        troubles.push(trouble(came, what, Vec::new()));
    }
    troubles
}

/// Steps that the plan of a machine has without any test asking for them: PID 1's own.
pub(crate) fn side_troubles(ran: &Ran) -> Vec<Trouble> {
    let hops = (ran.vm.first..).zip(ran.vm.plan.hops());
    let carry = hops.filter(|(_, hop)| hop.steps.iter().any(|step| step.name == CARRY));
    let cells = carry.map(|(hop, _)| step(ran, hop, CARRY)).filter(|cell| !cell.verdict.is_good());
    let trouble = |cell: Cell| Trouble {
        hop: cell.hop,
        what: format!("PID 1 could not carry its file through hop {}", cell.hop),
        excerpt: cell.detail.iter().flat_map(|detail| detail.lines()).map(str::to_owned).collect(),
        log: ran.log.clone(),
    };
    cells.map(trouble).collect()
}

/// The timeline of each update of the chain.
pub(crate) fn updates(chain: &Ran) -> Vec<Update> {
    let pairs = chain.record.hops.windows(2);
    let pairs = pairs.zip(chain.vm.plan.hops().zip(chain.vm.plan.hops().skip(1)));
    let updates = pairs.enumerate().filter_map(|(index, (records, hops))| {
        let ([old, new], (from, to)) = (records, hops) else {
            return None;
        };
        let reboot = old.time_of(&Event::Reboot)?;
        let moments = [
            ("new kernel's first line", Some(new.first_line)),
            ("init", new.init()),
            ("device opened", new.time_of(&Event::DeviceOpened)),
            ("retrieved", new.time_of(&Event::Retrieved)),
            ("finished", new.time_of(&Event::Finished)),
        ];
        let marks = moments
            .into_iter()
            .filter_map(|(name, at)| Some(Mark { name: name.into(), after: since(reboot, at?) }));
        let by = from.leave.command();
        let (from, to) = (from.label.clone(), to.label.clone());
        Some(Update { hop: chain.vm.first + index, from, to, by, marks: marks.collect() })
    });
    updates.collect()
}

/// The two ports are read side by side, so neighbouring moments may be swapped by a hair.
fn since(begin: Duration, at: Duration) -> Duration {
    at.saturating_sub(begin)
}

/// The folder-independent name of a machine's log.
pub(crate) fn log_name(vm: &Vm) -> String {
    format!("{}.log", vm.name)
}

/// Where the log of a machine lies in the folder of a run.
pub(crate) fn log_path(folder: &Path, vm: &Vm) -> PathBuf {
    folder.join(log_name(vm))
}

#[cfg(test)]
mod tests;
