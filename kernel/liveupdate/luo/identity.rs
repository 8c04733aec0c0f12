// SPDX-License-Identifier: GPL-2.0

//! Which files LUO holds.

use kernel::{
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::Mutex, //
};

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
/// The number is in the table, and is removed when this is dropped.
pub(crate) struct Identity {
    id: usize,
    table: &'static Mutex<Identities>,
}

/// Room for an identity.
pub(crate) struct Reservation(RBTreeNodeReservation<usize, ()>);

impl Reservation {
    /// Makes room.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(RBTreeNodeReservation::new(GFP_KERNEL)?))
    }

    /// Claims `id`, the number by which the handler knows the file.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a session holds the file.
    pub(crate) fn claim(self, table: &'static Mutex<Identities>, id: usize) -> Result<Identity> {
        match table.lock().0.entry(id) {
            Entry::Occupied(_) => Err(EBUSY),
            Entry::Vacant(place) => {
                place.insert((), self.0);
                // INVARIANT: The number was just inserted.
                Ok(Identity { id, table })
            }
        }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        // The node is freed after the lock is released.
        let node = self.table.lock().0.remove_node(&self.id);
        drop(node);
    }
}
