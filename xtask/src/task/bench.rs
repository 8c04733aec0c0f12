// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask bench`: the cost of commands, counted in instructions.
//!
//! A machine that counts instructions gives the same numbers in every run, for any load of the
//! host. Numbers of one implementation mean little; the important one is the ratio to the other in
//! the same run, and how they grow.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use selftests::event::Event;
use selftests::measure::{BY_IOCTL, BY_LIBLU, Load, Measurement};
use selftests::plan::{Action, Hop, LEAVING, Leave, Plan, Step};
use selftests::scenario::Side;

use crate::guest::{Guest as _, Pid1};
use crate::kernel::{Hops, Implementation, Profile};
use crate::prepare::Prepared;
use crate::runner::Runner;
use crate::suite::{Queue, Role, Vm, kernel_name};
use crate::task::vm_test::{BuildOptions, MachineOptions};
use crate::vm::{HopRecord, Limits};
use crate::{judge, run_folder, say};

mod table;

/// The options of `cargo xtask bench`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Two kernels, the first of which hands over to the second; more than one list is compared
    ///
    /// Default: `c,c` and `rust,rust`.
    #[arg(long, value_name = "LIST")]
    hops: Vec<Hops>,
    #[command(flatten)]
    build: BuildOptions,
    /// Folder for logs and `bench.json` [default: a new one in the cache]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// How many of each load. The first is where few others are in the way.
const LOADS: &[(Load, usize)] = &[
    (Load::Pairs, 16),
    (Load::Sessions, 1_000),
    (Load::Sessions, 10_000),
    (Load::Files, 1_000),
    (Load::Files, 10_000),
    (Load::Library, 1_000),
];

/// Memory of a machine, in MiB.
const MEMORY: u32 = 2048;

/// How long a machine may take: counting is slow.
const LIMITS: Limits = Limits { silence: Duration::from_mins(5), total: Duration::from_mins(15) };

/// From the call of `reboot(2)` to the kernel's last words, with next to no load.
const LEAVE_PAIRS: &str = "leave the kernel";

/// The beginning of the names of figures of `reboot(2)` with a load.
const LEAVE: &str = "freeze and write";

/// The kernel's last words.
const LEFT: &str = "Starting new kernel";

/// The cost of one operation in one implementation.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Figure {
    /// Name of the operation.
    pub(crate) name: String,
    /// How often it was done.
    pub(crate) count: usize,
    /// Instructions for all of it.
    pub(crate) instructions: u64,
}

/// The figures of one list of hops.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Column {
    /// The hops.
    pub(crate) hops: String,
    /// In the order of [`LOADS`].
    pub(crate) figures: Vec<Figure>,
}

impl Column {
    /// The figures of the machines that ran [`LOADS`] over these hops.
    fn of(hops: &Hops, machines: &[&judge::Ran]) -> Result<Self> {
        let mut column = Self { hops: hops.to_string(), figures: Vec::new() };
        for (load, ran) in LOADS.iter().zip(machines) {
            column.figures.extend(figures(ran, *load)?);
        }
        column.subtract_shutdown();
        Ok(column)
    }

    /// Subtracts the cost of `reboot(2)` with next to no load from its cost with a load.
    ///
    /// The kernel's log has microseconds, so figures of `reboot(2)` are exact to a thousand
    /// instructions.
    fn subtract_shutdown(&mut self) {
        let little = self.figures.iter().find(|figure| figure.name == LEAVE_PAIRS);
        let little = little.map_or(0, |figure| figure.instructions);
        for figure in self.figures.iter_mut().filter(|figure| figure.name.starts_with(LEAVE)) {
            figure.instructions = figure.instructions.saturating_sub(little);
        }
    }

    /// The same operation with the next smaller count.
    fn next_smaller(&self, figure: &Figure) -> Option<&Figure> {
        let smaller =
            self.figures.iter().filter(|it| it.name == figure.name && it.count < figure.count);
        smaller.max_by_key(|it| it.count)
    }
}

