// SPDX-License-Identifier: GPL-2.0

//! The files of an outgoing session.

use kernel::{
    prelude::*,
    rbtree::{
        self,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::Arc, //
};
use luo_core::{
    rollback::{
        all_or_none,
        undo_back,
        Index, //
    },
    wire::FileSer, //
};

use crate::{
    block_chain::BlockChain,
    file::{
        PreservedFile,
        Token, //
    },
    flb::FlbSet, //
};

/// Files in the order in which they were preserved.
pub(crate) struct FileSet {
    files: KVVec<PreservedFile>,
    /// Tokens of these files, and of those that are being preserved.
    tokens: RBTree<Token, ()>,
    /// How many files are being preserved; there is room for them.
    pending: usize,
    blocks: BlockChain<FileSer>,
    phase: Phase,
}

/// Whether the kernel is being left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Frozen,
}

impl FileSet {
    /// No files.
    pub(crate) fn new() -> Self {
        Self {
            files: KVVec::new(),
            tokens: RBTree::new(),
            pending: 0,
            blocks: BlockChain::new(),
            phase: Phase::Running,
        }
    }

    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// The files, in the order in which they were preserved.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &PreservedFile> {
        self.files.iter()
    }

    /// Whether the kernel is being left.
    pub(crate) fn is_frozen(&self) -> bool {
        self.phase == Phase::Frozen
    }

    /// Reserves `token` and room for one more file, to be followed by [`Self::commit`] or
    /// [`Self::cancel`].
    ///
    /// # Errors
    ///
    /// `EBUSY` if the kernel is being left, `EEXIST` if the token is used, `ENOSPC` if there are too
    /// many files, `ENOMEM`.
    pub(crate) fn reserve(&mut self, token: Token) -> Result {
        if self.phase == Phase::Frozen {
            return Err(EBUSY);
        }
        let rbtree::Entry::Vacant(place) = self.tokens.entry(token) else {
            return Err(EEXIST);
        };
        let pending = self.pending.saturating_add(1);
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        self.files.reserve(pending, GFP_KERNEL)?;
        self.blocks.grow(self.files.len().saturating_add(pending))?;
        place.insert((), node);
        self.pending = pending;
        Ok(())
    }

    /// Adds a file for which there is a reservation.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the kernel is being left. The file is given back, and the reservation stays.
    pub(crate) fn commit(&mut self, file: PreservedFile) -> Result<(), (Error, PreservedFile)> {
        if self.phase == Phase::Frozen {
            return Err((EBUSY, file));
        }
        self.files
            .push_within_capacity(file)
            .map_err(|error| (ENOMEM, error.0))?;
        self.pending = self.pending.saturating_sub(1);
        Ok(())
    }

    /// Gives up a reservation.
    pub(crate) fn cancel(&mut self, token: Token) {
        self.tokens.remove(&token);
        self.pending = self.pending.saturating_sub(1);
        // What was frozen is written to the blocks of these files, and nothing else.
        self.blocks
            .shrink(self.files.len().saturating_add(self.pending));
    }

    /// Freezes all files in order and writes each down, or none. Returns where the first block is, or
    /// 0.
    pub(crate) fn freeze(&mut self) -> Result<u64> {
        self.phase = Phase::Frozen;
        let first = Index::first(self.files.len());
        let frozen = all_or_none(
            self,
            first,
            |set, at| set.freeze_one(at.get()),
            |set, at| set.unfreeze_one(at.get()),
        );
        match frozen {
            Ok(()) => {
                let sealed = self.blocks.seal(self.files.len());
                sealed.inspect_err(|_| self.unfreeze())
            }
            Err(error) => {
                self.go_on();
                Err(error)
            }
        }
    }

    /// No file is frozen: nothing that was written counts.
    fn go_on(&mut self) {
        self.blocks.wipe();
        self.phase = Phase::Running;
    }

    fn freeze_one(&mut self, at: usize) -> Result {
        let file = self.files.get_mut(at).ok_or(EINVAL)?;
        file.freeze()?;
        self.blocks
            .write(at, &file.to_ser())
            .inspect_err(|_| file.unfreeze())
    }

    fn unfreeze_one(&mut self, at: usize) {
        if let Some(file) = self.files.get_mut(at) {
            file.unfreeze();
        }
    }

    /// Undoes [`Self::freeze`].
    pub(crate) fn unfreeze(&mut self) {
        let last = Index::last(self.files.len());
        undo_back(self, last, |set, at| set.unfreeze_one(at.get()));
        self.go_on();
    }

    /// Calls `each` with what files depend on and how many files in a row depend on just that.
    pub(crate) fn for_each_flbs(&self, mut each: impl FnMut(&FlbSet, u64) -> Result) -> Result {
        let mut run: Option<(&Arc<FlbSet>, u64)> = None;
        for file in self.files.iter() {
            run = match run {
                Some((set, files)) if Arc::ptr_eq(set, file.flbs()) => {
                    Some((set, files.saturating_add(1)))
                }
                _ => {
                    if let Some((set, files)) = run {
                        each(set, files)?;
                    }
                    Some((file.flbs(), 1))
                }
            };
        }
        run.map_or(Ok(()), |(set, files)| each(set, files))
    }
}

/// The last file is unpreserved first.
impl Drop for FileSet {
    fn drop(&mut self) {
        while let Some(file) = self.files.pop() {
            drop(file);
        }
    }
}
