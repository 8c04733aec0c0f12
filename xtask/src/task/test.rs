// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask test`: everything that must pass before a change is taken.

mod beside;

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cache::Cache;
use crate::campaign::LONG_CHAIN;
use crate::crates::BuildFolder;
use crate::failure::TestsFailed;
use crate::kernel::{Flavour, Implementation, KernelKind, Profile, Recipe};
use crate::outcome::Verdict;
use crate::process::returned;
use crate::progress::human;
use crate::project::Project;
use crate::setup::BuildSetup;
use crate::suite::Suite;
use crate::task::typed::typed;
use crate::task::vm_test::BuildOptions;
use crate::task::{bench, demo, msrv, mutant, self_test, uapi_check, vm_test};
use crate::{campaign, check, interrupt, progress};
use beside::Beside;

/// Chains of kernels that are booted, in a checkout without and with the Rust implementation. Each
/// pair of neighbours is among them, and each of the two in the middle: `rust,c,rust` has both mixed pairs.
const HOPS_C: &[&str] = &["c,c", "c,c,c"];
const HOPS_RUST: &[&str] = &["rust,rust,rust", "rust,c,rust", "c,c"];

/// Memfds are handed over in the usual format, and by the second kernel in the other one.
const FORMATS: &[&str] = &["luo_memfd.extents=0", "luo_memfd.extents=1"];

const BENCH: &[&str] = &["bench", "--hops", "rust,rust"];

/// The suite `agent` shows whole updates.
const BENCH_AGENT: &[&str] = &["bench", "agent", "--hops", "rust,rust", "--figures-only"];

/// The boot of the next kernel with memory of which each page is apart from the others.
const BENCH_BLACKOUT: &[&str] =
    &["bench", "blackout", "--hops", "rust,rust", "--case", "64 MiB scattered"];

/// Everything is slow on a debug kernel, so this comes without the boot scenarios.
const DEBUG: &[&str] = &["vm-test", "--profile", "debug", "--hops", "rust,rust", "--boots", "none"];

/// Services of a real systemd.
const SYSTEMD: &[&str] = &["vm-test", "--suite", "systemd", "--hops", "rust,rust,rust"];

/// luod from its package, on a real systemd: by `luctl update`, with `--now`, and by `systemctl kexec`.
const AGENT: &[&str] = &["vm-test", "--suite", "agent", "--hops", "rust,c,rust,rust"];

/// A kernel that breaks a rule.
const MUTANT: &[&str] = &["mutant", "close-unpreserves-forward"];

/// A chain that is long enough to forget what it does not need.
fn soak() -> Vec<&'static str> {
    let tests = LONG_CHAIN.iter().flat_map(|test| ["--test", *test]);
    ["vm-test", "--hops", "rust*12"].into_iter().chain(tests).collect()
}

/// Virtual machines: a guest of each VMM, an update that is called off, and one that is not.
fn vm() -> Vec<&'static str> {
    let tests = demo::TESTS.iter().flat_map(|test| ["--test", *test]);
    ["vm-test", "--suite", "vm", "--hops", "rust,rust"].into_iter().chain(tests).collect()
}

/// The tasks that run beside the others.
fn rows_beside() -> Vec<Vec<String>> {
    let check = ["kernel", "series", "--check"];
    let docs = ["kernel", "docs"];
    let memblock = ["kernel", "memblock"];
    let vm = vm();
    let all: [&[&str]; 7] = [DEBUG, &vm, BENCH, BENCH_BLACKOUT, &memblock, &docs, &check];
    all.map(|words| words.iter().map(|word| (*word).to_owned()).collect()).into()
}

/// Steps that the summary names, the longest.
const LONGEST: usize = 12;

/// The words of `vm-test` over these lists of hops. A kernel in C does not look at the parameters.
fn over<'h>(hops: &[&'h str]) -> Vec<&'h str> {
    let lists = hops.iter().flat_map(|hops| ["--hops", hops]);
    let formats = FORMATS.iter().flat_map(|format| ["--parameters", format]);
    ["vm-test"].into_iter().chain(lists).chain(formats).collect()
}

