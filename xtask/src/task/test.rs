// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask test`: everything that must pass before a change is taken.

use std::fs::File;
use std::io::Seek;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, Parser};

use crate::cache::Cache;
use crate::failure::TestsFailed;
use crate::kernel::{Flavour, Implementation, KernelKind, Profile, Recipe};
use crate::process::bound;
use crate::progress::human;
use crate::project::Project;
use crate::setup::BuildSetup;
use crate::task::vm_test::BuildOptions;
use crate::task::{bench, kernel, msrv, mutant, self_test, series, uapi_check, vm_test};
use crate::{campaign, check, interrupt, progress};

/// Chains of kernels that are booted, in a checkout without and with the Rust implementation.
const HOPS_C: &[&str] = &["c,c", "c,c,c"];
const HOPS_RUST: &[&str] =
    &["rust,rust", "c,c", "c,rust", "rust,c", "rust,c,rust", "rust,rust,rust"];

const BENCH: &[&str] = &["bench", "--hops", "rust,rust"];

/// Everything is slow on a debug kernel, so this runs beside other parts, and without the boot scenarios,
/// which would take a quarter of an hour.
const DEBUG: &[&str] = &["vm-test", "--profile", "debug", "--hops", "rust,rust", "--boots", "none"];

/// Services of a real systemd.
const SYSTEMD: &[&str] = &["vm-test", "--suite", "systemd", "--hops", "rust,rust,rust"];

/// luod from its package, on a real systemd: by `luctl update`, with `--now`, and by `systemctl kexec`.
const AGENT: &[&str] = &["vm-test", "--suite", "agent", "--hops", "rust,c,rust,rust"];

/// A chain that is long enough to forget what it does not need.
const SOAK: &[&str] = &[
    "vm-test",
    "--hops",
    "rust*24",
    "--test",
    "an_flb_and_the_files_that_it_counts_agree_in_the_next_kernel",
];

/// A kernel that breaks a rule.
const MUTANT: &[&str] = &["mutant", "close-unpreserves-forward"];

/// Steps that the summary names, the longest.
const LONGEST: usize = 12;

/// The words of `vm-test` over these lists of hops.
fn over<'h>(hops: &[&'h str]) -> Vec<&'h str> {
    let lists = hops.iter().flat_map(|hops| ["--hops", hops]);
    ["vm-test"].into_iter().chain(lists).collect()
}

/// Options of a task, as if typed.
#[derive(Parser)]
struct Typed<T: Args> {
    #[command(flatten)]
    options: T,
}

/// The options that these words are: the name of the task, and what is typed behind it.
fn typed<T: Args>(words: &[&str]) -> Result<T> {
    Ok(Typed::try_parse_from(words)?.options)
}

/// Runs the task: all parts, also after failures.
pub(crate) fn run() -> Result<()> {
    let begin = Instant::now();
    let project = Project::open()?;
    let hops = if project.has_rust() { HOPS_RUST } else { HOPS_C };
    // Kernels take longest, and a part of it uses one processor.
    let builds = thread::spawn({
        let has_rust = project.has_rust();
        move || build_kernels(has_rust)
    });
    let mut results = vec![
        part("check", || checks(&[]))?,
        part("host tests", || host_tests(&project.folder))?,
        part("kernels", || builds.join().unwrap_or_else(|panic| resume_unwind(panic)))?,
        part("msrv", msrv::run)?,
        part("uapi-check", || uapi_check::run(&uapi_check::Options::default()))?,
        part("self-test", || self_test::run(&typed(&["self-test"])?))?,
    ];
    results
        .push(part(&format!("vm-test {}", hops.join(" ")), || vm_test::run(&typed(&over(hops))?))?);

    if project.has_rust() {
        let debug = Beside::begin(DEBUG)?;
        let check = ["kernel series", "--check"];
        results.push(part(&check.join(" "), || series::run(&typed(&check)?))?);
        results.push(part("kernel docs", || kernel::document(&typed(&["kernel docs"])?))?);
        // It fails if anything grows out of proportion.
        results.push(part(&BENCH.join(" "), || bench::run(&typed(BENCH)?))?);
        for words in [SYSTEMD, AGENT, SOAK] {
            results.push(part(&words.join(" "), || vm_test::run(&typed(words)?))?);
        }
        // Near the end: it changes the tree, and the next build changes it back.
        results.push(part(&MUTANT.join(" "), || mutant::run(&typed(MUTANT)?))?);
        results.extend(nightly_samples(&project)?);
        results.push(debug.end()?);
    }

    println!();
    for result in &results {
        println!("{}", result.line);
    }
    println!("\nthe longest steps of these:");
    for (name, took) in progress::done().iter().take(LONGEST) {
        println!("      {:>12}  {name}", human(*took));
    }
    let failed = results.iter().filter(|result| !result.passed).count();
    println!(
        "\n{} passed, {failed} failed, {} in all",
        results.len() - failed,
        human(begin.elapsed())
    );
    if failed == 0 { Ok(()) } else { Err(TestsFailed.into()) }
}

