// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask vm-test`: a live update of a real kernel, from one command.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::cache::{self, Lock};
use crate::deb::{self, Headers};
use crate::failure::{Failure, TestsFailed};
use crate::guest::Pid1;
use crate::judge::{self, Ran};
use crate::kernel::{Hops, Implementation, Profile};
use crate::outcome::Outcome;
use crate::prepare::Prepared;
use crate::products::Product;
use crate::progress::Progress;
use crate::project::Project;
use crate::report::{self, Colour};
use crate::runner::Runner;
use crate::setup::{BuildRequest, BuildSetup};
use crate::suite::{self, Boots, Platform, Queue, Role, Suite, Test};
use crate::vm::{Choice, Limits};
use crate::{run_folder, say};

/// The options of a run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Kernels booted one after the other, each by kexec from the one before: `c,c`, `c,rust,c`,
    /// `c,rust*3`; may be given several times
    ///
    /// Default: `rust,rust`, or `c,c` in a checkout without the Rust implementation.
    #[arg(long, value_name = "LIST")]
    hops: Vec<Hops>,
    /// Which tests
    #[arg(long, value_enum, default_value_t)]
    suite: Suite,
    /// Only this test; may be given several times
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
    /// A Debian package that the guests of suite `systemd` have installed; may be given several times
    #[arg(long, value_name = "FILE")]
    deb: Vec<PathBuf>,
    /// How many of the scenarios that need boots of their own
    #[arg(long, value_enum, default_value_t)]
    boots: Boots,
    /// Print the tests there are, and stop
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    pub(crate) build: BuildOptions,
    #[command(flatten)]
    pub(crate) machine: MachineOptions,
    /// More parameters of each kernel: `luo_memfd.extents=1`; if given several times, the kernels of
    /// a chain have them in turns
    #[arg(long, value_name = "TEXT")]
    parameters: Vec<String>,
    /// Keep the files of the virtual machines: kernel, initramfs, payload
    #[arg(long)]
    keep: bool,
    /// Folder for logs and reports [default: a new one in the cache]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Show everything that the guests say
    #[arg(long, short)]
    verbose: bool,
}

/// How kernels are built.
#[derive(Args, Clone, Debug)]
pub(crate) struct BuildOptions {
    /// How kernels are built: as users run them, or with KASAN, lockdep and other checks
    #[arg(long, value_enum, default_value_t)]
    pub(crate) profile: Profile,
    /// A kernel tree of your own; it is copied, never changed [default: Debian's source]
    #[arg(long, value_name = "DIR")]
    linux: Option<PathBuf>,
    /// Jobs that make may run at once [default: processors, and one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

/// The hardware that guests run on.
#[derive(Args, Clone, Debug)]
pub(crate) struct MachineOptions {
    /// How guests are executed; `auto` takes KVM only where a kernel really boots with it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) accel: Choice,
    /// Memory of a guest: `2G`, `1536M` [default: enough for the guest and the profile]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub(crate) memory: Option<u32>,
    /// Processors of a guest
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// Seconds that one virtual machine may take in all [default: enough for its guest, its profile and
    /// the number of its kernels]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
}

/// Kernels that a machine boots within the base of its time.
const FEW: usize = 6;

impl BuildOptions {
    /// The request for the setup.
    pub(crate) fn request(&self) -> BuildRequest {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        BuildRequest {
            linux: self.linux.clone(),
            profile: self.profile,
            jobs: self.jobs.map_or(processors + 1, usize::from),
        }
    }
}

impl MachineOptions {
    /// The defaults.
    pub(crate) fn usual() -> Self {
        Self { accel: Choice::default(), memory: None, cpus: 2, timeout: None }
    }

    /// The usual, with another size of memory, in MiB, and without a look at KVM.
    pub(crate) fn of_memory(size: u32) -> Self {
        Self { accel: Choice::Tcg, memory: Some(size), ..Self::usual() }
    }