/// Runs the task: all parts, also after failures.
pub(crate) fn run() -> Result<()> {
    let begin = Instant::now();
    let project = Project::open()?;
    let hops = if project.has_rust() { HOPS_RUST } else { HOPS_C };
    // In a new checkout there is no time to wait for another one that builds kernels.
    let (cache, target) = (Cache::of_user()?, project.folder.join("target/checks"));
    let crates =
        BuildFolder { cache: &cache, project: &project.folder, target: &target, kind: "checks" };
    if let Some(lock) = cache.prepare_now()? {
        crates.begin(&lock)?;
    }
    // Kernels take longest, and a part of it uses one processor.
    let builds = thread::spawn({
        let has_rust = project.has_rust();
        move || build_machines(has_rust)
    });
    let mut results = vec![
        part("check", || checks(&[], Some(&target)))?,
        part("host tests", || host_tests(&project.folder, &target))?,
        part("kernels and guests", || returned(builds.join()))?,
    ];
    if let Some(lock) = cache.prepare_now()? {
        crates.keep(&lock)?;
    }
    // Machines of one row leave a processor to those of the other.
    let beside = project.has_rust().then(|| Beside::begin(rows_beside()));
    results.extend([
        part("msrv", msrv::run)?,
        part("uapi-check", || uapi_check::run(&uapi_check::Options::default()))?,
        part("self-test", || self_test::run(&typed(&["self-test"])?))?,
    ]);
    results
        .push(part(&format!("vm-test {}", hops.join(" ")), || vm_test::run(&typed(&over(hops))?))?);
    if project.has_rust() {
        for words in [&*soak(), AGENT, SYSTEMD] {
            results.push(part(&words.join(" "), || vm_test::run(&typed(words)?))?);
        }
        results.push(part(&BENCH_AGENT.join(" "), || bench::run(&typed(BENCH_AGENT)?))?);
        results.extend(nightly_samples(&project)?);
    }
    if let Some(beside) = beside {
        results.extend(beside.end()?);
        // At the end: it changes the tree, and the next build changes it back.
        results.push(part(&MUTANT.join(" "), || mutant::run(&typed(MUTANT)?))?);
    }

    println!();
    for result in &results {
        println!("{}", result.line);
    }
    println!("\nthe longest steps of these:");
    for (name, took) in progress::done().iter().take(LONGEST) {
        println!("      {:>12}  {name}", human(*took));
    }
    let count = |verdict| results.iter().filter(|part| part.verdict == verdict).count();
    let failed = count(Verdict::Failed);
    println!(
        "\n{} passed, {} n/a, {failed} failed, {} in all",
        count(Verdict::Passed),
        count(Verdict::NotApplicable),
        human(begin.elapsed())
    );
    if failed == 0 { Ok(()) } else { Err(TestsFailed.into()) }
}

/// Builds kernels and guests that the other parts need, if they are not there: rows of machines side by side should not
/// wait for each other.
fn build_machines(has_rust: bool) -> Result<()> {
    let of = |implementation, profile, flavour| KernelKind { implementation, profile, flavour };
    let c = of(Implementation::C, Profile::Release, Flavour::Host);
    let (kinds, suites): (_, &[Suite]) = if has_rust {
        let rust = of(Implementation::Rust, Profile::Release, Flavour::Host);
        let debug = of(Implementation::Rust, Profile::Debug, Flavour::Test);
        let suites = &[Suite::All, Suite::Systemd, Suite::Agent, Suite::Vm];
        (vec![rust, debug], suites)
    } else {
        (Vec::new(), &[Suite::All])
    };
    let request = typed::<BuildOptions>(&["kernels"])?.request();
    let implementations: Vec<_> =
        [c].iter().chain(&kinds).map(|kind| kind.implementation).collect();
    let (setup, lock) = BuildSetup::open(None, &implementations)?;
    let build = |kind| {
        let recipe = Recipe { kind, fragments: Vec::new() };
        setup.image(&recipe, request.jobs, &lock).map(drop)
    };
    // A part of each kernel's build uses one processor: guests and other kernels fill the gap. The other kernels copy the
    // build folder of the first, so they wait for it.
    thread::scope(|scope| {
        let guests = scope.spawn(|| {
            vm_test::build_programs(&setup, has_rust, &lock)?;
            suites.iter().try_for_each(|suite| vm_test::prepare_guest(&setup, *suite, &lock))
        });
        let first = build(c);
        let kinds = if first.is_ok() { kinds } else { Vec::new() };
        let others: Vec<_> =
            kinds.into_iter().map(|kind| scope.spawn(move || build(kind))).collect();
        let mut results = vec![first];
        results.extend(others.into_iter().map(|thread| returned(thread.join())));
        results.push(returned(guests.join()));
        let errors = results.into_iter().filter_map(Result::err);
        errors
            .reduce(|error, other| error.context(format!("beside it: {other:#}")))
            .map_or(Ok(()), Err)
    })
}

