// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask demo`: guests of QEMU and of our VMM over an update of their host, and what they saw.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::cache::Cache;
use crate::gap;
use crate::run_folder;
use crate::say;
use crate::suite::leave;
use crate::task::typed::typed;
use crate::task::vm_test;

/// The tests of the demo: a guest of each VMM.
pub(crate) const TESTS: [&str; 3] = [
    "a_guest_of_qemu_does_not_notice",
    "a_guest_of_our_vmm_does_not_notice",
    "a_guest_of_cloud_hypervisor_does_not_notice",
];

/// A guest with much memory, for the figures.
const LARGE: &str = "a_guest_with_1_gib_does_not_notice";

/// The chains of kernels for the figures: three updates each, in each of the three ways.
const FIGURES: [&str; 2] = ["c*4", "rust*4"];

/// The options of `cargo xtask demo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Kernels of the host: `c` and `rust`
    #[arg(long, value_name = "HOPS", default_value = "rust,rust")]
    hops: String,
    /// Write the picture of the gap to this file, as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Measure the gap of guests with 128 MiB and 1 GiB, by each way to update, on C and on Rust
    #[arg(long, conflicts_with_all = ["hops", "picture"])]
    figures: bool,
}

/// Runs the suite `vm`, and shows the gap.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.figures {
        return figures();
    }
    let log = play(&options.hops, &TESTS)?;
    show(&log, options)
}

/// Plays these tests, and returns the log of the machine.
fn play(hops: &str, tests: &[&str]) -> Result<String> {
    let folder = run_folder::create(&Cache::of_user()?, None)?;
    let report = folder.display().to_string();
    let mut words = vec!["vm-test", "--suite", "vm", "--hops", hops, "--report", &report];
    words.extend(tests.iter().flat_map(|test| ["--test", test]));
    vm_test::run(&typed(&words)?)?;
    let log = folder.join("chain.log");
    fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))
}

/// The table of gaps.
fn figures() -> Result<()> {
    let tests: Vec<_> = TESTS.into_iter().take(2).chain([LARGE]).collect();
    let mut rows = Vec::new();
    for hops in FIGURES {
        let log = play(hops, &tests)?;
        for (number, gaps) in gap::gaps(&log).into_iter().enumerate() {
            let way = leave(number + 1).command().unwrap_or_default();
            let kernel = hops.split('*').next().unwrap_or(hops);
            rows.extend(gaps.into_iter().map(|gap| (format!("{kernel}, {way}"), gap)));
        }
    }
    say(&format!("\n{}", gap::figures(&rows)))
}

fn show(text: &str, options: &Options) -> Result<()> {
    let updates = gap::gaps(text);
    let gaps = updates.last().map_or(&[][..], Vec::as_slice);
    let mut said = String::from("\nwhat the guests saw\n");
    for (name, report) in gap::reports(text) {
        said.push_str(&format!("  {}\n", gap::words(&name, &report)));
    }
    said.push_str("\nthe gap of each guest, from its last instruction in the old kernel to its first in the new one\n");
    said.push_str(&gap::table(gaps));
    if let Some(path) = &options.picture {
        let title =
            format!("An update of the host's kernel ({}), without KVM hardware", options.hops);
        fs::write(path, gap::picture(gaps, &title))
            .with_context(|| format!("write {}", path.display()))?;
        said.push_str(&format!("\npicture: {}\n", path.display()));
    }
    say(&said)
}
