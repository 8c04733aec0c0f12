// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that was freed, and that the system may have back.

#![allow(unsafe_code, reason = "a call of C")]

/// Makes the allocator give large pieces of memory back to the system when they are freed.
///
/// The allocator of glibc learns from each large piece that was freed to keep the next one of its size. An image of a
/// kernel is unpacked once in a while and takes tens of MiB, which luod would have as long as it runs. Other
/// allocators are left to do what they do.
pub(crate) fn return_large_pieces() {
    #[cfg(target_env = "gnu")]
    {
        /// Where the allocator begins: 128 KiB. A limit that was set is not raised any more.
        const LARGE: libc::c_int = 128 << 10;
        // SAFETY: The call sets a number, under the lock of the allocator.
        let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) } == 1;
        debug_assert!(is_set, "glibc takes up to 32 MiB");
    }
}