/// Runs the task.
pub(crate) fn run(options: &Options) -> Result<()> {
    let lists = if options.hops.is_empty() {
        [Implementation::C, Implementation::Rust].map(|kernel| Hops(vec![kernel; 2])).into()
    } else {
        options.hops.clone()
    };
    ensure!(lists.iter().all(|hops| hops.0.len() == 2), "each list has two hops, as in `c,rust`");
    if let Some(folder) = &options.report {
        run_folder::clear(folder)?;
    }
    let all: Vec<_> = lists.iter().flat_map(|hops| hops.0.iter().copied()).collect();
    let prepared = Prepared::make(&Pid1, &[], &all, &options.build.request())?;
    let folder = run_folder::create(&prepared.setup.cache, options.report.as_deref())?;
    let profile = options.build.profile;
    let machine = MachineOptions::of_memory(MEMORY.max(Pid1.memory(profile)));
    let runner = Runner::new(&prepared, profile, machine, &folder)?.counting();

    let mut queue = Queue::default();
    for hops in &lists {
        queue.add(None, LOADS.iter().map(|load| vm(hops, profile, *load)).collect());
    }
    let vms = queue.machines().iter().map(|vm| (vm.clone(), LIMITS));
    // Machines that count instructions do not mind neighbours.
    let results = runner.run_all(vms.collect());
    results.error.map_or(Ok(()), Err)?;
    let columns = lists.iter().zip(queue.sort_out(&results.each));
    let columns = columns.map(|(hops, machines)| Column::of(hops, &machines));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let json = serde_json::to_string_pretty(&columns).context("write the figures")?;
    let path = folder.join(run_folder::BENCH);
    std::fs::write(&path, json).with_context(|| format!("write {}", path.display()))?;
    say(&format!("\n{}\nfigures: {}\n", table::render(&columns), path.display()))?;
    let ours = lists.iter().zip(&columns).filter(|(hops, _)| hops.is_all(Implementation::Rust));
    let quadratic: Vec<_> = ours.flat_map(|(_, column)| out_of_proportion(column)).collect();
    ensure!(
        quadratic.is_empty(),
        "ten times as many take more than {MOST_GROWTH} times the instructions: {}",
        quadratic.join(", ")
    );
    let costs: Vec<_> = columns.iter().flat_map(through_liblu).collect();
    let lines: Vec<_> = costs.iter().map(Cost::line).collect();
    say(&format!("{}\n", lines.join("\n")))?;
    let dear: Vec<_> =
        costs.iter().filter(|cost| cost.more > MOST_OF_LIBLU).map(Cost::line).collect();
    ensure!(
        dear.is_empty(),
        "liblu costs more than {MOST_OF_LIBLU} instructions a call: {}",
        dear.join(", ")
    );
    Ok(())
}

/// Instructions that a call through liblu may take beyond those of the raw ioctl.
const MOST_OF_LIBLU: i64 = 200;

/// The cost of a call through liblu beyond the raw ioctl.
#[derive(Debug, PartialEq)]
struct Cost<'a> {
    name: &'a str,
    hops: &'a str,
    /// Instructions.
    more: i64,
}

impl Cost<'_> {
    fn line(&self) -> String {
        format!("liblu, {} ({}): {:+} instructions a call", self.name, self.hops, self.more)
    }
}

fn through_liblu(column: &Column) -> Vec<Cost<'_>> {
    let pairs = column.figures.iter().filter_map(|through| {
        let name = through.name.strip_suffix(BY_LIBLU)?;
        let is_raw = |it: &&Figure| it.name.strip_suffix(BY_IOCTL) == Some(name);
        let raw = column.figures.iter().find(is_raw)?;
        let whole = |figure: &Figure| i64::try_from(figure.instructions).unwrap_or(i64::MAX);
        let count = i64::try_from(through.count.max(1)).unwrap_or(i64::MAX);
        let more = whole(through).saturating_sub(whole(raw)) / count;
        Some(Cost { name, hops: &column.hops, more })
    });
    pairs.collect()
}

/// The limit of growth: more than this, for ten times as many, is neither linear nor n log n.
const MOST_GROWTH: u64 = 20;

/// Figures that are more than [`MOST_GROWTH`] times those of a tenth as many.
fn out_of_proportion(column: &Column) -> Vec<&str> {
    let grows = column.figures.iter().filter(|figure| {
        let tenth = column.next_smaller(figure).filter(|it| it.count * 10 == figure.count);
        tenth.is_some_and(|tenth| {
            figure.instructions > tenth.instructions.saturating_mul(MOST_GROWTH)
        })
    });
    grows.map(|figure| figure.name.as_str()).collect()
}

/// The machine that runs one load.
fn vm(hops: &Hops, profile: Profile, (load, count): (Load, usize)) -> Vm {
    let kernels: Vec<&str> = hops.0.iter().map(|kernel| label(*kernel)).collect();
    let name = format!("bench-{}-{load:?}-{count}", kernels.join("-")).to_lowercase();
    Vm { name, role: Role::Chain, plan: plan(hops, profile, load, count), first: 1 }
}

/// The figures of a machine that ran one load.
fn figures(ran: &judge::Ran, (load, count): (Load, usize)) -> Result<Vec<Figure>> {
    let log = ran.log.display();
    ensure!(ran.record.done && ran.record.alarm.is_none(), "the machine failed; see {log}");
    ensure!(judge::troubles(ran).is_empty(), "something went wrong; see {log}");
    for (hop, said) in ran.record.hops.iter().flat_map(|hop| hop.verdicts.iter()).enumerate() {
        ensure!(said.ok, "step {hop} failed: {}; see {log}", said.name);
    }
    let events = ran.record.hops.iter().flat_map(|hop| hop.events.iter());
    let measured = events.filter_map(|(event, _)| match event {
        Event::Measured(Measurement { name, count, ns }) => {
            Some(Figure { name: name.clone(), count: *count, instructions: *ns })
        }
        _ => None,
    });
    let mut figures: Vec<Figure> = measured.collect();
    let first = ran.record.hops.first().context("no kernel spoke")?;
    let leave = leaving(first).with_context(|| format!("no time of leaving in {log}"))?;
    let name = match load {
        Load::Pairs => LEAVE_PAIRS,
        Load::Sessions => "freeze and write many sessions",
        Load::Files => "freeze and write many files",
        Load::Library => return Ok(figures),
    };
    figures.push(Figure { name: name.into(), count, instructions: leave });
    Ok(figures)
}

