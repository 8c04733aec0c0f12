// SPDX-License-Identifier: GPL-2.0

//! Which files LUO holds.

use kernel::{
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    }, //
};

use crate::state;

/// The identities of all files that are preserved, or retrieved and not finished.
pub(crate) struct Identities(RBTree<usize, ()>);

impl Identities {
    /// None.
    pub(crate) fn new() -> Self {
        Self(RBTree::new())
    }
}

/// The right to preserve a file: two files with the same identity are the same file.
///
/// # Invariants
///
/// The number is in [`Identities`], and is removed when this is dropped.
pub(crate) struct Identity(usize);

impl Identity {
    /// Claims `id`, which is what the file's handler says.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the file is held already, by any session.
    pub(crate) fn claim(id: usize) -> Result<Self> {
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        match state::get()?.identities.lock().0.entry(id) {
            Entry::Occupied(_) => Err(EBUSY),
            Entry::Vacant(place) => {
                place.insert((), node);
                // INVARIANT: It was just inserted.
                Ok(Self(id))
            }
        }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        if let Ok(state) = state::get() {
            // The node is freed after the lock is released.
            let _node = state.identities.lock().0.remove_node(&self.0);
        }
    }
}
