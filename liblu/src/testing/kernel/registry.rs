// SPDX-License-Identifier: MIT OR Apache-2.0

//! The devices and descriptors of all fake kernels of this process.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use rustix::io::{Errno, Result};

use super::state::State;
use super::{FileId, file_id};

type Shared = Arc<Mutex<State>>;

/// What a descriptor is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Device,
    Session(u64),
}

impl Role {
    /// The number of the session, for commands that a device does not have.
    pub(super) fn session(self) -> Result<u64> {
        match self {
            Self::Session(number) => Ok(number),
            Self::Device => Err(Errno::NOTTY),
        }
    }
}

#[derive(Default)]
struct Registry {
    devices: HashMap<PathBuf, Weak<Mutex<State>>>,
    descriptors: HashMap<FileId, (Weak<Mutex<State>>, Role)>,
}

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

fn with<T>(work: impl FnOnce(&mut Registry) -> T) -> T {
    work(&mut REGISTRY.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(super) fn add_device(path: &Path, kernel: &Shared) {
    with(|registry| registry.devices.insert(path.into(), Arc::downgrade(kernel)));
}

pub(super) fn device(path: &Path) -> Option<Shared> {
    with(|registry| registry.devices.get(path)?.upgrade())
}

pub(super) fn add(file: FileId, kernel: &Shared, role: Role) {
    with(|registry| registry.descriptors.insert(file, (Arc::downgrade(kernel), role)));
}

pub(super) fn remove(file: FileId) {
    with(|registry| registry.descriptors.remove(&file));
}

pub(super) fn find(fd: BorrowedFd<'_>) -> Option<(Shared, Role)> {
    find_file(file_id(fd))
}

pub(super) fn find_file(file: FileId) -> Option<(Shared, Role)> {
    let (kernel, role) = with(|registry| registry.descriptors.get(&file).cloned())?;
    Some((kernel.upgrade()?, role))
}
