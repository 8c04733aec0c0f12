// SPDX-License-Identifier: GPL-2.0

//! The functions that `mm/shmem.c` calls.

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
    page::PAGE_SIZE,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
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

/// Prints how far a memfd is preserved, in kB as other lines of `fdinfo` do: a large one takes a
/// while.
///
/// # Safety
///
/// `seq` must be valid, and `inode` must be that of a memfd.
#[export]
pub(crate) unsafe extern "C" fn memfd_luo_show_fdinfo(
    seq: *mut bindings::seq_file,
    inode: *mut bindings::inode,
) {
    let Some(progress) = frozen::progress(inode.addr()) else {
        return;
    };
    // SAFETY: The caller promises it.
    let seq = unsafe { SeqFile::from_raw(seq) };
    let kib = |pages: u64| pages * (PAGE_SIZE as u64 / 1024);
    seq_print!(
        seq,
        "liveupdate-size:\t{} kB\nliveupdate-scanned:\t{} kB\nliveupdate-preserved:\t{} kB\n",
        kib(progress.pages),
        kib(progress.scanned),
        kib(progress.found)
    );
}
