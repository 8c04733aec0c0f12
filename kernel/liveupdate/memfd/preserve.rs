// SPDX-License-Identifier: GPL-2.0

//! The way out.

use kernel::{
    kho,
    mm::shmem::Memfd,
    prelude::*,
    sync::Arc, //
};
use luo_core::memfd::wire::{
    MemfdSer,
    SEALS, //
};

use crate::{
    frozen,
    preserved::Preserved,
    Format, //
};

/// Preserves a memfd.
///
/// # Errors
///
/// `EOPNOTSUPP` if it has seals that the next kernel may not know, and those of
/// [`Preserved::scan`].
pub(crate) fn preserve(memfd: Memfd<'_>, format: Format) -> Result<(kho::Address, Arc<Preserved>)> {
    let locked = memfd.lock();
    let seals = memfd.seals()?;
    if seals & !SEALS != 0 {
        return Err(EOPNOTSUPP);
    }
    let root = MemfdSer {
        position: memfd.position(),
        size: locked.size(),
        seals,
        ..MemfdSer::default()
    };
    let (address, preserved) = Preserved::new(root, format)?;
    frozen::insert(memfd.id(), preserved.clone())?;
    locked.freeze();
    if let Err(error) = preserved.scan(&locked) {
        locked.thaw();
        frozen::remove(memfd.id());
        preserved.end();
        return Err(error);
    }
    Ok((address, preserved))
}

/// Undoes [`preserve`].
pub(crate) fn unpreserve(memfd: Memfd<'_>, preserved: Arc<Preserved>) {
    let locked = memfd.lock();
    locked.thaw();
    frozen::remove(memfd.id());
    // A page fault may have it a little longer.
    preserved.end();
}
