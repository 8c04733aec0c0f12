// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading the next kernel, and going there.

use std::ffi::{c_char, c_int};

use liblu::kexec::{self, Kernel};

use crate::border::{self, enter};

/// Loads the kernel in an image, with an initrd unless that is negative, and a command line, or that
/// of the running kernel if it is null. The descriptors stay the caller's.
///
/// -EACCES: not root, or lockdown. -ENOEXEC: this is no kernel. -EBUSY: a file is open for writing, or
/// another process is loading a kernel. -ENOSYS: this kernel cannot do kexec. -EKEYREJECTED: the kernel
/// takes signed images only. -EINVAL: the command line is not UTF-8.
///
/// # Safety
///
/// `image` and `initrd` must be open, `cmdline` NUL-terminated.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_kexec_load(
    image: c_int,
    initrd: c_int,
    cmdline: *const c_char,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises that it is open during the call.
        let image = unsafe { border::borrowed(image) }?;
        let kernel = Kernel::new(&image);
        let kernel = if cmdline.is_null() {
            kernel.running_cmdline()?
        } else {
            // SAFETY: The caller promises the same.
            kernel.cmdline(unsafe { border::text(cmdline, "the command line") }?)
        };
        if initrd < 0 {
            return Ok(kernel.load().map(|()| 0)?);
        }
        // SAFETY: The caller promises that it is open during the call.
        let initrd = unsafe { border::borrowed(initrd) }?;
        Ok(kernel.initrd(&initrd).load().map(|()| 0)?)
    })
}

/// Whether a kernel is loaded: 1 or 0.
///
/// -ENOENT: this kernel cannot do kexec.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_kexec_is_loaded() -> c_int {
    enter(|| Ok(kexec::is_loaded()?.into()))
}

/// Forgets the kernel that is loaded, if one is.
///
/// -EACCES: not root. -EBUSY: another process is loading a kernel. -ENOSYS: this kernel cannot do kexec.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_kexec_unload() -> c_int {
    enter(|| Ok(kexec::unload().map(|()| 0)?))
}

/// Goes to the kernel that is loaded, at once: nothing is stopped, nothing is synced. It only returns
/// if that failed, and everything is as it was.
///
/// -EINVAL: no kernel is loaded. -EACCES: not root. Or the error of the handler of a file that could not be
/// frozen; -EBUSY may also mean that another process is loading a kernel.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_kexec_reboot() -> c_int {
    enter(|| Err(kexec::reboot().into()))
}
