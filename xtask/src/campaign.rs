// SPDX-License-Identifier: MIT OR Apache-2.0

//! Campaigns: tests that take too long for every change.
//!
//! A campaign is a list of parts, each a command with a limit of time. A part that has passed is not
//! run again while the checkout stays as it is, so a campaign that was stopped goes on where it was.

mod lists;
mod report;
mod run;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::api::{LIBRARIES, Library};
use crate::invocation::Invocation;
use crate::mutant::{self, Mutant};
use crate::process::bound;

pub(crate) use lists::LONG_CHAIN;
use lists::{MACHINES, TARGETS, of_debug, of_guests, of_parts};
pub(crate) use report::{render, write};
pub(crate) use run::{Ran, run, run_one};

/// A campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Campaign {
    /// Many live updates in a row
    Soak,
    /// All tests on debug kernels, over all mixed hops
    Debug,
    /// All tests on kernels with parts of both implementations
    Mixed,
    /// Services of systemd over two kexecs, on both implementations
    Systemd,
    /// luod and its clients over three kexecs in a row and more, on both implementations
    Agent,
    /// Virtual machines over updates, on all mixes of implementations, and many updates in a row
    Vm,
    /// The pure crates and liblu under Miri
    Miri,
    /// Arbitrary input for all that reads the data of others
    Fuzz,
    /// As many sessions as a kernel takes at all
    Limits,
    /// Linux's own tests of memblock, with bisection and without
    Memblock,
    /// Each patch of the series builds
    Series,
    /// The libraries may have their versions after the newest release
    Semver,
    /// The libraries compile for other machines (`rustup target add` brings them)
    Targets,
    /// Each test fails on the kernel that breaks its rule
    Mutants,
    /// Benchmarks of the kernel, of luod and of whole updates
    Bench,
}

/// The size of a campaign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Kernels that `soak` boots one after the other.
    pub(crate) hops: u32,
    /// How long `fuzz` runs each target.
    pub(crate) fuzz: Duration,
}

/// A command that must succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The campaign, and what sets the part apart.
    pub(crate) name: String,
    program: PathBuf,
    /// The program as a person types it.
    typed: &'static str,
    arguments: Vec<String>,
    /// Where it runs, below the top folder of the checkout.
    folder: &'static str,
    environment: Vec<(&'static str, &'static str)>,
    limit: Duration,
    /// For a mutant, its patch: it depends on no other one.
    mutant: Option<String>,
}

impl Campaign {
    /// The name, as it is typed.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Its parts, in the order in which they run. `semver` has none before the first release.
    pub(crate) fn parts(self, size: Size, project: &Path) -> Result<Vec<Part>> {
        let xtask = std::env::current_exe().context("find this program")?;
        let task = |what: &str, arguments: &[&str], minutes| Part {
            typed: "cargo xtask",
            ..Part::new(self, what, &xtask, arguments, Duration::from_mins(minutes))
        };
        let nightly = |what: &str, arguments: &[&str], limit| {
            let arguments: Vec<_> = ["+nightly"].iter().chain(arguments).copied().collect();
            Part::new(self, what, Path::new("cargo"), &arguments, limit)
        };
        Ok(match self {
            Self::Soak => {
                let hops = format!("rust*{}", size.hops);
                let minutes = u64::from(size.hops.div_ceil(4)) + 20;
                let tests = LONG_CHAIN.iter().flat_map(|test| ["--test", *test]);
                let words: Vec<_> =
                    ["vm-test", "--hops", &*hops].into_iter().chain(tests).collect();
                vec![task(&hops, &words, minutes)]
            }
            Self::Debug => of_debug(task),
            Self::Mixed => of_parts(task),
            Self::Miri => {
                let under_miri = |what: &str, arguments: &[&str]| Part {
                    environment: vec![
                        ("MIRIFLAGS", "-Zmiri-disable-isolation"),
                        ("PROPTEST_CASES", "4"),
                    ],
                    ..nightly(
                        what,
                        &[&["miri", "test"], arguments].concat(),
                        Duration::from_hours(1),
                    )
                };
                vec![
                    under_miri("luo_core", &["-p", "luo_core"]),
                    under_miri("liblu", &["-p", "liblu", "-p", "liblu-capi", "--lib"]),
                ]
            }
            Self::Fuzz => {
                let time = format!("-max_total_time={}", size.fuzz.as_secs());
                let of = |&(target, folder): &(&str, &'static str)| Part {
                    folder,
                    ..nightly(
                        target,
                        &["fuzz", "run", "--features", "run", target, "--", &time],
                        size.fuzz + Duration::from_mins(20),
                    )
                };
                TARGETS.iter().map(of).collect()
            }
            Self::Systemd => {
                let hops = ["c,c,c", "rust,rust,rust", "rust,c,rust"];
                let of =
                    |hops: &str| task(hops, &["vm-test", "--suite", "systemd", "--hops", hops], 60);
                hops.map(of).into()
            }
            Self::Agent => {
                let hops =
                    ["rust,rust,rust,rust", "c,c,c,c", "c,rust,c,rust", "rust,c,rust,c", "rust*12"];
                let of =
                    |hops: &str| task(hops, &["vm-test", "--suite", "agent", "--hops", hops], 60);
                hops.map(of).into()
            }
            Self::Vm => of_guests(task),
            Self::Bench => ["kernel", "agent", "blackout", "threads"]
                .map(|subject| task(subject, &["bench", subject], 90))
                .into(),
            Self::Limits => {
                let words = ["vm-test", "--suite", "limits", "--memory", "4096"];
                vec![task("sessions", &words, 60)]
            }
            Self::Memblock => vec![task("simulator", &["kernel", "memblock"], 20)],
            Self::Series => vec![task("build", &["kernel", "series", "--build"], 120)],
            Self::Semver => {
                let Some(tag) = newest_release(project)? else { return Ok(Vec::new()) };
                let of = |library: &Library| {
                    let package = ["semver-checks", "--package", library.name];
                    let arguments = [&package[..], &["--baseline-rev", &tag]].concat();
                    let limit = Duration::from_mins(20);
                    Part::new(self, library.name, Path::new("cargo"), &arguments, limit)
                };
                LIBRARIES.iter().map(of).collect()
            }
            Self::Targets => {
                let of = |target: &&str| {
                    let packages = ["check", "--locked", "-p", "liblu", "-p", "liblu-capi"];
                    let arguments = [&packages[..], &["--target", target]].concat();
                    Part::new(self, target, Path::new("cargo"), &arguments, Duration::from_mins(20))
                };
                MACHINES.iter().map(of).collect()
            }
            Self::Mutants => {
                // The first of two may build kernels from nothing, and the second waits for it.
                let of = |mutant: &Mutant| Part {
                    mutant: Some(mutant.patch.clone()),
                    ..task(&mutant.name, &["mutant", &mutant.name], 90)
                };
                mutant::all(project)?.iter().map(of).collect()
            }
        })
    }
}

