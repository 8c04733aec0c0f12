// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest of the guest: its kernel, its initramfs with PID 1, and our VMM.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result};

use crate::cache::{Key, Lock, remove};
use crate::failure::NextStep as _;
use crate::guest::archive::Archive;
use crate::guest::payload::{create, finish, read};
use crate::kernel::{Flavour, Implementation, KernelKind, Profile, Recipe};
use crate::process::Job;
use crate::setup::BuildSetup;
use crate::static_build;

/// Raise it when the way of making the initramfs changes.
const VERSION: u32 = 1;

/// Cloud Hypervisor and its remote control.
const CLOUD_HYPERVISOR: [&str; 2] = ["cloud-hypervisor", "ch-remote"];

/// A folder with the real ones, if there is one. They must run on the guest with Debian.
const REAL: &str = "LIVEUPDATE_CLOUD_HYPERVISOR";

/// The files that a host needs to run such a guest.
#[derive(Clone, Debug)]
pub(super) struct Nested {
    /// The kernel, a bzImage.
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    /// The VMM.
    pub(super) vmm: PathBuf,
    /// The VMM in C.
    pub(super) vmm_in_c: PathBuf,
    /// Cloud Hypervisor and its remote control, or a program that speaks as both do.
    cloud_hypervisor: [PathBuf; 2],
}

impl Nested {
    /// Makes what is not there.
    pub(super) fn prepare(setup: &BuildSetup, lock: &Lock) -> Result<Self> {
        // It makes no live updates, so the implementation does not matter. Hosts in C have this kernel too, so it is often
        // built already. A smaller kernel would boot a second faster, and its build would take minutes.
        let kind = KernelKind {
            implementation: Implementation::C,
            profile: Profile::Release,
            flavour: Flavour::Host,
        };
        let jobs = available_parallelism().context("count processors")?.get() + 1;
        let image = setup.image(&Recipe { kind, fragments: Vec::new() }, jobs, lock)?;
        let [witness, peer] =
            static_build::selftests(&setup.cache, &setup.project, ["witness", "peer"], lock)?;
        let what = ["--package", "vmm"];
        let vmm = static_build::build(&setup.cache, &setup.project, &what, &["vmm"], lock)?;
        Ok(Self {
            kernel: image.path(),
            initramfs: initramfs(setup, &witness)?,
            vmm: vmm.join("vmm"),
            vmm_in_c: vmm_in_c(setup, lock)?,
            cloud_hypervisor: match std::env::var_os(REAL) {
                Some(folder) => CLOUD_HYPERVISOR.map(|name| Path::new(&folder).join(name)),
                None => [peer.clone(), peer],
            },
        })
    }

    /// Cloud Hypervisor and its remote control.
    pub(super) fn cloud_hypervisor(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        CLOUD_HYPERVISOR.into_iter().zip(self.cloud_hypervisor.iter().map(PathBuf::as_path))
    }

    /// The files with their names.
    pub(super) fn files(&self) -> [(&'static str, &Path); 4] {
        [
            (selftests::vmm::KERNEL, &self.kernel),
            (selftests::vmm::INITRAMFS, &self.initramfs),
            (selftests::vmm::PROGRAM, &self.vmm),
            (selftests::vmm::IN_C, &self.vmm_in_c),
        ]
    }
}

/// Builds the VMM in C. The C library of the root is older than the header of live updates, which is the tree's.
fn vmm_in_c(setup: &BuildSetup, lock: &Lock) -> Result<PathBuf> {
    let folder = setup.project.folder.join("selftests/vmm/c");
    let mut key = Key::of("vmm in C", VERSION).with(&setup.root.key).with(&setup.source.key);
    let mut sources = Vec::new();
    for name in ["vmm.c", "machine.c", "machine.h"] {
        let source = read(&folder.join(name))?;
        key = key.with(&source);
        sources.push((name, source));
    }
    let path = setup.cache.path("nested", format!("{}.vmm", key.finish()));
    if path.exists() {
        return Ok(path);
    }
    setup.fetch(lock)?;
    let header = read(&setup.source.folder.join("include/uapi/linux/liveupdate.h"))?;
    let scratch = setup.cache.scratch("nested")?;
    let include = scratch.join("include/linux");
    fs::create_dir_all(&include).with_context(|| format!("make {}", include.display()))?;
    fs::write(include.join("liveupdate.h"), header).context("write the header")?;
    for (name, source) in &sources {
        fs::write(scratch.join(name), source).with_context(|| format!("write {name}"))?;
    }
    let mut command = setup.root.command("gcc", &scratch, &[]);
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-static", "-s"]);
    command.args(["-isystem", "include", "-o", "vmm", "vmm.c", "machine.c"]);
    let log = setup.cache.path("logs", "vmm-in-c.log");
    Job::new(command, &log).run().or_advise(|| {
        let next = format!("mend the error above; the whole output is in {}", log.display());
        ("the VMM in C does not build".to_owned(), next)
    })?;
    setup.cache.publish(&scratch.join("vmm"), &path)?;
    remove(&scratch)?;
    Ok(path)
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
