// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest without a distribution: our own PID 1 and the test programs, in an initramfs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use selftests::plan::{MODULES, SLOW_DISK_BYTES};

use crate::cache::{Key, Lock, remove};
use crate::clients::Clients;
use crate::failure::Failure;
use crate::guest::archive::Archive;
use crate::guest::nested::Nested;
use crate::guest::payload::{create, finish, finish_disk, read};
use crate::guest::{Files, Guest, Kernels, Pace, Scratch};
use crate::kernel::{Flavour, Profile};
use crate::setup::BuildSetup;
use crate::static_build;
use crate::upstream::Programs;

/// This guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pid1 {
    /// Whether it has a disk with what guests of its own need.
    has_guests: bool,
}

impl Pid1 {
    /// Without guests of its own.
    pub(crate) const PLAIN: Self = Self { has_guests: false };

    /// A host.
    pub(crate) const HOST: Self = Self { has_guests: true };

    /// Compiles this project's programs: PID 1, and others with their names.
    pub(crate) fn compile(
        setup: &BuildSetup,
        lock: &Lock,
    ) -> Result<(PathBuf, Vec<(&'static str, PathBuf)>)> {
        let (cache, project) = (&setup.cache, &setup.project);
        let [init, guest] = static_build::selftests(cache, project, ["init", "guest"], lock)?;
        let clients = Clients::build(cache, project, &setup.root, lock)?;
        let (what, names) = (["--package", "luod", "--bins"], ["luod", "luctl"]);
        let agent = static_build::build(cache, project, &what, &names, lock)?;
        let agent = names.map(|name| (name, agent.join(name)));
        Ok((init, clients.all().chain(agent).chain([("guest", guest)]).collect()))
    }
}

impl Guest for Pid1 {
    fn name(&self) -> &'static str {
        "PID 1"
    }

    fn flavour(&self, profile: Profile) -> Flavour {
        match profile {
            // The kernel that distributions' guests need anyway: one build less.
            Profile::Release => Flavour::Host,
            // Each object more is slow to build and to boot here.
            Profile::Debug => Flavour::Test,
        }
    }

    fn parameters(&self) -> &'static str {
        ""
    }

    fn carries(&self) -> bool {
        true
    }

    /// A disk for swap, so slow that pages are on their way to it for a while.
    fn scratch(&self) -> Option<Scratch> {
        Some(Scratch { bytes: SLOW_DISK_BYTES.into(), speed: Some(1 << 20) })
    }

    fn memory(&self, profile: Profile) -> u32 {
        match profile {
            // The handover of a chain's middle kernel needs 900 MiB: two memfds of 64 MiB of
            // it and two of the previous kernel, 10,000 files, a large memfd, a disk for swap, the
            // next kernel, and what Linux keeps free (44 MiB, and up to 50 MiB for each processor).
            // KHO's scratch areas of 600 MiB take none of them.
            Profile::Release => 2048,
            // KASAN's shadow and KHO's scratch areas do not fit into less.
            Profile::Debug => 3072,
        }
    }

    fn pace(&self, profile: Profile) -> Pace {
        match profile {
            // Emulation within emulation is slow.
            Profile::Release if self.has_guests => Pace::of_seconds(180, 900, 60),
            Profile::Release => Pace::of_seconds(90, 300, 25),
            Profile::Debug => Pace::of_seconds(300, 1200, 100),
        }
    }

    fn prepare(
        &self,
        setup: &BuildSetup,
        packages: &[PathBuf],
        lock: &Lock,
    ) -> Result<Box<dyn Files>> {
        if !packages.is_empty() {
            let what = "the guests of these tests have no distribution to install packages in";
            return Err(Failure::new(what, "leave --deb away, or add --suite systemd").into());
        }
        let (cache, root) = (&setup.cache, &setup.root);
        let upstream = Programs::of(cache, root, &setup.source, &setup.overlay);
        if !upstream.exist() {
            upstream.prepare(cache, root, &setup.tree(lock)?, lock)?;
        }
        let (init, ours) = Self::compile(setup, lock)?;
        let programs = upstream.all().chain(ours).collect();
        let disks = if self.has_guests {
            vec![nested_disk(setup, &Nested::prepare(setup, lock)?)?]
        } else {
            Vec::new()
        };
        Ok(Box::new(Initramfs { init, programs, disks }))
    }
}

/// An archive with the files of a guest's guest.
fn nested_disk(setup: &BuildSetup, nested: &Nested) -> Result<PathBuf> {
    let files = nested.files().map(|(name, path)| read(path).map(|content| (name, content)));
    let files = files.into_iter().collect::<Result<Vec<_>>>()?;
    let key = files
        .iter()
        .fold(Key::of("nested disk", 1), |key, (name, content)| key.with(name).with(content));
    let path = setup.cache.path("nested", format!("{}.disk", key.finish()));
    if !path.exists() {
        let scratch = setup.cache.scratch("nested")?;
        let made = scratch.join("disk");
        let mut archive = Archive::new(create(&made)?);
        for (name, content) in &files {
            archive.program(name, content)?;
        }
        finish_disk(archive, &made)?;
        setup.cache.publish(&made, &path)?;
        remove(&scratch)?;
    }
    Ok(path)
}

/// PID 1, the programs in `/bin`, and the modules of each kernel in a folder of its own.
struct Initramfs {
    init: PathBuf,
    programs: Vec<(&'static str, PathBuf)>,
    disks: Vec<PathBuf>,
}

impl Files for Initramfs {
    fn write_initramfs(&self, to: &Path, kernels: &Kernels) -> Result<()> {
        let mut archive = Archive::new(create(to)?);
        for folder in ["bin", "debugfs", "dev", "proc", "run", "sys", "tmp", MODULES] {
            archive.folder(folder)?;
        }
        // Before devtmpfs is mounted, PID 1 needs something to be born with.
        archive.device("dev/console", 5, 1)?;
        archive.device("dev/null", 1, 3)?;
        archive.program("init", &read(&self.init)?)?;
        for (name, path) in &self.programs {
            archive.program(&format!("bin/{name}"), &read(path)?)?;
        }
        for (implementation, image) in kernels {
            let folder = format!("{MODULES}/{implementation}");
            archive.folder(&folder)?;
            for module in image.modules()? {
                let name = module.file_name().context("a module without a name")?.to_string_lossy();
                archive.file(&format!("{folder}/{name}"), &read(&module)?)?;
            }
        }
        finish(archive, to)
    }

    fn disks(&self) -> Vec<PathBuf> {
        self.disks.clone()
    }
}
