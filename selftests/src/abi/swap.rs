// SPDX-License-Identifier: MIT OR Apache-2.0

//! A disk to which memory is swapped out.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::mapped::PAGE;

/// A disk in memory.
pub const MEMORY_DISK: &str = "/dev/ram0";

/// The pages of it that are used.
pub const MEMORY_DISK_PAGES: u32 = 8192;

/// A disk that is in use, until this is dropped.
#[derive(Debug)]
pub struct Swap(CString);

impl Swap {
    /// Uses the first pages of a disk.
    ///
    /// # Errors
    ///
    /// If the disk cannot be written, or the kernel does not take it.
    pub fn on(disk: &Path, pages: u32) -> io::Result<Self> {
        OpenOptions::new().write(true).open(disk)?.write_all_at(&header(pages), 0)?;
        let disk = CString::new(disk.as_os_str().as_bytes())?;
        // SAFETY: The path is NUL-terminated.
        match unsafe { libc::swapon(disk.as_ptr(), 0) } {
            0 => Ok(Self(disk)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // SAFETY: The path is NUL-terminated.
        let _ = unsafe { libc::swapoff(self.0.as_ptr()) };
    }
}

/// The first page, `union swap_header`: a version, the number of the last page, and a mark.
fn header(pages: u32) -> [u8; PAGE] {
    let mut header = [0; PAGE];
    let words = [(1024, 1_u32), (1028, pages.saturating_sub(1))];
    for (at, word) in words {
        for (to, from) in header.iter_mut().skip(at).zip(word.to_ne_bytes()) {
            *to = from;
        }
    }
    for (to, from) in header.iter_mut().rev().zip(b"SWAPSPACE2".iter().rev()) {
        *to = *from;
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_mkswap_writes() {
        let header = header(16);
        assert!(header.ends_with(b"SWAPSPACE2"));
        let words = header.as_chunks::<4>().0;
        assert_eq!([words[256], words[257], words[258]], [1_u32, 15, 0].map(u32::to_ne_bytes));
    }
}
