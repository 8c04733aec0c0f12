// SPDX-License-Identifier: GPL-2.0

//! The border to C: the only `unsafe` of this crate.
//!
//! - [`handler`] and [`flb`] call what C registers; the Rust traits of [`kernel::liveupdate`] come
//!   this way too, so there is one kind of handler only.
//! - [`memory`] reads what the last kernel has left.
//! - [`trace`] has the tracepoints.
//! - [`exports`] is the C interface of `include/linux/liveupdate.h`.
//! - Here are the functions that the kernel calls while it boots.

#![expect(unsafe_code, reason = "this is the border")]

use kernel::{
    bindings,
    error::{
        code::*,
        Result, //
    },
    fmt,
    fs::{
        file::LocalFile,
        File, //
    },
    str::{
        CStr,
        CStrExt as _, //
    },
    sync::aref::ARef, //
};

mod exports;
pub(crate) mod flb;
pub(crate) mod handler;
mod layout;
pub(crate) mod memory;
pub(crate) mod trace;

/// The module of what is always built in.
// SAFETY: It is none.
pub(crate) const BUILT_IN: kernel::ThisModule =
    unsafe { kernel::ThisModule::from_ptr(core::ptr::null_mut()) };

kernel::early_param!("liveupdate", liveupdate_param);
kernel::early_param!("liveupdate_restore", liveupdate_restore_param);
kernel::early_initcall!(early_init);
kernel::late_initcall!(late_init);

fn liveupdate_param(value: Option<&CStr>) -> Result {
    crate::boot::liveupdate_param(value)
}

fn liveupdate_restore_param(value: Option<&CStr>) -> Result {
    crate::boot::liveupdate_restore_param(value)
}

fn early_init() -> Result {
    crate::boot::early_init()
}

fn late_init() -> Result {
    crate::boot::late_init()
}

/// Stops the machine: to go on could hand private memory to the wrong owner.
pub(crate) fn panic(why: fmt::Arguments<'_>) -> ! {
    // SAFETY: For `%pA` a pointer to `Arguments` is right.
    unsafe {
        bindings::panic(
            c"liveupdate: %pA".as_char_ptr(),
            core::ptr::from_ref(&why).cast::<core::ffi::c_void>(),
        )
    }
}

/// The file behind a descriptor of the current process.
///
/// # Errors
///
/// `EBADF`.
pub(crate) fn fget(fd: i32) -> Result<ARef<File>> {
    let fd = u32::try_from(fd).map_err(|_| EBADF)?;
    let file = LocalFile::fget(fd)?;
    // SAFETY: An ioctl holds no `fdget_pos` on any file; on the file that it is called on, it holds
    // an `fdget`.
    Ok(unsafe { LocalFile::assume_no_fdget_pos(file) })
}
