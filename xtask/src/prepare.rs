// SPDX-License-Identifier: MIT OR Apache-2.0

//! Everything that must be there before a virtual machine can start, made if it is missing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use anyhow::Result;

use crate::cache::Lock;
use crate::guest::{Files, Guest};
use crate::kernel::{Image, Implementation, KernelKind, Recipe};
use crate::setup::{BuildRequest, BuildSetup};

/// All that virtual machines need.
pub(crate) struct Prepared {
    pub(crate) setup: BuildSetup,
    /// The kind of guest that they run.
    pub(crate) guest: &'static dyn Guest,
    /// Its files.
    pub(crate) files: Box<dyn Files>,
    /// Image of each implementation that was asked for.
    pub(crate) images: BTreeMap<Implementation, Image>,
}

impl Prepared {
    /// Makes what is missing for guests of this kind, with kernels of these implementations.
    pub(crate) fn make(
        guest: &'static dyn Guest,
        implementations: &[Implementation],
        request: &BuildRequest,
    ) -> Result<Self> {
        let (setup, lock) = BuildSetup::open(request.linux.as_deref(), implementations)?;
        Self::of(setup, lock, guest, &[], implementations, request)
    }

    /// The same, from these parts, with packages installed in the guests.
    pub(crate) fn of(
        setup: BuildSetup,
        lock: Lock,
        guest: &'static dyn Guest,
        packages: &[PathBuf],
        implementations: &[Implementation],
        request: &BuildRequest,
    ) -> Result<Self> {
        let files = guest.prepare(&setup, packages, &lock)?;
        let mut images = BTreeMap::new();
        for implementation in implementations {
            let implementation = *implementation;
            let profile = request.profile;
            let kind = KernelKind { implementation, profile, flavour: guest.flavour(profile) };
            let recipe = Recipe { kind, fragments: Vec::new() };
            if let Entry::Vacant(missing) = images.entry(implementation) {
                missing.insert(setup.image(&recipe, request.jobs, &lock)?);
            }
        }
        drop(lock);
        Ok(Self { setup, guest, files, images })
    }
}
