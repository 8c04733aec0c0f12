// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whole updates, by phases: `xtask/bench.toml` says with what.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use selftests::measure::blackout::{FILES, MEMORY, OPEN, PRESERVE, Preserved, SESSIONS, TAKEN};
use selftests::plan::{Action, ENTERED, LEAVING};
use selftests::scenario::Side;
use serde::Deserialize;

use super::clock::{LEFT, between, moment};
use super::{Column, Figure, Weight, hop, machine, measured};
use crate::failure::Failure;
use crate::judge::Ran;
use crate::kernel::{Hops, Implementation, Profile};
use crate::project::Project;
use crate::suite::Vm;
use crate::vm::HopRecord;

/// From the call of `reboot(2)` to the kernel's last words.
const LEAVE: &str = "leave";

/// From there until the next kernel has a clock: kexec, and the decompressor.
pub(super) const KEXEC: &str = "kexec";

/// From there until PID 1 runs.
pub(super) const BOOT: &str = "boot";

/// What of [`BOOT`] is due to the handover: what it takes beyond the boot of the first case.
pub(super) const HANDOVER: &str = "boot, of it the handover";

/// From the call of `reboot(2)` until everything is retrieved.
pub(super) const BLACKOUT: &str = "blackout";

/// The phases after [`BOOT`] that are part of the [`BLACKOUT`].
const RETRIEVED: [&str; 4] = [OPEN, SESSIONS, FILES, MEMORY];

/// `xtask/bench.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    blackout: Blackout,
}

/// What is measured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Blackout {
    /// Memory of the machine, in MiB.
    memory: u32,
    /// Kernel parameters.
    parameters: String,
    cases: Vec<Case>,
}

/// An update.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    preserved: Preserved,
    /// More kernel parameters.
    #[serde(default)]
    parameters: String,
    /// Still more parameters of the second kernel.
    #[serde(default)]
    next_parameters: String,
    /// Memory of the machine, in MiB, if it takes more than others. Such a case is run only by its name.
    memory: Option<u32>,
    /// The case with less of the same: how figures grow from there is shown.
    grows_from: Option<String>,
    /// Kernels that would take too long.
    #[serde(default)]
    skip: Vec<Implementation>,
    /// How many times the boot of the first case the boot may take, but for stock C.
    most_boot: Option<f64>,
    /// Million instructions that a phase may take in Rust, by its name.
    #[serde(default)]
    most: BTreeMap<Phase, f64>,
    /// KiB that PRESERVE_FD may take for a GiB of memory in Rust.
    most_kib_a_gib: Option<u64>,
    /// How many times that of stock C in the same run a phase may take in Rust.
    #[serde(default)]
    most_of_c: BTreeMap<Phase, f64>,
}

/// A phase that has limits.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    Preserve,
    Retrieve,
    Blackout,
}

impl Phase {
    /// The name of its figure.
    fn figure(self) -> &'static str {
        match self {
            Self::Preserve => PRESERVE,
            Self::Retrieve => MEMORY,
            Self::Blackout => BLACKOUT,
        }
    }
}

/// The kernel that boots with the handover.
fn next(hops: &Hops) -> Option<Implementation> {
    hops.0.last().copied()
}

impl Case {
    fn is_for(&self, hops: &Hops) -> bool {
        next(hops).is_none_or(|kernel| !self.skip.contains(&kernel))
    }

    /// The name of a phase of it.
    fn row(&self, phase: &str) -> String {
        row(&self.name, phase)
    }
}

/// The name of a phase of a case.
fn row(case: &str, phase: &str) -> String {
    format!("{case}: {phase}")
}

impl Blackout {
    /// Reads the cases of this checkout.
    pub(super) fn open(project: &Project) -> Result<Self> {
        let path = project.folder.join("xtask/bench.toml");
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        let settings: Settings =
            toml::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
        Ok(settings.blackout)
    }

    /// These cases, and the one that others are compared with; all without names.
    pub(super) fn only(mut self, names: &[String]) -> Result<Self, Failure> {
        for name in names {
            if !self.cases.iter().any(|case| case.name == *name) {
                let all: Vec<_> =
                    self.cases.iter().map(|case| format!("`{}`", case.name)).collect();
                let what = format!("xtask/bench.toml has no case `{name}`");
                return Err(Failure::new(what, format!("give one of {}", all.join(", "))));
            }
        }
        let mut first = true;
        self.cases.retain(|case| {
            let is_usual = names.is_empty() && case.memory.is_none();
            std::mem::take(&mut first) || is_usual || names.contains(&case.name)
        });
        Ok(self)
    }

