// SPDX-License-Identifier: GPL-2.0

//! The memfds whose pages stay where they are: `shmem` tells of each page that is added to one.

use kernel::{
    mm::folio::Pins,
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    }, //
};

use crate::preserved::{
    Preserved,
    Progress, //
};

/// By [`Memfd::id`](kernel::mm::shmem::Memfd::id).
type Frozen = RBTree<usize, Arc<Preserved>>;

static FROZEN: SetOnce<Pin<KBox<Mutex<Frozen>>>> = SetOnce::new();

/// Sets the table up.
pub(crate) fn set_up() -> Result {
    let frozen = new_mutex!(RBTree::new(), "luo_memfd::FROZEN");
    FROZEN.populate(KBox::pin_init(frozen, GFP_KERNEL)?);
    Ok(())
}

/// From now on, pages that are added to a memfd are preserved too.
pub(crate) fn insert(id: usize, preserved: Arc<Preserved>) -> Result {
    let frozen = FROZEN.as_ref().ok_or(ENODEV)?;
    // Page faults of other files wait for the lock, so nothing is allocated under it.
    let node = RBTreeNode::new(id, preserved, GFP_KERNEL)?;
    frozen.lock().insert(node);
    Ok(())
}

/// Undoes [`insert`].
pub(crate) fn remove(id: usize) {
    if let Some(frozen) = FROZEN.as_ref() {
        frozen.lock().remove(&id);
    }
}

/// A folio was added to a memfd: it goes to the next kernel, unless the memfd does not any more.
pub(crate) fn added(id: usize, pins: &mut Pins) -> Result {
    let frozen = FROZEN.as_ref().ok_or(ENODEV)?;
    let preserved = frozen.lock().get(&id).cloned();
    preserved.map_or(Ok(()), |preserved| preserved.add_late(pins))
}

/// How far a memfd is preserved, if it is to be.
pub(crate) fn progress(id: usize) -> Option<Progress> {
    let frozen = FROZEN.as_ref()?.lock();
    frozen.get(&id).map(|preserved| preserved.progress())
}
