// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask campaign`: tests that take too long for every change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::cache::Cache;
use crate::campaign::{self, Campaign, Ran, Size};
use crate::failure::{Failure, TestsFailed};
use crate::mutant;
use crate::project::Project;
use crate::{run_folder, say};

/// The options of `cargo xtask campaign`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Which campaigns; `all` for all of them
    #[arg(required_unless_present = "list", value_parser = parse_name)]
    names: Vec<Name>,
    /// Print the campaigns there are, with their commands, and stop
    #[arg(long)]
    list: bool,
    /// Only this part: the name of a mutant, or what else sets a part apart
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Run also what has passed on this checkout before
    #[arg(long)]
    again: bool,
    /// Kernels that `soak` boots one after the other
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    hops: u32,
    /// Seconds that `fuzz` spends on each target
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    seconds: u64,
    /// Folder for logs and reports [default: a new one in the cache]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    All,
    One(Campaign),
}

fn parse_name(text: &str) -> Result<Name, String> {
    if text == "all" {
        return Ok(Name::All);
    }
    Campaign::from_str(text, false).map(Name::One).map_err(|_| {
        let names = Campaign::value_variants().iter().map(|campaign| campaign.name());
        format!("choose `all` or some of: {}", names.collect::<Vec<_>>().join(", "))
    })
}

/// Said about `semver` before the first release.
const NOTHING: &str = "nothing to do: nothing is released (no tag `v*`)\n";

/// Runs the task.
pub(crate) fn run(options: &Options) -> Result<()> {
    let size = Size { hops: options.hops, fuzz: Duration::from_secs(options.seconds) };
    let project = Project::open()?;
    if options.list {
        return say(&list(size, &project.folder)?);
    }
    let is_wanted = |campaign: &&Campaign| {
        options.names.iter().any(|name| *name == Name::All || *name == Name::One(**campaign))
    };
    let wanted = Campaign::value_variants().iter().filter(is_wanted);
    let parts = wanted.map(|campaign| campaign.parts(size, &project.folder));
    let mut parts = parts.collect::<Result<Vec<_>>>()?.concat();
    if let Some(only) = &options.only {
        parts.retain(|part| part.is(only));
        if parts.is_empty() {
            let what = format!("no part of these campaigns is called `{only}`");
            return Err(Failure::new(what, "see `cargo xtask campaign --list`").into());
        }
    }
    if parts.is_empty() {
        return say(NOTHING);
    }
    if let Some(folder) = &options.report {
        run_folder::clear(folder)?;
    }
    let cache = Cache::of_user()?;
    let folder = run_folder::create(&cache, options.report.as_deref())?;
    let all = campaign::run(&cache, &project, &parts, options.again, &folder)?;
    campaign::write(&all, &folder)?;
    say(&format!("\n{}report: {}\n", campaign::render(&all), folder.display()))?;
    if all.iter().all(Ran::passed) { Ok(()) } else { Err(TestsFailed.into()) }
}

fn list(size: Size, project: &Path) -> Result<String> {
    let mut text = String::new();
    for campaign in Campaign::value_variants() {
        let about = campaign.to_possible_value();
        let about = about.as_ref().and_then(clap::builder::PossibleValue::get_help);
        let about = about.map(ToString::to_string).unwrap_or_default();
        text += &format!("{:<8} {about}\n", campaign.name());
        let parts = campaign.parts(size, project)?;
        if parts.is_empty() {
            text += &format!("         {NOTHING}");
        }
        for part in parts {
            text += &format!("         {}\n", part.command());
        }
    }
    let without = mutant::tests_without(&mutant::all(project)?);
    text += &format!("tests without a mutant: {}\n", without.len());
    for test in without {
        text += &format!("         {}\n", test.name);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_campaigns_or_all() {
        assert_eq!(parse_name("all"), Ok(Name::All));
        assert_eq!(parse_name("soak"), Ok(Name::One(Campaign::Soak)));
        assert!(parse_name("soaking").unwrap_err().contains("soak, debug"));
        let size = Size { hops: 3, fuzz: Duration::from_secs(1) };
        let list = list(size, &Project::open().unwrap().folder).unwrap();
        assert!(list.contains("cargo xtask vm-test --hops rust*3"));
    }
}
