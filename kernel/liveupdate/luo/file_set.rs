// SPDX-License-Identifier: GPL-2.0

//! The files of an outgoing session.

use kernel::{
    prelude::*,
    rbtree::{
        self,
        RBTree,
        RBTreeNodeReservation, //
    }, //
};
use luo_core::{
    token::Token,
    wire::FileSer, //
};

use crate::{
    block_chain::BlockChain,
    file::PreservedFile, //
};

/// Files in the order in which they were preserved.
pub(crate) struct FileSet {
    files: KVVec<PreservedFile>,
    /// Tokens of these files, and of those that are being preserved.
    tokens: RBTree<Token, ()>,
    /// Number of files that are being preserved; there is room for them.
    pending: usize,
    blocks: BlockChain<FileSer>,
}

impl Default for FileSet {
    fn default() -> Self {
        Self {
            files: KVVec::new(),
            tokens: RBTree::new(),
            pending: 0,
            blocks: BlockChain::new(),
        }
    }
}

impl FileSet {
    /// Number of files.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are neither files nor reservations.
    pub(crate) fn is_unused(&self) -> bool {
        self.files.is_empty() && self.pending == 0
    }

    /// The files, in the order in which they were preserved.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &PreservedFile> {
        self.files.iter()
    }

    /// Reserves `token` and room for one more file, to be followed by [`Self::commit`] or
    /// [`Self::cancel`].
    ///
    /// # Errors
    ///
    /// `EEXIST` if the token is used, `ENOSPC` if there are too many files, `ENOMEM`.
    pub(crate) fn reserve(&mut self, token: Token) -> Result {
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
    pub(crate) fn commit(&mut self, file: PreservedFile) {
        // There is room: `reserve` has made it.
        let _ = self.files.push_within_capacity(file);
        self.pending = self.pending.saturating_sub(1);
    }

    /// Gives up a reservation.
    pub(crate) fn cancel(&mut self, token: Token) {
        self.tokens.remove(&token);
        self.pending = self.pending.saturating_sub(1);
        self.blocks
            .shrink(self.files.len().saturating_add(self.pending));
    }

    /// Freezes all files in order and writes each down, or none. Returns the address of the first
    /// block, or 0.
    ///
    /// # Errors
    ///
    /// The error of the first file that could not be frozen; no file is frozen then.
    pub(crate) fn freeze(&mut self) -> Result<u64> {
        if self.files.is_empty() {
            return Ok(0);
        }
        let mut entries = self.blocks.entries_mut();
        let failed = self.files.iter_mut().enumerate().find_map(|(at, file)| {
            // There is room for all: it is made when a token is reserved.
            let entry = entries.next().ok_or(ENOSPC);
            let frozen = entry.and_then(|entry| {
                file.freeze()?;
                *entry = file.to_ser();
                Ok(())
            });
            frozen.err().map(|error| (at, error))
        });
        drop(entries);
        if let Some((at, error)) = failed {
            self.unfreeze_first(at);
            return Err(error);
        }
        let sealed = self.blocks.seal(self.files.len());
        sealed.inspect_err(|_| self.unfreeze())
    }

    /// Undoes [`Self::freeze`].
    pub(crate) fn unfreeze(&mut self) {
        self.unfreeze_first(self.files.len());
    }

    /// Unfreezes the first `count` files, the last of them first, and wipes all entries.
    fn unfreeze_first(&mut self, count: usize) {
        let frozen = self.files.get_mut(..count).unwrap_or_default();
        frozen.iter_mut().rev().for_each(PreservedFile::unfreeze);
        self.blocks.wipe();
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