fn label(kernel: Implementation) -> &'static str {
    match kernel {
        Implementation::C => "c",
        Implementation::Rust => "rust",
    }
}

fn plan(hops: &Hops, profile: Profile, load: Load, count: usize) -> Plan {
    let sides = [Side::Before, Side::After];
    let hops = hops.0.iter().zip(sides).map(|(kernel, side)| Hop {
        label: kernel.to_string(),
        kernel: kernel_name(*kernel),
        // The kernel's messages on a serial port cost more than its work.
        cmdline: format!("{} loglevel=6", profile.cmdline()),
        carries: true,
        is_debug: profile == Profile::Debug,
        steps: vec![Step {
            name: format!("{load:?}/{side:?}").to_lowercase(),
            action: Action::Measure { load, side, count },
            limit_ms: 1_000_000,
        }],
        leave: Leave::Plain,
    });
    hops.collect()
}

/// The time between PID 1's last line and the kernel's last line, by the clock of the kernel's log.
fn leaving(hop: &HopRecord) -> Option<u64> {
    let time = |mark: &str| {
        hop.log.iter().rev().find(|line| line.contains(mark)).and_then(|line| stamp(line))
    };
    time(LEFT)?.checked_sub(time(LEAVING)?)
}

/// The time of a line of the kernel's log, in nanoseconds: `[    1.234567] ...`.
fn stamp(line: &str) -> Option<u64> {
    let (seconds, micros) = line.strip_prefix('[')?.split_once(']')?.0.trim().split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let micros: u64 = micros.parse().ok()?;
    seconds.checked_mul(1_000_000)?.checked_add(micros)?.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn figure(name: &str, count: usize, instructions: u64) -> Figure {
        Figure { name: name.into(), count, instructions }
    }

    #[test]
    fn a_line_of_the_log_has_a_time() {
        assert_eq!(stamp("[    1.234567] kexec_core: Starting new kernel"), Some(1_234_567_000));
        assert_eq!(stamp("[  123.000001] x"), Some(123_000_001_000));
        assert_eq!(stamp("Starting new kernel"), None);
    }

    #[test]
    fn what_leaving_costs_anyway_is_taken_off() {
        let figures = vec![
            figure(LEAVE_PAIRS, 1, 60),
            figure("freeze and write many files", 1, 1000),
            figure("FINISH", 1, 5),
        ];
        let mut column = Column { hops: "c → c".into(), figures };
        column.subtract_shutdown();
        let left: Vec<u64> = column.figures.iter().map(|it| it.instructions).collect();
        assert_eq!(left, [60, 940, 5]);
    }

    #[test]
    fn leaving_lies_between_two_lines() {
        let log = [
            "[    1.000000] vm-test: hop 1: files/before",
            "[    2.000001] vm-test: leaving",
            "[    2.000100] reboot: something",
            "[    2.500001] kexec_core: Starting new kernel",
        ];
        let hop = HopRecord { log: log.map(String::from).into(), ..HopRecord::default() };
        assert_eq!(leaving(&hop), Some(500_000_000));
        assert_eq!(leaving(&HopRecord::default()), None);
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in "\\[?.*\\]?.*") {
            let _ = stamp(&line);
        }
    }

    #[test]
    fn a_call_through_liblu_is_compared_with_the_raw_one() {
        let figures = vec![
            figure("PRESERVE_FD", 16, 9_999),
            figure("PRESERVE_FD by ioctl", 1_000, 5_000_000),
            figure("PRESERVE_FD by liblu", 1_000, 5_040_000),
        ];
        let column = Column { hops: "rust,rust".into(), figures };
        let costs = through_liblu(&column);
        assert_eq!(costs, [Cost { name: "PRESERVE_FD", hops: "rust,rust", more: 40 }]);
        assert_eq!(costs[0].line(), "liblu, PRESERVE_FD (rust,rust): +40 instructions a call");
    }

    #[test]
    fn what_grows_out_of_proportion_is_named() {
        let figures = vec![
            figure("linear", 1_000, 500),
            figure("linear", 10_000, 9_000),
            figure("quadratic", 1_000, 500),
            figure("quadratic", 10_000, 40_000),
            figure("single", 1, 7),
        ];
        assert_eq!(out_of_proportion(&Column { hops: "rust,rust".into(), figures }), ["quadratic"]);
    }
}
