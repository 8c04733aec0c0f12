// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask test`: everything that must pass before a change is taken.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use clap::{Args, Parser};

use crate::cache::Cache;
use crate::failure::TestsFailed;
use crate::progress::human;
use crate::project::Project;
use crate::task::{bench, header_check, self_test, series, vm_test};
use crate::{check, interrupt};

/// Chains of kernels that are booted, in a checkout without and with the Rust implementation.
const HOPS_C: &[&str] = &["c,c", "c,c,c"];
const HOPS_RUST: &[&str] =
    &["rust,rust", "c,c", "c,rust", "rust,c", "rust,c,rust", "rust,rust,rust"];

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
    let project = Project::open()?;
    let hops = if project.has_rust() { HOPS_RUST } else { HOPS_C };
    let mut results = vec![
        part("check", || checks(&[]))?,
        part("host tests", || host_tests(&project.folder))?,
        part("header-check", || header_check::run(&header_check::Options::default()))?,
        part("self-test", || self_test::run(&typed(&["self-test"])?))?,
    ];
    let words = hops.iter().flat_map(|hops| ["--hops", hops]);
    let words: Vec<_> = ["vm-test"].into_iter().chain(words).collect();
    results.push(part(&format!("vm-test {}", hops.join(" ")), || vm_test::run(&typed(&words)?))?);

    if project.has_rust() {
        let check = ["kernel series", "--check"];
        results.push(part(&check.join(" "), || series::run(&typed(&check)?))?);
        // It fails if anything grows out of proportion.
        let bench = ["bench", "--hops", "rust,rust"];
        results.push(part(&bench.join(" "), || bench::run(&typed(&bench)?))?);
        // All of its tests take a quarter of an hour.
        let debug = ["vm-test", "--profile", "debug", "--hops", "rust,rust", "--boots", "few"];
        results.push(part(&debug.join(" "), || vm_test::run(&typed(&debug)?))?);
    }

    println!();
    for result in &results {
        println!("{}", result.line);
    }
    let failed = results.iter().filter(|result| !result.passed).count();
    println!("{} passed, {failed} failed", results.len() - failed);
    if failed == 0 { Ok(()) } else { Err(TestsFailed.into()) }
}

struct Part {
    line: String,
    passed: bool,
}

/// Runs one part; only Ctrl-C ends all of it.
fn part(name: &str, run: impl FnOnce() -> Result<()>) -> Result<Part> {
    println!("\n== {name}");
    let begin = Instant::now();
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