    /// Memory of the machines, in MiB: as much as any case takes, since their boots are compared.
    pub(super) fn memory(&self) -> u32 {
        self.cases.iter().filter_map(|case| case.memory).chain([self.memory]).max().unwrap_or(0)
    }

    /// Parameters of all kernels.
    pub(super) fn parameters(&self) -> &str {
        &self.parameters
    }

    fn cases(&self, hops: &Hops) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| case.is_for(hops))
    }

    /// The machines for these hops.
    pub(super) fn machines(&self, hops: &Hops, profile: Profile) -> Vec<Vm> {
        let vm = |(number, case): (usize, &Case)| {
            let name = format!("blackout-{}-{number}", hops.file_name());
            machine(name, hops, |kernel, side| {
                let action = Action::Blackout { preserved: case.preserved.clone(), side };
                let name = format!("blackout/{side:?}").to_lowercase();
                let mut hop = hop(kernel, profile, name, action);
                let more = if side == Side::After { &*case.next_parameters } else { "" };
                let all = [&*hop.cmdline, &self.parameters, &case.parameters, more];
                hop.cmdline = all.join(" ");
                hop
            })
        };
        self.cases(hops).enumerate().map(vm).collect()
    }

    /// The figures of these machines.
    pub(super) fn column(&self, hops: &Hops, machines: &[&Ran]) -> Result<Column> {
        let mut column = Column::new(hops);
        for (case, ran) in self.cases(hops).zip(machines) {
            let (figures, memory) = measured(ran)?;
            let phases =
                phases(&ran.record.hops).with_context(|| format!("in {}", ran.log.display()))?;
            let retrieved = figures.iter().filter(|it| RETRIEVED.contains(&&*it.name));
            let all = phases.iter().chain(retrieved).map(|it| it.instructions).sum();
            let whole = Figure { name: BLACKOUT.into(), count: 1, instructions: all };
            let boot = phases.iter().find(|it| it.name == BOOT).map(|it| it.instructions);
            let empty = self.cases.first().and_then(|first| column.instructions(&first.row(BOOT)));
            let handover = boot.zip(empty).map(|(boot, empty)| Figure {
                name: HANDOVER.into(),
                count: 1,
                instructions: boot.saturating_sub(empty),
            });
            let all = phases.into_iter().chain(handover).chain(figures).chain([whole]);
            for figure in all {
                let name = case.row(&figure.name);
                // What is by chance does not grow.
                if let Some(smaller) = case.grows_from.as_ref().filter(|_| figure.name != HANDOVER)
                {
                    column.smaller.insert(name.clone(), row(smaller, &figure.name));
                }
                column.figures.push(Figure { name, ..figure });
            }
            let memory = memory.into_iter();
            column.memory.extend(memory.map(|it| Weight { name: case.row(&it.name), ..it }));
        }
        Ok(column)
    }

    /// The memory that cases take, in words.
    pub(super) fn taken(column: &Column) -> impl Iterator<Item = String> {
        column
            .memory
            .iter()
            .map(|it| format!("{} ({}): {} KiB a GiB", it.name, column.hops, kib_a_gib(it)))
    }

    /// The limits that do not hold in a run.
    pub(super) fn all_broken(&self, lists: &[Hops], columns: &[Column]) -> Vec<String> {
        let both = || lists.iter().zip(columns);
        let stock = |hops: &Hops| hops.0.iter().all(|kernel| *kernel == Implementation::C);
        let c = both().find(|(hops, _)| stock(hops)).map(|(_, column)| column);
        both().flat_map(|(hops, column)| self.broken(hops, column, c)).collect()
    }

    /// The limits that do not hold. Stock C, as the next kernel, has none; `c` is its column in this run.
    fn broken(&self, hops: &Hops, column: &Column, c: Option<&Column>) -> Vec<String> {
        match next(hops) {
            Some(Implementation::C) => Vec::new(),
            Some(Implementation::CRuns) => self.broken_boots(hops, column),
            _ => {
                let phases = self.cases(hops).flat_map(|case| case.broken(hops, column, c));
                self.broken_boots(hops, column).into_iter().chain(phases).collect()
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    fn broken_boots(&self, hops: &Hops, column: &Column) -> Vec<String> {
        let boot = |case: &Case| column.instructions(&case.row(BOOT));
        let Some(empty) = self.cases.first().and_then(boot) else {
            return vec![format!("{}: no boot with nothing to compare with", column.hops)];
        };
        let broken = self.cases(hops).filter_map(|case| {
            let (Case { name, .. }, most) = (case, case.most_boot?);
            let Some(instructions) = boot(case) else {
                return Some(format!("{name}: there is no boot ({})", column.hops));
            };
            let times = instructions as f64 / empty as f64;
            let text = || format!("{name}: a boot of {times:.2} empty ones, not {most} ({hops})");
            (times > most).then(text)
        });
        broken.collect()
    }
}

impl Case {
    /// The limits of phases that do not hold.
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    fn broken(&self, hops: &Hops, column: &Column, c: Option<&Column>) -> Vec<String> {
        let name = &self.name;
        let of = |column: &Column, phase: Phase| {
            column.instructions(&self.row(phase.figure())).map(|count| count as f64)
        };
        let mut broken = Vec::new();
        for (phase, most) in &self.most {
            match of(column, *phase).map(|count| count / 1e6) {
                None => broken.push(format!("{name}: there is no {phase:?} ({hops})")),
                Some(million) if million > *most => broken.push(format!(
                    "{name}: {phase:?} takes {million:.2} million instructions, not {most} ({hops})"
                )),
                Some(_) => {}
            }
        }
        let taken = self.row(TAKEN);
        let taken = column.memory.iter().find(|it| it.name == taken).map(kib_a_gib);
        match (self.most_kib_a_gib, taken) {
            (Some(most), Some(taken)) if taken > most => {
                broken
                    .push(format!("{name}: {taken} KiB are taken for a GiB, not {most} ({hops})"));
            }
            (Some(_), None) => broken.push(format!("{name}: no memory was measured ({hops})")),
            _ => {}
        }
        // Without stock C in this run, there is nothing to compare with.
        let Some(c) = c.filter(|_| !self.skip.contains(&Implementation::C)) else { return broken };
        for (phase, most) in &self.most_of_c {
            match (of(column, *phase), of(c, *phase)) {
                (Some(rust), Some(c)) if rust <= c * most => {}
                (Some(rust), Some(c)) => broken.push(format!(
                    "{name}: {phase:?} takes {:.2} times what it takes in C, not {most} ({hops})",
                    rust / c
                )),
                _ => broken.push(format!("{name}: there is no {phase:?} ({hops})")),
            }
        }
        broken
    }
}

/// KiB for each GiB of memory, of which the count is in MiB: as many as bytes for each MiB.
pub(super) fn kib_a_gib(weight: &Weight) -> u64 {
    weight.each()
}

/// The phases from `reboot(2)` to PID 1.
fn phases(hops: &[HopRecord]) -> Result<Vec<Figure>> {
    let [first, next] = hops else { bail!("there are not two kernels") };
    let (left, _) = moment(first, LEAVING).context("no line of the first kernel's end")?;
    let (entered, boot) = moment(next, ENTERED).context("no line of the next kernel's PID 1")?;
    let leave = between(first, LEAVING, LEFT).with_context(|| format!("no `{LEFT}`"))?;
    let rest = entered.checked_sub(left).and_then(|all| all.checked_sub(leave + boot));
    let rest = rest.context("the kernel's clock does not count instructions")?;
    let figure =
        |(name, instructions): (&str, u64)| Figure { name: name.into(), count: 1, instructions };
    Ok([(LEAVE, leave), (KEXEC, rest), (BOOT, boot)].map(figure).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_of_this_checkout_are_understood() {
        let blackout = Blackout::open(&Project::open().unwrap()).unwrap();
        let first = blackout.cases.first().unwrap();
        assert_eq!((&first.preserved, &*first.skip), (&Preserved::default(), &[][..]));
        let names: std::collections::BTreeSet<_> =
            blackout.cases.iter().map(|case| &case.name).collect();
        assert_eq!(names.len(), blackout.cases.len());
        let smaller = blackout.cases.iter().filter_map(|case| case.grows_from.as_ref());
        assert!(smaller.clone().count() > 0 && smaller.clone().all(|name| names.contains(name)));
    }

    #[test]
    fn the_phases_lie_between_lines_of_two_kernels() {
        let hop = |log: &[&str]| HopRecord {
            log: log.iter().map(|line| (*line).to_owned()).collect(),
            ..HopRecord::default()
        };
        let first = hop(&[
            "[    1.000000] vm-test: leaving, cycle 1500000000",
            "[    1.000070] kexec_core: Starting new kernel",
        ]);
        let next = hop(&["[    0.500000] vm-test: entered, cycle 2400000000"]);
        let of = |hops: &[HopRecord]| {
            let found = phases(hops)?;
            Ok::<_, anyhow::Error>(found.into_iter().map(|it| it.instructions).collect::<Vec<_>>())
        };
        assert_eq!(of(&[first.clone(), next.clone()]).unwrap(), [70_000, 399_930_000, 500_000_000]);
        assert!(of(std::slice::from_ref(&first)).is_err());
        assert!(of(&[next, first]).is_err());
    }

    #[test]
    fn a_case_is_chosen_by_its_name() {
        let all = || Blackout::open(&Project::open().unwrap()).unwrap();
        let names = |blackout: Blackout| -> Vec<_> {
            blackout.cases.into_iter().map(|case| case.name).collect()
        };
        let usual = all().only(&[]).unwrap();
        assert!(usual.cases.iter().all(|case| case.memory.is_none()));
        assert_eq!(usual.memory(), all().memory);
        let large = all().cases.into_iter().find(|case| case.memory.is_some()).unwrap();
        let only = all().only(&[large.name]).unwrap();
        assert_eq!((only.cases.len(), Some(only.memory())), (2, large.memory));
        let dense = "1 GiB dense".to_owned();
        assert_eq!(names(all().only(&[dense]).unwrap()), ["nothing", "1 GiB dense"]);
        assert!(all().only(&["none".into()]).unwrap_err().to_string().contains("`none`"));
    }

    #[test]
    fn a_boot_that_takes_too_long_is_named() {
        let text = "memory = 1\nparameters = ''\n[[cases]]\nname = 'a'\npreserved = {}\n[[cases]]\nname = 'b'\n\
                    preserved = {}\nmost_boot = 1.5\n";
        let blackout: Blackout = toml::from_str(text).unwrap();
        let hops: Hops = "c,rust".parse().unwrap();
        let mut column = Column::new(&hops);
        for (name, instructions) in [("a: boot", 100), ("b: boot", 150)] {
            column.figures.push(Figure { name: name.into(), count: 1, instructions });
        }
        assert!(blackout.broken(&hops, &column, None).is_empty());
        column.figures[1].instructions = 151;
        let text = "b: a boot of 1.51 empty ones, not 1.5 (c → rust)";
        assert_eq!(blackout.broken(&hops, &column, None), [text]);
        assert!(blackout.broken(&"rust,c".parse().unwrap(), &column, None).is_empty());
        column.figures.pop();
        assert_eq!(blackout.broken(&hops, &column, None), ["b: there is no boot (c → rust)"]);
        column.figures.clear();
        assert_eq!(blackout.broken(&hops, &column, None).len(), 1);
    }
    #[test]
    fn a_phase_that_takes_too_long_is_named() {
        let text = "memory = 1\nparameters = ''\n[[cases]]\nname = 'a'\npreserved = {}\nmost = { blackout = 2 }\n\
                    most_of_c = { preserve = 0.5 }\n";
        let blackout: Blackout = toml::from_str(text).unwrap();
        let hops: Hops = "rust,rust".parse().unwrap();
        let column = |blackout, preserve| {
            let mut column = Column::new(&hops);
            for (name, instructions) in [(BOOT, 1), (BLACKOUT, blackout), (PRESERVE, preserve)] {
                let name = format!("a: {name}");
                column.figures.push(Figure { name, count: 1, instructions });
            }
            column
        };
        let c = column(9_000_000, 10);
        assert!(blackout.broken(&hops, &column(2_000_000, 5), Some(&c)).is_empty());
        let broken = blackout.broken(&hops, &column(2_100_000, 6), Some(&c));
        let [blackout_, preserve] = &*broken else { panic!("{broken:?}") };
        assert_eq!(blackout_, "a: Blackout takes 2.10 million instructions, not 2 (rust → rust)");
        assert_eq!(
            preserve,
            "a: Preserve takes 0.60 times what it takes in C, not 0.5 (rust → rust)"
        );
        assert_eq!(blackout.broken(&hops, &column(2_100_000, 6), None).len(), 1);
        assert_eq!(blackout.broken(&hops, &Column::new(&hops), None).len(), 2);
    }
}
