// SPDX-License-Identifier: GPL-2.0

//! The function that `mm/shmem.c` calls.

#![expect(
    unsafe_code,
    reason = "C passes pointers, and promises that they are valid"
)]

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_result,
    ffi::c_int,
    mm::folio::Pins,
    prelude::*, //
};

use crate::frozen;

/// A folio was added to a memfd whose pages stay where they are.
///
/// # Safety
///
/// `inode` must be that of a memfd, and `folio` a locked folio in its page cache.
#[export]
pub(crate) unsafe extern "C" fn memfd_luo_folio_added(
    inode: *mut bindings::inode,
    folio: *mut bindings::folio,
) -> c_int {
    from_result(|| {
        let folio = NonNull::new(folio).ok_or(EINVAL)?;
        // SAFETY: The caller promises it.
        let mut pins = unsafe { Pins::of_new(folio) }?;
        frozen::added(inode.addr(), &mut pins).map(|()| 0)
    })
}
