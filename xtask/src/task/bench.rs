// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask bench`: the cost of commands, counted in instructions.
//!
//! A machine that counts instructions gives the same numbers in every run, for any load of the
//! host. Numbers of one implementation mean little; the important one is the ratio to the other in
//! the same run, and how they grow.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use selftests::event::Event;
use selftests::measure::{Cost, LAST_READY, Load, Measurement};
use selftests::plan::{Action, Hop, LEAVING, Leave, Step};
use selftests::scenario::Side;

use crate::guest::{Guest as _, Pid1};
use crate::judge::Ran;
use crate::kernel::{Hops, Implementation, Profile};
use crate::prepare::Prepared;
use crate::project::Project;
use crate::runner::Runner;
use crate::suite::{Queue, Role, Vm, kernel_name};
use crate::task::bench::blackout::Blackout;
use crate::task::bench::clock::{LEFT, between};
pub(crate) use crate::task::bench::figure::{Column, Figure, Weight};
use crate::task::typed::typed;
use crate::task::vm_test::{self, BuildOptions, MachineOptions};
use crate::vm::Limits;
use crate::{judge, run_folder, say};

mod blackout;
mod chart;
mod clock;
mod docs;
mod figure;
mod json;
mod limits;
mod table;

/// The options of `cargo xtask bench`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Whose cost is measured
    #[arg(value_enum, default_value_t)]
    subject: Subject,
    /// Leave out the times of whole updates, which a guest with Debian shows for `agent`
    #[arg(long)]
    figures_only: bool,
    /// Two kernels, the first of which hands over to the second; more than one list is compared
    ///
    /// Default: `c,c` and `rust,rust`, and `c+runs,c+runs` between them for `blackout`.
    #[arg(long, value_name = "LIST")]
    hops: Vec<Hops>,
    /// Only this case of `xtask/bench.toml`, for `blackout`; may be given several times
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    #[command(flatten)]
    build: BuildOptions,
    /// Write the figures of `blackout` into `docs/performance.md`
    #[arg(long)]
    docs: bool,
    /// Folder for logs, `bench.json` and, of `blackout`, a picture [default: a new one in the cache]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// Whose cost is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// The kernel's, and that of liblu beside it.
    #[default]
    Kernel,
    /// That of luod beside the kernel's.
    Agent,
    /// That of our VMM, for a guest of 128 MiB and of 1 GiB.
    Vmm,
    /// That of whole updates, by phases, with what `xtask/bench.toml` says.
    Blackout,
    /// That of memfds which two threads preserve and retrieve side by side, in time: on two processors.
    Threads,
}

impl Subject {
    /// The name, as it is typed.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// How many of each load. The first is where few others are in the way.
    fn loads(self) -> &'static [(Load, usize)] {
        match self {
            Self::Kernel => &[
                (Load::Pairs, 16),
                (Load::Sessions, 1_000),
                (Load::Sessions, 10_000),
                (Load::Files, 1_000),
                (Load::Files, 10_000),
                (Load::Library, 1_000),
            ],
            Self::Agent => {
                &[(Load::Pairs, 16), (Load::Agent, 10), (Load::Agent, 100), (Load::Agent, 1_000)]
            }
            Self::Vmm => &[(Load::Guest, 128), (Load::Guest, 1024)],
            Self::Blackout => &[],
            Self::Threads => &[(Load::Threads, 2)],
        }
    }

    /// What figures are shown in; they are a thousand times that.
    fn unit(self) -> &'static str {
        if self.counts() { "thousand instructions" } else { "microseconds" }
    }

    /// Whether instructions are counted, of one processor.
    fn counts(self) -> bool {
        self != Self::Threads
    }

    fn guest(self) -> &'static Pid1 {
        match self {
            Self::Kernel | Self::Agent | Self::Blackout | Self::Threads => &Pid1::PLAIN,
            Self::Vmm => &Pid1::HOST,
        }
    }

    /// How long a machine may take: counting is slow, and with guests of guests ten times slower at times.
    fn limits(self) -> Limits {
        let (silence, total) = match self {
            Self::Kernel | Self::Agent | Self::Threads => (5, 15),
            Self::Vmm | Self::Blackout => (20, 40),
        };
        Limits { silence: Duration::from_mins(silence), total: Duration::from_mins(total) }
    }

    /// Memory of a machine at least, in MiB.
    fn memory(self) -> u32 {
        match self {
            Self::Kernel | Self::Agent | Self::Blackout => 2048,
            Self::Vmm => 4096,
            // The page allocator takes pages from scratch memory where that is more than half of what is free in a
            // zone, and PRESERVE moves such pages. So there is much memory, and little of it is scratch memory.
            Self::Threads => 8192,
        }
    }

    /// More parameters of the kernels.
    fn parameters(self) -> Vec<String> {
        match self {
            // See `memory`.
            Self::Threads => vec!["kho_scratch=128M,512M,64M".to_owned()],
            _ => Vec::new(),
        }
    }

    /// The kernels that are compared.
    fn hops(self) -> Vec<Hops> {
        let all: &[Implementation] = match self {
            Self::Blackout => &[Implementation::C, Implementation::CRuns, Implementation::Rust],
            _ => &[Implementation::C, Implementation::Rust],
        };
        all.iter().map(|kernel| Hops(vec![*kernel; 2])).collect()
    }
}

