// SPDX-License-Identifier: GPL-2.0

//! The C functions that this crate calls.
//!
//! - [`handler`] and [`flb`] call the operations that C registers; handlers and FLBs that use the
//!   Rust traits of [`kernel::liveupdate`] come as C structures too, so there is one kind only.
//! - [`memory`] reads the memory of the previous kernel.
//! - [`trace`] has the tracepoints.

#![expect(unsafe_code, reason = "calls C")]

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
    str::CStrExt as _,
    sync::aref::ARef, //
};

pub(crate) mod flb;
pub(crate) mod handler;
mod layout;
pub(crate) mod memory;
pub(crate) mod trace;

/// The module of code that is always built in.
// SAFETY: There is no module for such code, and null stands for that.
pub(crate) const BUILT_IN: kernel::ThisModule =
    unsafe { kernel::ThisModule::from_ptr(core::ptr::null_mut()) };

/// Stops the machine: to go on could hand private memory to the wrong owner.
pub(crate) fn panic(why: fmt::Arguments<'_>) -> ! {
    // SAFETY: `%pA` takes a pointer to `Arguments`, which lives for the whole call.
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
