// SPDX-License-Identifier: MIT OR Apache-2.0

//! KVM or TCG: KVM only where a stock kernel really boots with it.
//!
//! Some machines have a `/dev/kvm` that cannot run one: it hangs, or QEMU reports an internal error.

use std::fs::{self, File};

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Key};
use crate::progress::Progress;
use crate::toolchain::Root;

/// How a guest is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accel {
    /// By the processor.
    Kvm,
    /// By QEMU.
    Tcg,
}

impl Accel {
    /// Its name, for QEMU and for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// The acceleration that the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// KVM if a kernel boots with it here, else TCG.
    #[default]
    Auto,
    /// TCG.
    Tcg,
    /// KVM.
    Kvm,
}

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A kernel boots with KVM.
    Boots,
    /// A stock kernel does not.
    BootsNot,
    /// The kernel that was tried does not, which may be its own fault.
    Unknown,
}

/// The answer of an earlier probe.
#[derive(Deserialize, Serialize)]
struct Probed {
    key: String,
    boots: bool,
}

const RECORD: &str = "kvm.json";

/// Decides how to execute guests; `probe` tries a kernel with KVM, and is asked until it knows.
pub(crate) fn decide(
    choice: Choice,
    cache: &Cache,
    root: &Root,
    probe: impl FnOnce() -> Result<Answer>,
) -> Result<Accel> {
    match choice {
        Choice::Tcg => return Ok(Accel::Tcg),
        Choice::Kvm => return Ok(Accel::Kvm),
        Choice::Auto => {}
    }
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    if let Some(boots) = known(cache, root) {
        return Ok(accel(boots));
    }
    let step = Progress::begin(cache, "try whether a kernel boots with KVM here");
    let answer = probe()?;
    step.done();
    let boots = answer == Answer::Boots;
    if answer != Answer::Unknown {
        cache.write_record(RECORD, &Probed { key: host_key(root), boots })?;
    }
    let finding = if boots { "a kernel boots" } else { "no kernel boots" };
    eprintln!("note: {finding} with KVM here; using {}", accel(boots).name());
    Ok(accel(boots))
}

/// The answer of an earlier probe, if it holds for this host and root.
pub(crate) fn known(cache: &Cache, root: &Root) -> Option<bool> {
    let probed: Probed = cache.read_record(RECORD)?;
    (probed.key == host_key(root)).then_some(probed.boots)
}

fn accel(kvm_boots: bool) -> Accel {
    if kvm_boots { Accel::Kvm } else { Accel::Tcg }
}

/// The things that the answer depends on: QEMU, the host's kernel, the processor.
fn host_key(root: &Root) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let cpu = cpus.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    Key::of("kvm", 1).with(&root.key).with(read("/proc/version")).with(cpu).finish()
}
