// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask mutant`: whether the tests notice that a rule of the kernel is broken.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::failure::{NextStep, TestsFailed};
use crate::mutant::{self, Mutant, Seen};
use crate::outcome::Outcome;
use crate::prepare::Prepared;
use crate::progress::human;
use crate::project::Project;
use crate::report;
use crate::runner::Runner;
use crate::setup::{BuildRequest, BuildSetup};
use crate::source::Overlay;
use crate::suite::{self, Platform, Queue, Suite};
use crate::task::vm_test::{BuildOptions, MachineOptions, Run};
use crate::{run_folder, say};

/// The options of `cargo xtask mutant`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Which mutants: the names of patches in selftests/mutants
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Run these tests instead of those that the mutant names; may be given several times
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
    #[command(flatten)]
    build: BuildOptions,
    #[command(flatten)]
    machine: MachineOptions,
    /// Folder for logs and reports [default: a new one in the cache]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Show everything that the guests say
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the task: all mutants, also after one that survived.
pub(crate) fn run(options: &Options) -> Result<()> {
    let project = Project::open()?;
    let named = |name: &String| mutant::named(&project.folder, name);
    let mut mutants = options.names.iter().map(named).collect::<Result<Vec<_>>>()?;
    if !options.test.is_empty() {
        let tests = suite::select(Suite::All, &options.test)?;
        for mutant in &mut mutants {
            mutant.tests.clone_from(&tests);
        }
    }
    let mut all_caught = true;
    for mutant in &mutants {
        let begin = Instant::now();
        for (test, seen) in try_one(options, &project.folder, mutant)? {
            let (name, rule) = (&mutant.name, &mutant.rule);
            all_caught &= matches!(seen, Seen::Caught(_));
            match seen {
                Seen::Caught(why) => say(&format!("caught {name} by {test}: {why}\n"))?,
                Seen::Survived => eprintln!("error: {name} survived: {test} does not see: {rule}"),
                Seen::Unclear(why) => eprintln!("error: {name}: no answer of {test}: {why}"),
            }
        }
        say(&format!("{}: {}\n", mutant.name, human(begin.elapsed())))?;
    }
    if all_caught { Ok(()) } else { Err(TestsFailed.into()) }
}

/// Builds the kernel of a mutant, and runs each of its tests alone. Returns the answer of each.
fn try_one(options: &Options, project: &Path, mutant: &Mutant) -> Result<Vec<(String, Seen)>> {
    let (begin, started) = (Instant::now(), run_folder::now());
    // Errors should be reported before any long work begins.
    let overlay = Overlay::with(project, mutant.files(project)?)?;
    let (hops, profile) = (&mutant.hops, mutant.profile.unwrap_or(options.build.profile));
    let guest = suite::guest(&mutant.tests);
    let platform = Platform { guest, profile };
    let request = BuildRequest { profile, ..options.build.request() };
    let (mut setup, lock) = BuildSetup::open(request.linux.as_deref(), &hops.0)?;
    // A kernel that is wrong on purpose does not outlive the run.
    let images = run_folder::temporary(&setup.cache)?;
    (setup.overlay, setup.images) = (overlay, images.path().into());
    let prepared = Prepared::of(setup, lock, guest, &[], &hops.0, &request).or_advise(|| {
        let what = format!("the mutant {} cannot be prepared", mutant.name);
        (what, "a mutation must compile, without warnings of clippy")
    })?;
    let folder = run_folder::create(&prepared.setup.cache, options.report.as_deref())?;
    let runner = Runner::new(&prepared, profile, options.machine.clone(), &folder)?
        .showing(false, options.verbose);

    let mut queue = Queue::default();
    for test in &mutant.tests {
        let machines = suite::machines(std::slice::from_ref(test), hops, platform);
        let machines = machines.into_iter().map(|vm| vm.with_parameters(&mutant.parameters));
        queue.add(Some(&test.name), machines.collect());
    }
    let limits = |kernels| options.machine.limits(platform, kernels);
    let vms = queue.machines().iter().map(|vm| (vm.clone(), limits(vm.plan.count())));
    let results = runner.run_all(vms.collect());
    results.error.map_or(Ok(()), Err)?;

    let mut all = Vec::new();
    for (test, machines) in mutant.tests.iter().zip(queue.sort_out(&results.each)) {
        let run = Run { hops: hops.clone(), tests: vec![test.clone()] };
        let outcome =
            Outcome { started, elapsed: begin.elapsed(), ..run.judge(&runner, &machines) };
        report::write(&outcome, &folder.join(&test.name))?;
        let seen = outcome.tests.first().map(|outcome| Seen::by(test, outcome, &machines));
        all.extend(seen.map(|seen| (test.name.clone(), seen)));
    }
    Ok(all)
}
