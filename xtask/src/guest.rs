// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guests: systems that play a plan in a virtual machine.
//!
//! Each says its verdicts in the same way: KTAP with events on the second serial port, so one judge
//! is enough for all.

mod archive;
mod debian;
mod nested;
mod payload;
mod pid1;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::cache::Lock;
use crate::kernel::{Flavour, Image, Implementation, Profile};
use crate::setup::BuildSetup;

pub(crate) use debian::Debian;
pub(crate) use payload::write_payload;
pub(crate) use pid1::Pid1;

/// A kind of guest.
pub(crate) trait Guest: fmt::Debug + Sync {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// The flavour of its kernels under this profile.
    fn flavour(&self, profile: Profile) -> Flavour;

    /// Parameters of all its kernels, behind those of the profile.
    fn parameters(&self) -> &'static str;

    /// Whether it hands a file of its own from hop to hop, as a step.
    fn carries(&self) -> bool;

    /// A disk that a machine may write to, behind all others.
    fn scratch(&self) -> Option<Scratch> {
        None
    }

    /// Memory that a machine gets if the user does not say, in MiB.
    fn memory(&self, profile: Profile) -> u32;

    /// How long a machine may take.
    fn pace(&self, profile: Profile) -> Pace;

    /// Makes what its machines need and the cache does not have. `packages` are files of Debian
    /// packages that it has to have.
    fn prepare(
        &self,
        setup: &BuildSetup,
        packages: &[PathBuf],
        lock: &Lock,
    ) -> Result<Box<dyn Files>>;
}

impl dyn Guest {
    /// Command line of its kernels, without the number of the hop.
    pub(crate) fn cmdline(&self, profile: Profile) -> String {
        let all = [profile.cmdline(), self.parameters().to_owned()];
        all.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// The kernels of a run.
pub(crate) type Kernels = BTreeMap<Implementation, Image>;

/// The files of a guest, all that machines have in common.
pub(crate) trait Files: Sync {
    /// Writes the initramfs of all kernels of a machine.
    fn write_initramfs(&self, to: &Path, kernels: &Kernels) -> Result<()>;

    /// Disks, which are read only, in the order of the guest. The payload comes before them.
    fn disks(&self) -> Vec<PathBuf>;
}

/// A disk that is empty at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scratch {
    /// Its size.
    pub(crate) bytes: u64,
    /// Bytes that it writes in a second, at the most.
    pub(crate) speed: Option<u64>,
}

/// How long a machine may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Without a word.
    pub(crate) silence: Duration,
    /// In all, for a few kernels.
    pub(crate) base: Duration,
    /// More for each further kernel.
    pub(crate) kernel: Duration,
}

impl Pace {
    const fn of_seconds(silence: u64, base: u64, kernel: u64) -> Self {
        let [silence, base, kernel] =
            [Duration::from_secs(silence), Duration::from_secs(base), Duration::from_secs(kernel)];
        Self { silence, base, kernel }
    }
}