/// Samples of the campaigns that need a nightly toolchain, where there is one.
fn nightly_samples(project: &Project) -> Result<Vec<Part>> {
    let mut results = Vec::new();
    let cache = Cache::of_user()?;
    for sample in campaign::nightly_samples(&project.folder)? {
        let name = format!("sample of {}", sample.name);
        if sample.has_its_tool() {
            let log = cache.path("logs", "sample.log");
            results.push(part(&name, || campaign::run_one(&cache, project, &sample, &log))?);
        } else {
            let line = format!("n/a   {name:<42} the tool is not here: see docs/testing.md");
            results.push(Part { line, verdict: Verdict::NotApplicable });
        }
    }
    Ok(results)
}

struct Part {
    line: String,
    verdict: Verdict,
}

impl Part {
    /// A part that has ended.
    fn ended(name: &str, took: Duration, passed: bool) -> Self {
        let (word, verdict) =
            if passed { ("ok  ", Verdict::Passed) } else { ("FAIL", Verdict::Failed) };
        Self { line: format!("{word}  {name:<42} {}", human(took)), verdict }
    }
}

/// Runs one part; only Ctrl-C ends all of it.
fn part(name: &str, run: impl FnOnce() -> Result<()>) -> Result<Part> {
    let begin = Instant::now();
    println!("\n== {name}");
    let result = run();
    interrupt::check()?;
    let passed = result.is_ok();
    if let Err(error) = result {
        crate::failure::report(&error);
    }
    Ok(Part::ended(name, begin.elapsed(), passed))
}

/// Runs `cargo xtask check`, or the checks called `names`. Cargo builds in `target`, or in its usual folder.
pub(crate) fn checks(names: &[String], target: Option<&Path>) -> Result<()> {
    let tools = Cache::of_user()?.folder().join("tools");
    let summary = check::run(&Project::open()?.folder, &tools, target, names)?;
    if summary.succeeded() { Ok(()) } else { Err(TestsFailed.into()) }
}

fn host_tests(project: &Path, target: &Path) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--locked", "--quiet"]).current_dir(project);
    command.env("CARGO_TARGET_DIR", target);
    if command.status()?.success() { Ok(()) } else { Err(TestsFailed.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::series;

    #[test]
    fn the_words_of_each_part_are_understood() {
        typed::<vm_test::Options>(&over(HOPS_C)).unwrap();
        typed::<vm_test::Options>(&over(HOPS_RUST)).unwrap();
        for words in [SYSTEMD, AGENT, &soak(), DEBUG] {
            typed::<vm_test::Options>(words).unwrap();
        }
        typed::<vm_test::Options>(&vm()).unwrap();
        for words in [BENCH, BENCH_AGENT, BENCH_BLACKOUT] {
            typed::<bench::Options>(words).unwrap();
        }
        typed::<series::Options>(&["kernel series", "--check"]).unwrap();
        typed::<mutant::Options>(MUTANT).unwrap();
    }
}
