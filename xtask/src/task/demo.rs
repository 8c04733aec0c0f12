// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask demo`: guests of QEMU and of our VMM over an update of their host, and what they saw.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::cache::Cache;
use crate::gap;
use crate::run_folder;
use crate::say;
use crate::task::typed::typed;
use crate::task::vm_test;

/// The options of `cargo xtask demo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Kernels of the host: `c` and `rust`
    #[arg(long, value_name = "HOPS", default_value = "rust,rust")]
    hops: String,
    /// Write the picture of the gap to this file, as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// Runs the suite `vm`, and shows the gap.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = run_folder::create(&Cache::of_user()?, None)?;
    let report = folder.display().to_string();
    let words = ["vm-test", "--suite", "vm", "--hops", &options.hops, "--report", &report];
    vm_test::run(&typed(&words)?)?;
    show(&folder.join("chain.log"), options)
}

fn show(log: &Path, options: &Options) -> Result<()> {
    let text = fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    let gaps = gap::gaps(&text);
    let mut said = String::from("\nwhat the guests saw\n");
    for (name, report) in gap::reports(&text) {
        said.push_str(&format!("  {}\n", gap::words(&name, &report)));
    }
    said.push_str("\nthe gap of each guest, from its last instruction in the old kernel to its first in the new one\n");
    said.push_str(&gap::table(&gaps));
    if let Some(path) = &options.picture {
        let title =
            format!("An update of the host's kernel ({}), without KVM hardware", options.hops);
        fs::write(path, gap::picture(&gaps, &title))
            .with_context(|| format!("write {}", path.display()))?;
        said.push_str(&format!("\npicture: {}\n", path.display()));
    }
    say(&said)
}