/// Short samples of the campaigns that need a nightly toolchain; others have theirs in `vm-test`.
pub(crate) fn nightly_samples(project: &Path) -> Result<Vec<Part>> {
    let size = Size { hops: 2, fuzz: Duration::from_secs(10) };
    let mut miri = Campaign::Miri.parts(size, project)?;
    // The first is `luo_core`: its smallest modules are enough for a look.
    miri.truncate(1);
    for part in &mut miri {
        part.arguments.extend(["--", "token", "name", "command"].map(str::to_owned));
    }
    Ok([miri, Campaign::Fuzz.parts(size, project)?].concat())
}

/// The tag of the newest release before this checkout.
fn newest_release(project: &Path) -> Result<Option<String>> {
    let git = Invocation::new(["git", "describe", "--tags", "--abbrev=0", "--match", "v*"]);
    let output = git.output(project)?;
    let tag = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success().then_some(tag))
}

impl Part {
    fn new(
        campaign: Campaign,
        what: &str,
        program: &Path,
        arguments: &[&str],
        limit: Duration,
    ) -> Self {
        Self {
            name: format!("{} {what}", campaign.name()),
            program: program.into(),
            typed: "cargo",
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            folder: "",
            environment: Vec::new(),
            limit,
            mutant: None,
        }
    }

    /// Whether the tool of a nightly toolchain that it is run by is on this machine.
    pub(crate) fn has_its_tool(&self) -> bool {
        let mut probe = bound(&self.program);
        probe.args(self.arguments.iter().take(2)).arg("--version");
        probe.stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    }

    /// Whether it is the one that this sets apart in its campaign.
    pub(crate) fn is(&self, what: &str) -> bool {
        self.name.split_once(' ').is_some_and(|(_, mine)| mine == what)
    }

    /// The command as a person would type it in the checkout.
    pub(crate) fn command(&self) -> String {
        let words = [self.typed.to_owned()].into_iter().chain(self.arguments.iter().cloned());
        let set = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let command = set.chain(words).collect::<Vec<_>>().join(" ");
        if self.folder.is_empty() { command } else { format!("cd {} && {command}", self.folder) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Project;

    const SIZE: Size = Size { hops: 200, fuzz: Duration::from_mins(1) };

    #[test]
    fn commands_are_those_of_a_person() {
        let project = &Project::open().unwrap().folder;
        let fuzz = Campaign::Fuzz.parts(SIZE, project).unwrap();
        assert_eq!(
            fuzz[0].command(),
            "cd liblu && cargo +nightly fuzz run --features run manifest -- -max_total_time=60"
        );
        for campaign in Campaign::value_variants() {
            let has_none = campaign.parts(SIZE, project).unwrap().is_empty();
            assert!(!has_none || *campaign == Campaign::Semver);
        }
    }
}
