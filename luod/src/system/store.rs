// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fd store of the service manager: sessions and the registry in it outlive luod, and the kernel.
//!
//! A session keeps its name there: a second fd of it would be suppressed, and keep the first name. To close
//! luod's own fd closes nothing while the store has one, and the other way round.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::notify::Notifier;
use crate::registry::StoreName;

/// The fd store; without a service manager there is none, and luod alone holds the sessions.
#[derive(Debug)]
pub struct Store(Option<Managed>);

#[derive(Debug)]
struct Managed {
    notifier: Rc<Notifier>,
    /// The most fds that it takes (`FileDescriptorStoreMax=`).
    room: u32,
    /// Fds that it has.
    used: u32,
    /// The number of the newest registry; 0 for none.
    registry: u64,
    /// Numbers of older registries, which are removed when there is a newer one.
    old: Vec<u64>,
}

/// The store has no room for one more session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the fd store of luod has room for {0} descriptors and no more; raise FileDescriptorStoreMax= of \
     luod.service"
)]
pub struct StoreFull(pub u32);

/// The old registry and the new one are there at the same time, for a moment.
const REGISTRIES: u32 = 2;

impl Store {
    /// No store.
    pub fn none() -> Self {
        Self(None)
    }

    /// The store of a service manager that takes `room` fds at most. It has `used` besides registries, and
    /// registries with these numbers.
    pub fn managed(
        notifier: Rc<Notifier>,
        room: u32,
        used: u32,
        last: u64,
        registries: &[u64],
    ) -> Self {
        Self(Some(Managed { notifier, room, used, registry: last, old: registries.to_vec() }))
    }

    /// Whether there is a store.
    pub fn is_managed(&self) -> bool {
        self.0.is_some()
    }

    /// The fds of sessions that the store takes, and those that it has; `None` without a store.
    pub fn usage(&self) -> Option<(u32, u32)> {
        self.0.as_ref().map(|it| (it.room.saturating_sub(REGISTRIES), it.used))
    }

    /// Checks that one more session has room.
    ///
    /// # Errors
    ///
    /// [`StoreFull`].
    pub fn check_room(&self) -> Result<(), StoreFull> {
        match &self.0 {
            Some(it) if it.used.saturating_add(REGISTRIES) >= it.room => Err(StoreFull(it.room)),
            _ => Ok(()),
        }
    }

    /// Puts a session into the store.
    pub fn keep(&mut self, name: &StoreName, fd: OwnedFd) {
        if let Some(it) = &mut self.0 {
            it.store(name, fd);
            it.used = it.used.saturating_add(1);
        }
    }

    /// Takes a session out of the store.
    pub fn forget(&mut self, name: &StoreName) {
        self.forget_unknown(&name.to_string());
    }

    /// Takes an fd out of the store that luod does not know, by its name there.
    pub fn forget_unknown(&mut self, name: &str) {
        if let Some(it) = &mut self.0 {
            it.remove(name);
            it.used = it.used.saturating_sub(1);
        }
    }

    /// Puts a new registry into the store, in place of the one before.
    ///
    /// # Errors
    ///
    /// Those of making a memfd.
    pub fn write_registry(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(it) = &mut self.0 {
            let number = it.registry.saturating_add(1);
            it.store(&StoreName::Registry(number), sealed(bytes)?);
            it.registry = number;
            // They are read in order, so there is always one.
            for old in std::mem::take(&mut it.old) {
                it.remove(&StoreName::Registry(old).to_string());
            }
            it.old.push(number);
        }
        Ok(())
    }

    /// The notifier, if there is a service manager.
    pub fn notifier(&self) -> Option<Rc<Notifier>> {
        self.0.as_ref().map(|it| Rc::clone(&it.notifier))
    }
}

impl Managed {
    fn store(&self, name: &StoreName, fd: OwnedFd) {
        // A session never has an event, but a hang-up must not remove it.
        self.notifier.send(format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"), Some(fd));
    }

    fn remove(&self, name: &str) {
        self.notifier.send(format!("FDSTOREREMOVE=1\nFDNAME={name}"), None);
    }
}

/// A memfd with these bytes, which nobody can change.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = File::from(memfd_create("luod-registry", flags)?);
    memfd.write_all_at(bytes, 0)?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&memfd, all)?;
    Ok(memfd.into())
}