/// From the call of `reboot(2)` to the kernel's last words, with next to no load.
const LEAVE_PAIRS: &str = "leave the kernel";

/// From the call of `reboot(2)` on, under a load.
const LEAVE_SESSIONS: &str = "freeze and write many sessions";
const LEAVE_FILES: &str = "freeze and write many files";

/// From the last client's answer on, when luod leaves the kernel.
const LEAVE_CLIENTS: &str = "leave when the last client is ready";

/// The figures that have [`LEAVE_PAIRS`] in them.
const LEAVES: &[&str] = &[LEAVE_SESSIONS, LEAVE_FILES, LEAVE_CLIENTS];

impl Column {
    /// The figures of the machines that ran these loads over these hops.
    fn of(hops: &Hops, loads: &[(Load, usize)], machines: &[&Ran]) -> Result<Self> {
        let mut column = Self::new(hops);
        for (load, ran) in loads.iter().zip(machines) {
            column.add(ran, *load)?;
        }
        column.subtract_shutdown();
        Ok(column)
    }

    /// Subtracts the cost of `reboot(2)` with next to no load from its cost with a load.
    ///
    /// The kernel's log has microseconds, so figures of `reboot(2)` are exact to a thousand
    /// instructions.
    fn subtract_shutdown(&mut self) {
        let little = self.instructions(LEAVE_PAIRS).unwrap_or(0);
        for figure in self.figures.iter_mut().filter(|figure| LEAVES.contains(&&*figure.name)) {
            figure.instructions = figure.instructions.saturating_sub(little);
        }
    }

    /// Adds the figures of a machine that ran one load.
    fn add(&mut self, ran: &Ran, (load, count): (Load, usize)) -> Result<()> {
        let (figures, memory) = measured(ran)?;
        // Each machine measures the start of luod, before it has a load. The first figure is kept.
        let new: Vec<_> = figures.into_iter().filter(|it| self.same(it).is_none()).collect();
        self.figures.extend(new);
        self.memory.extend(memory);
        let log = ran.log.display();
        let first = ran.record.hops.first().context("no kernel spoke")?;
        let (name, begin) = match load {
            Load::Pairs => (LEAVE_PAIRS, LEAVING),
            Load::Sessions => (LEAVE_SESSIONS, LEAVING),
            Load::Files => (LEAVE_FILES, LEAVING),
            Load::Agent => (LEAVE_CLIENTS, LAST_READY),
            Load::Library | Load::Guest | Load::Threads => return Ok(()),
        };
        let instructions = between(first, begin, LEFT);
        let instructions = instructions.with_context(|| format!("no `{begin}` in {log}"))?;
        self.figures.push(Figure { name: name.into(), count, instructions });
        Ok(())
    }
}

