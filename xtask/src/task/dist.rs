// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask dist`: installs liblu for C programs, or makes packages for Debian.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cache::Cache;
use crate::deb::{self, Headers};
use crate::dist::{self, Destination};
use crate::failure::Failure;
use crate::project::Project;
use crate::say;

/// Where things go; `DESTDIR` and `PREFIX` in the environment mean the same.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Folder that stands before all paths, to make a package in
    #[arg(long, env = "DESTDIR", value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// Folder below which everything is installed
    #[arg(long, env = "PREFIX", value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// Folder of libraries, below the prefix or absolute
    #[arg(long, value_name = "DIR", default_value = "lib")]
    libdir: PathBuf,
    /// Make packages for Debian instead, of liblu, luod and luctl
    #[arg(long)]
    deb: bool,
    /// Folder of the packages
    #[arg(long, value_name = "DIR", default_value = "target/deb", requires = "deb")]
    out: PathBuf,
}

/// Runs the task.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { destdir, prefix, libdir, deb, out } = options.clone();
    if !prefix.is_absolute() {
        let what = format!("the prefix {} is no absolute path", prefix.display());
        return Err(Failure::new(what, "give one such as /usr; --destdir may be any folder").into());
    }
    let destdir = destdir.unwrap_or_default();
    let project = Project::open()?.folder;
    let cache = Cache::of_user()?;
    let lock = cache.prepare()?;
    if deb {
        return print(&deb::make(&project, &cache, &out, Headers::With, &lock)?);
    }
    let log = cache.path("logs", "dist.log");
    let built = dist::build(&cache, &project, &log, &lock)?;
    print(&dist::install(&project, &built, &Destination { destdir, prefix, libdir })?)
}

fn print(written: &[PathBuf]) -> Result<()> {
    let lines: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
    say(&(lines.join("\n") + "\n"))
}