    /// Limits for a guest that boots so many kernels.
    pub(crate) fn limits(&self, platform: Platform, kernels: usize) -> Limits {
        let pace = platform.guest.pace(platform.profile);
        let more = u32::try_from(kernels.saturating_sub(FEW)).unwrap_or(u32::MAX);
        let usual = pace.base + pace.kernel.saturating_mul(more);
        let total = self.timeout.map_or(usual, Duration::from_secs);
        Limits { silence: pace.silence.min(total), total }
    }
}

/// Runs the task.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut tests = suite::select(options.suite, &options.test)?;
    options.boots.choose(&mut tests);
    if options.list {
        let width = tests.iter().map(|test| test.name.len()).max().unwrap_or(0);
        let line = |test: &suite::Test| {
            format!("{:<10} {:<width$} {}\n", test.suite, test.name, test.about)
        };
        return say(&tests.iter().map(line).collect::<String>());
    }
    let begin = Instant::now();
    let started = run_folder::now();
    let lists = match &options.hops[..] {
        [] => vec![default_hops(&Project::open()?)],
        given => given.to_vec(),
    };
    if let Some(folder) = &options.report {
        // An old verdict must never be taken for this run's.
        run_folder::clear(folder)?;
        lists.iter().try_for_each(|hops| run_folder::clear(&folder.join(hops.file_name())))?;
    }
    let runs = lists.into_iter().map(|hops| Run::of(hops, &tests)).collect::<Result<Vec<_>>>()?;
    let kernels: Vec<_> = runs.iter().flat_map(|run| run.hops.0.iter().copied()).collect();
    let profile = options.build.profile;
    let guest = suite::guest(&tests);
    let platform = Platform { guest, profile };
    let request = options.build.request();
    let (setup, lock) = BuildSetup::open(request.linux.as_deref(), &kernels)?;
    let mut packages = options.deb.clone();
    if tests.iter().any(|test| test.suite.has_agent()) {
        packages.extend(agent_packages(&setup, &lock)?);
    }
    let prepared = Prepared::of(setup, lock, guest, &packages, &kernels, &request)?;
    let folder = run_folder::create(&prepared.setup.cache, options.report.as_deref())?;
    let runner = Runner::new(&prepared, profile, options.machine.clone(), &folder)?
        .showing(options.keep, options.verbose);

    // Several lists have a folder each.
    let below = |run: &Run| (runs.len() > 1).then(|| run.hops.file_name());
    let mut queue = Queue::default();
    for run in &runs {
        let machines = suite::machines(&run.tests, &run.hops, platform).into_iter();
        let machines = machines.map(|vm| vm.with_parameters(&options.parameters)).collect();
        queue.add(below(run).as_deref(), machines);
    }
    let vms = queue
        .machines()
        .iter()
        .map(|vm| (vm.clone(), options.machine.limits(platform, vm.plan.count())));
    let results = runner.run_all(vms.collect());

    let mut passed = true;
    for (run, machines) in runs.iter().zip(queue.sort_out(&results.each)) {
        // The results of the machines before a failure must not be lost with it.
        let has_chain = |ran: &&Ran| ran.vm.role == Role::Chain && ran.vm.first == 1;
        if !machines.first().is_some_and(has_chain) {
            continue;
        }
        let folder = below(run).map_or_else(|| folder.clone(), |below| folder.join(below));
        let outcome =
            Outcome { started, elapsed: begin.elapsed(), ..run.judge(&runner, &machines) };
        report::write(&outcome, &folder)?;
        show(&outcome, &folder)?;
        passed &= outcome.passed();
    }
    results.error.map_or(Ok(()), Err)?;
    if passed { Ok(()) } else { Err(TestsFailed.into()) }
}

/// Compiles what most guests have, and packages if there is an agent.
pub(crate) fn build_programs(setup: &BuildSetup, has_agent: bool, lock: &Lock) -> Result<()> {
    if has_agent {
        agent_packages(setup, lock)?;
    }
    Pid1::compile(setup, lock).map(drop)
}

/// Makes what guests of this suite have, before it is run.
pub(crate) fn prepare_guest(setup: &BuildSetup, suite: Suite, lock: &Lock) -> Result<()> {
    let packages = if suite.has_agent() { agent_packages(setup, lock)? } else { Vec::new() };
    suite.guest().prepare(setup, &packages, lock).map(drop)
}

