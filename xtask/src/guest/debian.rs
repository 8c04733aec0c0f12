// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest with a distribution: Debian with systemd, where a unit plays the plan.
//!
//! The system is a read-only image that mmdebstrap makes once. Our programs and units are a second
//! image above it, made for each run in a moment, and what a hop writes is in memory.

mod layer;
mod stock;
mod system;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cache::Lock;
use crate::guest::archive::Archive;
use crate::guest::nested::Nested;
use crate::guest::payload::{create, finish, read};
use crate::guest::{Files, Guest, Kernels, Pace, Scratch};
use crate::kernel::{Flavour, Profile};
use crate::setup::BuildSetup;
use crate::static_build;

/// This guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Debian {
    /// Whether it has guests of its own.
    is_host: bool,
}

impl Debian {
    /// A machine with services.
    pub(crate) const PLAIN: Self = Self { is_host: false };

    /// A host of virtual machines.
    pub(crate) const HOST: Self = Self { is_host: true };
}

/// What a guest of the host writes to its disk outlives the host's kernel.
const SCRATCH: u64 = 64 << 20;

impl Guest for Debian {
    fn name(&self) -> &'static str {
        "Debian"
    }

    fn flavour(&self, _profile: Profile) -> Flavour {
        Flavour::Host
    }

    /// systemd writes into the kernel's log, where its lines are in order with those of the kernel. No
    /// other process writes to the serial ports, and systemd asks the terminal for nothing.
    ///
    /// The processor of an emulated machine does not scale its time stamp counter, and each kernel measures it anew.
    fn parameters(&self) -> &'static str {
        "systemd.log_target=kmsg systemd.log_level=info systemd.show_status=no \
         systemd.getty_auto=no systemd.firstboot=no TERM=dumb kvm.tsc_tolerance_ppm=5000"
    }

    fn scratch(&self) -> Option<Scratch> {
        self.is_host.then_some(Scratch { bytes: SCRATCH, speed: None })
    }

    fn carries(&self) -> bool {
        false
    }

    fn memory(&self, profile: Profile) -> u32 {
        match profile {
            // Guests with 1 GiB, 256 MiB and four small ones, and what KHO sets aside.
            Profile::Release if self.is_host => 5120,
            Profile::Release => 1536,
            Profile::Debug => 4096,
        }
    }

    fn pace(&self, profile: Profile) -> Pace {
        match profile {
            // Its guests are emulated twice.
            Profile::Release if self.is_host => Pace::of_seconds(300, 1200, 300),
            Profile::Release => Pace::of_seconds(120, 600, 120),
            Profile::Debug => Pace::of_seconds(600, 2400, 600),
        }
    }

    fn prepare(
        &self,
        setup: &BuildSetup,
        packages: &[PathBuf],
        lock: &Lock,
    ) -> Result<Box<dyn Files>> {
        let settings = &setup.project.settings.guests.debian;
        let system = system::prepare(setup, settings, packages, lock)?;
        let programs = ["player", "service", "guest", "initrd"];
        let [player, service, guest, initrd] =
            static_build::selftests(&setup.cache, &setup.project, programs, lock)?;
        let stock = stock::prepare(setup, &settings.stock, lock)?;
        let mut files = [player, service, guest, stock].map(layer::named).to_vec();
        if self.is_host {
            let nested = Nested::prepare(setup, lock)?;
            let all = nested.files().into_iter().chain(nested.cloud_hypervisor());
            files.extend(all.map(|(name, path)| (name.to_owned(), path.to_owned())));
        }
        let layer = layer::prepare(setup, files, lock)?;
        Ok(Box::new(Images { initrd, layer, system }))
    }
}

/// The images, and the program that mounts them.
struct Images {
    initrd: PathBuf,
    layer: PathBuf,
    system: PathBuf,
}

impl Files for Images {
    fn write_initramfs(&self, to: &Path, _: &Kernels) -> Result<()> {
        let mut archive = Archive::new(create(to)?);
        for folder in ["dev", "layers", "memory", "root"] {
            archive.folder(folder)?;
        }
        archive.device("dev/console", 5, 1)?;
        archive.device("dev/null", 1, 3)?;
        archive.program("init", &read(&self.initrd)?)?;
        finish(archive, to)
    }

    fn disks(&self) -> Vec<PathBuf> {
        vec![self.layer.clone(), self.system.clone()]
    }
}