/// All that a machine has measured, if nothing went wrong.
fn measured(ran: &Ran) -> Result<(Vec<Figure>, Vec<Weight>)> {
    let log = ran.log.display();
    ensure!(ran.record.done && ran.record.alarm.is_none(), "the machine failed; see {log}");
    ensure!(judge::troubles(ran).is_empty(), "something went wrong; see {log}");
    for (hop, said) in ran.record.hops.iter().flat_map(|hop| hop.verdicts.iter()).enumerate() {
        ensure!(said.ok, "step {hop} failed: {}; see {log}", said.name);
    }
    let (mut figures, mut memory) = (Vec::new(), Vec::new());
    let events = ran.record.hops.iter().flat_map(|hop| hop.events.iter());
    for (event, _) in events {
        let Event::Measured(Measurement { name, count, cost }) = event else { continue };
        let (name, count) = (name.clone(), *count);
        match *cost {
            Cost::Ns(instructions) => figures.push(Figure { name, count, instructions }),
            Cost::Bytes(bytes) => memory.push(Weight { name, count, bytes }),
        }
    }
    Ok((figures, memory))
}

/// Runs the task.
pub(crate) fn run(options: &Options) -> Result<()> {
    let subject = options.subject;
    let lists = if options.hops.is_empty() { subject.hops() } else { options.hops.clone() };
    ensure!(lists.iter().all(|hops| hops.0.len() == 2), "each list has two hops, as in `c,rust`");
    let blackout = match subject {
        Subject::Blackout => Some(Blackout::open(&Project::open()?)?.only(&options.case)?),
        _ => None,
    };
    ensure!(blackout.is_some() || options.case.is_empty(), "only `blackout` has cases");
    ensure!(blackout.is_some() || !options.docs, "only the figures of `blackout` are in docs/");
    if let Some(folder) = &options.report {
        run_folder::clear(folder)?;
    }
    let all: Vec<_> = lists.iter().flat_map(|hops| hops.0.iter().copied()).collect();
    let guest = subject.guest();
    let prepared = Prepared::make(guest, &all, &options.build.request())?;
    let folder = run_folder::create(&prepared.setup.cache, options.report.as_deref())?;
    let profile = options.build.profile;
    let memory = subject.memory().max(guest.memory(profile));
    let memory = memory.max(blackout.as_ref().map_or(0, Blackout::memory));
    let machine = MachineOptions::of_memory(memory);
    let runner = Runner::new(&prepared, profile, machine, &folder)?;
    let runner = if subject.counts() { runner.counting() } else { runner };

    let loads = subject.loads();
    let mut queue = Queue::default();
    for hops in &lists {
        let machines = match &blackout {
            Some(blackout) => blackout.machines(hops, profile),
            None => loads
                .iter()
                .map(|load| vm(hops, profile, *load).with_parameters(&subject.parameters()))
                .collect(),
        };
        queue.add(None, machines);
    }
    let vms = queue.machines().iter().map(|vm| (vm.clone(), subject.limits()));
    let vms: Vec<_> = vms.collect();
    // Machines that count instructions do not mind neighbours.
    let at_once = if subject.counts() { vms.len().max(1) } else { 1 };
    let mut each = Vec::new();
    for vms in vms.chunks(at_once) {
        let results = runner.run_all(vms.to_vec());
        results.error.map_or(Ok(()), Err)?;
        each.extend(results.each);
    }
    let columns = lists.iter().zip(queue.sort_out(&each));
    let columns = columns.map(|(hops, machines)| match &blackout {
        Some(blackout) => blackout.column(hops, &machines),
        None => Column::of(hops, loads, &machines),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let parameters = blackout.as_ref().map_or_else(
        || subject.parameters().join(" "),
        |blackout| blackout.parameters().to_owned(),
    );
    let given = (parameters, memory);
    let report = json::Report::new(subject.name(), &prepared, given, &columns);
    let path = folder.join(run_folder::BENCH);
    std::fs::write(&path, report.render()?).with_context(|| format!("write {}", path.display()))?;
    if blackout.is_some() {
        docs::write_pictures(&folder, &columns)?;
    }
    say(&format!("\n{}\nfigures: {}\n", table::render(&columns, subject.unit()), path.display()))?;
    if options.docs {
        docs::write(&Project::open()?, &columns)?;
    }
    let found: Vec<_> = columns.iter().flat_map(limits::beside_ioctls).collect();
    let memory = columns.iter().flat_map(|column| match &blackout {
        Some(_) => Blackout::taken(column).collect(),
        None => limits::memory(column),
    });
    let lines: Vec<_> = found.iter().map(ToString::to_string).chain(memory).collect();
    say(&format!("{}\n", lines.join("\n")))?;
    let mut broken: Vec<_> =
        columns.iter().filter(|it| it.is_ours).flat_map(limits::out_of_proportion).collect();
    broken.extend(found.iter().filter(|found| !found.holds()).map(ToString::to_string));
    if let Some(blackout) = &blackout {
        broken.extend(blackout.all_broken(&lists, &columns));
    } else {
        broken.extend(columns.iter().flat_map(limits::of_updates));
        broken.extend(columns.iter().flat_map(limits::of_guests));
    }
    ensure!(broken.is_empty(), "too much: {}", broken.join("; "));
    if subject == Subject::Agent && !options.figures_only {
        for hops in &lists {
            side_by_side(hops)?;
        }
    }
    Ok(())
}

/// A rule of the suite `agent`, which is played while updates are made in all ways.
const RULE: &str = "services_and_users_keep_their_memory";

/// Shows whole updates by luod and by systemd, side by side.
fn side_by_side(hops: &Hops) -> Result<()> {
    let kernel = hops.0.first().copied().unwrap_or(Implementation::Rust);
    // Three updates: by `luctl update`, with `--now`, and by `systemctl kexec`.
    let hops = format!("{kernel}*4");
    let words = ["vm-test", "--suite", "agent", "--hops", &hops, "--test", RULE];
    vm_test::run(&typed(&words)?)
}

/// The machine that runs one load.
fn vm(hops: &Hops, profile: Profile, (load, count): (Load, usize)) -> Vm {
    let name = format!("bench-{}-{load:?}-{count}", hops.file_name()).to_lowercase();
    machine(name, hops, |kernel, side| {
        let name = format!("{load:?}/{side:?}").to_lowercase();
        let leave = match load {
            Load::Agent | Load::Guest => Leave::UpdateNow,
            _ => Leave::Plain,
        };
        Hop { leave, ..hop(kernel, profile, name, Action::Measure { load, side, count }) }
    })
}

/// A machine with a kernel on each side of an update.
fn machine(name: String, hops: &Hops, of: impl Fn(Implementation, Side) -> Hop) -> Vm {
    let sides = hops.0.iter().zip([Side::Before, Side::After]);
    let plan = sides.map(|(kernel, side)| of(*kernel, side)).collect();
    Vm { name, role: Role::Chain, plan, first: 1 }
}

/// A kernel with one step.
fn hop(kernel: Implementation, profile: Profile, name: String, action: Action) -> Hop {
    Hop {
        label: kernel.to_string(),
        kernel: kernel_name(kernel),
        // The kernel's messages on a serial port cost more than its work.
        cmdline: format!("{} loglevel=6", profile.cmdline()),
        carries: true,
        is_debug: profile == Profile::Debug,
        steps: vec![Step { name, action, limit_ms: 1_000_000 }],
        leave: Leave::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, count: usize, instructions: u64) -> Figure {
        Figure { name: name.into(), count, instructions }
    }

    #[test]
    fn what_leaving_costs_anyway_is_taken_off() {
        let figures =
            vec![figure(LEAVE_PAIRS, 1, 60), figure(LEAVE_FILES, 1, 1000), figure("FINISH", 1, 5)];
        let mut column =
            Column { hops: "c → c".into(), is_ours: false, figures, ..Column::default() };
        column.subtract_shutdown();
        let left: Vec<u64> = column.figures.iter().map(|it| it.instructions).collect();
        assert_eq!(left, [60, 940, 5]);
    }
}
