// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask clean`: remove what can be made again.

use anyhow::Result;
use clap::Args;

use crate::cache::{Cache, remove};
use crate::toolchain;

/// Quick to make again, and what grows: all but the toolchain root, the source and tools.
const BUILT: &[&str] = &["builds", "images", "logs", "runs", "tmp", "trees", "upstream"];

/// What to remove.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Also the toolchain root, the kernel source and everything else: the whole cache
    #[arg(long)]
    all: bool,
}

/// Runs the task.
pub(crate) fn run(options: &Options) -> Result<()> {
    let cache = Cache::of_user()?;
    let prepare = cache.prepare()?;
    let _own = cache.own()?;
    // What a killed run left may belong to other IDs, which only this can remove.
    toolchain::sweep(&cache, &prepare)?;
    if options.all {
        for entry in std::fs::read_dir(cache.folder())? {
            let path = entry?.path();
            // The locks are held; without content they harm nobody.
            if path.extension().is_none_or(|extension| extension != "lock") {
                remove(&path)?;
            }
        }
        eprintln!("removed everything in {}", cache.folder().display());
        return Ok(());
    }
    for name in BUILT {
        remove(&cache.folder().join(name))?;
    }
    eprintln!("removed builds in {}; `--all` removes the rest", cache.folder().display());
    Ok(())
}
