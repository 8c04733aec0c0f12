// SPDX-License-Identifier: GPL-2.0

//! Who preserves which files.

use kernel::{
    fs::File,
    prelude::*,
    sync::Arc, //
};
use luo_core::name::Compatible;

use crate::{
    ffi::handler::{
        PinnedHandler,
        RawHandler, //
    },
    flb::{
        Dependencies,
        Flb,
        FlbSet, //
    },
    show::Show, //
};

/// A registered handler.
struct Entry {
    raw: RawHandler,
    compatible: Compatible,
    /// What its files depend on. Files keep the set that they were counted in.
    dependencies: Dependencies,
}

/// All handlers, in the order of registration, which is the order in which they are asked.
pub(crate) struct Handlers(KVec<Entry>);

/// A handler that takes a file, and what the file will depend on.
pub(crate) struct Found<'a> {
    pub(crate) handler: PinnedHandler,
    pub(crate) flbs: &'a Arc<FlbSet>,
}

impl Handlers {
    /// None.
    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    /// Adds a handler.
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is one of that name, `EINVAL` if the name has no end.
    pub(crate) fn add(&mut self, raw: RawHandler) -> Result {
        let compatible = raw.compatible()?;
        if self.0.iter().any(|entry| entry.compatible == compatible) {
            pr_err!(
                "a file handler '{}' is registered already\n",
                Show(compatible)
            );
            return Err(EEXIST);
        }
        let dependencies = Dependencies::none()?;
        Ok(self.0.push(
            Entry {
                raw,
                compatible,
                dependencies,
            },
            GFP_KERNEL,
        )?)
    }

    /// Removes a handler, and returns what its files depended on.
    pub(crate) fn remove(&mut self, is_it: impl Fn(&RawHandler) -> bool) -> Option<Dependencies> {
        let at = self.0.iter().position(|entry| is_it(&entry.raw))?;
        self.0.remove(at).ok().map(|entry| entry.dependencies)
    }

    /// What files of a handler depend on, to be changed.
    pub(crate) fn dependencies_mut(
        &mut self,
        is_it: impl Fn(&RawHandler) -> bool,
    ) -> Option<&mut Dependencies> {
        let entry = self.0.iter_mut().find(|entry| is_it(&entry.raw))?;
        Some(&mut entry.dependencies)
    }

    /// The handler that takes `file`, with its module pinned.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no handler takes it, or the one that does is being unloaded.
    pub(crate) fn for_file(&self, file: &File) -> Result<Found<'_>> {
        let mut entries = self.0.iter();
        let entry = entries
            .find(|entry| entry.raw.can_preserve(file))
            .ok_or(ENOENT)?;
        let handler = entry.raw.pin().map_err(|_| ENOENT)?;
        Ok(Found {
            handler,
            flbs: entry.dependencies.set(),
        })
    }

    /// The handler of a file that was handed over, with its module pinned.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the name has no end, `ENOENT` if there is no such handler.
    pub(crate) fn by_ser(&self, name: &[u8; Compatible::SIZE]) -> Result<PinnedHandler> {
        let same = |entry: &&Entry| entry.compatible.as_array() == name;
        if let Some(entry) = self.0.iter().find(same) {
            return entry.raw.pin().map_err(|_| ENOENT);
        }
        // What stands behind the end does not count, but is zero as a rule.
        let name = Compatible::new(name).map_err(|_| EINVAL)?;
        let entry = self.0.iter().find(|entry| entry.compatible == name);
        let handler = entry.and_then(|entry| entry.raw.pin().ok());
        handler.ok_or_else(|| {
            pr_err!("no file handler '{}' in this kernel\n", Show(name));
            ENOENT
        })
    }

    /// What files of a handler depend on now; nothing if it is not registered any more.
    pub(crate) fn flbs_of(&self, handler: &PinnedHandler) -> &[Arc<Flb>] {
        let entry = self.0.iter().find(|entry| handler.is(&entry.raw));
        entry.map_or(&[], |entry| entry.dependencies.flbs())
    }
}