/// The packages of luod, as users install them.
fn agent_packages(setup: &BuildSetup, lock: &Lock) -> Result<Vec<PathBuf>> {
    let (project, cache) = (&setup.project.folder, &setup.cache);
    let folder = Product { kind: "packages", of: &[] }.prepare(cache, project, lock, |to| {
        let step = Progress::begin(cache, "make packages of liblu and luod");
        deb::make(project, cache, to, Headers::Without, lock)?;
        step.done();
        Ok(())
    })?;
    Ok(cache::files(&folder)?.iter().map(|name| folder.join(name)).collect())
}

/// A list of hops, and the tests that make sense over it.
pub(crate) struct Run {
    pub(crate) hops: Hops,
    pub(crate) tests: Vec<Test>,
}

impl Run {
    fn of(hops: Hops, tests: &[Test]) -> Result<Self> {
        let tests: Vec<_> = tests.iter().filter(|test| test.applies(&hops)).cloned().collect();
        if tests.is_empty() {
            let what = format!("no such test makes sense over {hops}");
            return Err(Failure::new(what, "take other `--hops`, or leave them away").into());
        }
        Ok(Self { hops, tests })
    }

    /// What its machines, the chain first, have shown where `runner` ran them.
    pub(crate) fn judge(&self, runner: &Runner<'_>, machines: &[&Ran]) -> Outcome {
        let troubles = machines.iter().flat_map(|ran| judge::troubles(ran));
        // A machine whose own carrying is not among the tests shown must carry all the same.
        let shown = self.tests.iter().any(|test| test.kind == suite::Kind::Carry);
        let others = machines.iter().skip(usize::from(shown));
        let troubles = troubles.chain(others.flat_map(|ran| judge::side_troubles(ran)));
        Outcome {
            chain: self.hops.0.iter().map(ToString::to_string).collect(),
            tests: self.tests.iter().map(|test| judge::test(test, machines)).collect(),
            updates: machines.first().map(|ran| judge::updates(ran)).unwrap_or_default(),
            troubles: troubles.collect(),
            retries: machines.iter().filter_map(|ran| ran.retry.clone()).collect(),
            logs: machines.iter().map(|ran| ran.log.clone()).collect(),
            ..runner.outcome()
        }
    }
}

/// The hops of a run that names none.
pub(crate) fn default_hops(project: &Project) -> Hops {
    let kernel = if project.has_rust() { Implementation::Rust } else { Implementation::C };
    Hops(vec![kernel; 2])
}

fn show(outcome: &Outcome, folder: &Path) -> Result<()> {
    let width = comfy_table::Table::new().width().map_or(100, usize::from);
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let colour = if wanted { Colour::On } else { Colour::Off };
    let mut text = format!("\n{}\n", report::table::render(outcome, width, colour).trim_end());
    let timeline = report::timeline::render(&outcome.updates, width);
    if !timeline.is_empty() {
        text += &format!("\n{}\n", timeline.trim_end());
    }
    text += &format!("\nreport: {}\n", folder.display());
    say(&text)
}

/// A size of memory in MiB: `1024`, `1536M`, `2G`.
fn parse_memory(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.strip_suffix(['G', 'g']) {
        Some(number) => (number, 1024),
        None => (text.strip_suffix(['M', 'm']).unwrap_or(text), 1),
    };
    let size = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    match size {
        Some(size @ 256..) => Ok(size),
        Some(size) => Err(format!("{size} MiB is too little; 256M is the least")),
        None => Err("give a size such as 2G or 1536M".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_size() {
        assert_eq!(parse_memory("2G"), Ok(2048));
        assert_eq!(parse_memory("1536m"), Ok(1536));
        assert_eq!(parse_memory("512"), Ok(512));
        for wrong in ["", "G", "1T", "-1G", "9999999G", "12"] {
            assert!(parse_memory(wrong).is_err(), "{wrong}");
        }
    }
}
