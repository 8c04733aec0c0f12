// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask clean`: remove what can be made again.

use anyhow::Result;
use clap::Args;

use crate::cache::{Cache, remove};
use crate::task::msrv;
use crate::{products, toolchain};

/// Quick to make again, and what grows: all but the toolchain root, the source and tools.
const BUILT: &[&str] = &[
    "builds",
    "crates",
    "images",
    "logs",
    msrv::FOLDER,
    products::FOLDER,
    "runs",
    "series",
    "tmp",
    "trees",
    "upstream",
];

/// The options of `cargo xtask clean`.
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
    // Files of a killed run may belong to other IDs, and only this can remove them.
    toolchain::sweep(&cache, &prepare)?;
    if options.all {
        for entry in std::fs::read_dir(cache.folder())? {
            let path = entry?.path();
            // The locks are held; empty files do no harm.
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