/// Builds the kernels that the other parts need, if they are not there.
fn build_kernels(has_rust: bool) -> Result<()> {
    let of = |implementation, profile, flavour| KernelKind { implementation, profile, flavour };
    let mut kinds = vec![of(Implementation::C, Profile::Release, Flavour::Test)];
    if has_rust {
        let rust = |profile, flavour| of(Implementation::Rust, profile, flavour);
        kinds.extend([
            rust(Profile::Release, Flavour::Test),
            rust(Profile::Release, Flavour::Host),
            of(Implementation::C, Profile::Release, Flavour::Host),
            rust(Profile::Debug, Flavour::Test),
        ]);
    }
    let request = typed::<BuildOptions>(&["kernels"])?.request();
    let implementations: Vec<_> = kinds.iter().map(|kind| kind.implementation).collect();
    let (setup, lock) = BuildSetup::open(None, &implementations)?;
    for kind in kinds {
        setup.image(&Recipe { kind, fragments: Vec::new() }, request.jobs, &lock)?;
    }
    Ok(())
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
            results.push(Part { line, passed: true });
        }
    }
    Ok(results)
}

struct Part {
    line: String,
    passed: bool,
}

/// A part that runs beside others, as a process of its own, whose output is shown at the end.
struct Beside {
    name: String,
    begin: Instant,
    process: Child,
    output: File,
}

impl Beside {
    fn begin(words: &[&str]) -> Result<Self> {
        let name = words.join(" ");
        println!("\n== {name} begins, beside the next parts");
        let output = tempfile::tempfile().context("make a file for the output")?;
        let copy = || output.try_clone().context("copy a descriptor");
        let mut command = bound(&std::env::current_exe().context("find this program")?);
        command.args(words).stdin(Stdio::null()).stdout(copy()?).stderr(copy()?);
        let process = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { name, begin: Instant::now(), process, output })
    }

    /// Waits for it.
    fn end(mut self) -> Result<Part> {
        let name = std::mem::take(&mut self.name);
        let begin = self.begin;
        part_since(begin, &name, || {
            let status = self.process.wait().context("wait for a part")?;
            self.output.rewind().context("read the output")?;
            std::io::copy(&mut self.output, &mut std::io::stdout()).context("show the output")?;
            if status.success() { Ok(()) } else { Err(TestsFailed.into()) }
        })
    }
}

/// Another part has failed in a way that ends all of it.
impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs one part; only Ctrl-C ends all of it.
fn part(name: &str, run: impl FnOnce() -> Result<()>) -> Result<Part> {
    part_since(Instant::now(), name, run)
}

/// Runs the rest of a part that has begun then.
fn part_since(begin: Instant, name: &str, run: impl FnOnce() -> Result<()>) -> Result<Part> {
    println!("\n== {name}");
    let result = run();
    interrupt::check()?;
    let passed = result.is_ok();
    if let Err(error) = result {
        crate::failure::report(&error);
    }
    let word = if passed { "ok  " } else { "FAIL" };
    Ok(Part { line: format!("{word}  {name:<42} {}", human(begin.elapsed())), passed })
}

/// Runs `cargo xtask check`, or the checks called `names`.
pub(crate) fn checks(names: &[String]) -> Result<()> {
    let tools = Cache::of_user()?.folder().join("tools");
    let summary = check::run(&Project::open()?.folder, &tools, names)?;
    if summary.succeeded() { Ok(()) } else { Err(TestsFailed.into()) }
}

fn host_tests(project: &Path) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--locked", "--quiet"]).current_dir(project);
    if command.status()?.success() { Ok(()) } else { Err(TestsFailed.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_each_part_are_understood() {
        typed::<vm_test::Options>(&over(HOPS_C)).unwrap();
        typed::<vm_test::Options>(&over(HOPS_RUST)).unwrap();
        for words in [SYSTEMD, SOAK, DEBUG] {
            typed::<vm_test::Options>(words).unwrap();
        }
        typed::<bench::Options>(BENCH).unwrap();
        typed::<mutant::Options>(MUTANT).unwrap();
    }
}
