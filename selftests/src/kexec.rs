// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading the next kernel.

#![expect(unsafe_code, reason = "kexec_file_load(2) has no safe wrapper")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Loads `kernel` and `initramfs` for `reboot(KEXEC)`, with the command line `cmdline`.
///
/// Both files must be regular ones that nobody has open for writing (`ETXTBSY`).
pub fn load(kernel: BorrowedFd<'_>, initramfs: BorrowedFd<'_>, cmdline: &CStr) -> io::Result<()> {
    let cmdline = cmdline.to_bytes_with_nul();
    // SAFETY: The kernel reads `cmdline.len()` bytes from a slice that is borrowed for the whole
    // call, and writes to none of this process's memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initramfs.as_raw_fd(),
            cmdline.len(),
            cmdline.as_ptr(),
            0_u64,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
