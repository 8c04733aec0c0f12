// SPDX-License-Identifier: GPL-2.0

//! Registered handlers of files.

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
    flb::Flb,
    show::Show, //
};

/// A registered handler.
struct Entry {
    raw: RawHandler,
    compatible: Compatible,
    /// The FLBs that its files depend on, in the order of registration.
    flbs: KVec<Arc<Flb>>,
}

/// All handlers, in the order of registration, in which they are asked for files.
pub(crate) struct Handlers(KVec<Entry>);

/// A handler that takes a file, and the FLBs that the file will depend on.
pub(crate) struct Found<'a> {
    pub(crate) handler: PinnedHandler,
    pub(crate) flbs: &'a [Arc<Flb>],
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
        Ok(self.0.push(
            Entry {
                raw,
                compatible,
                flbs: KVec::new(),
            },
            GFP_KERNEL,
        )?)
    }

    /// Removes a handler, and returns the FLBs that its files depended on.
    pub(crate) fn remove(&mut self, is_it: impl Fn(&RawHandler) -> bool) -> Option<KVec<Arc<Flb>>> {
        let at = self.0.iter().position(|entry| is_it(&entry.raw))?;
        self.0.remove(at).ok().map(|entry| entry.flbs)
    }

    /// The FLBs that files of a handler depend on, to be changed. Preserved files keep theirs.
    pub(crate) fn flbs_mut(
        &mut self,
        is_it: impl Fn(&RawHandler) -> bool,
    ) -> Option<&mut KVec<Arc<Flb>>> {
        let entry = self.0.iter_mut().find(|entry| is_it(&entry.raw))?;
        Some(&mut entry.flbs)
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
            flbs: &entry.flbs,
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
        // Bytes behind the NUL are ignored, but they are zero as a rule.
        let name = Compatible::new(name).map_err(|_| EINVAL)?;
        let entry = self.0.iter().find(|entry| entry.compatible == name);
        let handler = entry.and_then(|entry| entry.raw.pin().ok());
        handler.ok_or_else(|| {
            pr_err!("no file handler '{}' in this kernel\n", Show(name));
            ENOENT
        })
    }

    /// The FLBs that files of a handler depend on now; none if it is not registered any more.
    pub(crate) fn flbs_of(&self, handler: &PinnedHandler) -> &[Arc<Flb>] {
        let entry = self.0.iter().find(|entry| handler.is(&entry.raw));
        entry.map_or(&[], |entry| &entry.flbs)
    }
}
