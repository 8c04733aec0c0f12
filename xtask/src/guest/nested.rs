// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest of the guest: a small kernel, its initramfs with PID 1, and our VMM.

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result};

use crate::cache::{Key, Lock, remove};
use crate::guest::archive::Archive;
use crate::guest::payload::{create, finish, read};
use crate::kernel::{Flavour, Implementation, KernelKind, Profile, Recipe};
use crate::setup::BuildSetup;
use crate::static_build;

/// Raise it when the way of making the initramfs changes.
const VERSION: u32 = 1;

/// The files that a host needs to run such a guest.
#[derive(Clone, Debug)]
pub(super) struct Nested {
    /// The kernel, a bzImage.
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    /// The VMM.
    pub(super) vmm: PathBuf,
    /// A program that speaks as Cloud Hypervisor does.
    pub(super) peer: PathBuf,
}

impl Nested {
    /// Makes what is not there.
    pub(super) fn prepare(setup: &BuildSetup, lock: &Lock) -> Result<Self> {
        // It has no live updates, so the implementation does not matter.
        let kind = KernelKind {
            implementation: Implementation::C,
            profile: Profile::Release,
            flavour: Flavour::Guest,
        };
        let jobs = available_parallelism().context("count processors")?.get() + 1;
        let image = setup.image(&Recipe { kind, fragments: Vec::new() }, jobs, lock)?;
        let [witness, peer] =
            static_build::selftests(&setup.cache, &setup.project, ["witness", "peer"])?;
        let vmm = static_build::build(&setup.cache, &setup.project, &["--package", "vmm"])?;
        Ok(Self {
            kernel: image.path(),
            initramfs: initramfs(setup, &witness)?,
            vmm: vmm.join("vmm"),
            peer,
        })
    }

    /// The program that speaks as Cloud Hypervisor does, with both names that it goes by.
    pub(super) fn peers(&self) -> [(&'static str, &Path); 2] {
        ["cloud-hypervisor", "ch-remote"].map(|name| (name, self.peer.as_path()))
    }

    /// The files with their names.
    pub(super) fn files(&self) -> [(&'static str, &Path); 3] {
        [
            (selftests::vmm::KERNEL, &self.kernel),
            (selftests::vmm::INITRAMFS, &self.initramfs),
            (selftests::vmm::PROGRAM, &self.vmm),
        ]
    }
}

/// An initramfs with nothing but PID 1.
fn initramfs(setup: &BuildSetup, witness: &Path) -> Result<PathBuf> {
    let program = read(witness)?;
    let key = Key::of("nested", VERSION).with(&program);
    let path = setup.cache.path("nested", format!("{}.cpio", key.finish()));
    if path.exists() {
        return Ok(path);
    }
    let scratch = setup.cache.scratch("nested")?;
    let made = scratch.join("initramfs");
    let mut archive = Archive::new(create(&made)?);
    for folder in ["dev", "proc", "sys"] {
        archive.folder(folder)?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.device("dev/null", 1, 3)?;
    archive.program("init", &program)?;
    finish(archive, &made)?;
    setup.cache.publish(&made, &path)?;
    remove(&scratch)?;
    Ok(path)
}
