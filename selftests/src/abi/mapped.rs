// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files mapped into memory.

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::ptr;

use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// A whole file in memory, to be read.
#[derive(Debug)]
pub struct Mapped {
    memory: *mut c_void,
    bytes: usize,
}

impl Mapped {
    /// Maps a file, whose size is a multiple of [`PAGE`].
    ///
    /// Nothing may make the file smaller while it is mapped: that would be a signal.
    pub fn new(file: impl AsFd) -> Result<Self> {
        let bytes = rustix::fs::fstat(&file)?.st_size;
        let bytes = usize::try_from(bytes).map_err(|_| Errno::OVERFLOW)?;
        if !bytes.is_multiple_of(PAGE) {
            return Err(Errno::INVAL);
        }
        // SAFETY: A new mapping; nothing else is there.
        let memory =
            unsafe { mmap(ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, file, 0) }?;
        Ok(Self { memory, bytes })
    }

    /// The first word of each page.
    pub fn first_words(&self) -> impl ExactSizeIterator<Item = u64> {
        (0..self.bytes / PAGE).map(|page| {
            // SAFETY: The page is one of the mapping.
            let word = unsafe { self.memory.byte_add(page * PAGE) }.cast::<u64>();
            // SAFETY: A page has room for a word and is aligned, and any bytes are a value. Another process may
            // write there, so it is read once.
            unsafe { word.read_volatile() }
        })
    }

    /// The page frame of each page that was read before; `None` for others. Only root is told.
    pub fn frames(&self) -> std::io::Result<Vec<Option<u64>>> {
        /// Set if the page is there.
        const PRESENT: u64 = 1 << 63;
        /// The bits of the frame.
        const FRAME: u64 = (1 << 55) - 1;
        let mut entries = vec![0; self.bytes / PAGE * 8];
        let first = u64::try_from(self.memory.addr() / PAGE * 8).map_err(std::io::Error::other)?;
        File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, first)?;
        let entries = entries.as_chunks::<8>().0.iter().map(|entry| u64::from_ne_bytes(*entry));
        Ok(entries.map(|entry| (entry & PRESENT != 0).then_some(entry & FRAME)).collect())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: The whole mapping, to which nothing refers any more.
        let _ = unsafe { munmap(self.memory, self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_by_pages() {
        let file = File::from(
            rustix::fs::memfd_create("mapped", rustix::fs::MemfdFlags::CLOEXEC).unwrap(),
        );
        file.write_all_at(&7_u64.to_ne_bytes(), 4096).unwrap();
        assert_eq!(Mapped::new(&file).unwrap_err(), Errno::INVAL);
        file.set_len(12288).unwrap();
        let mapped = Mapped::new(&file).unwrap();
        assert_eq!(mapped.first_words().collect::<Vec<_>>(), [0, 7, 0]);
        assert_eq!(mapped.frames().unwrap().len(), 3);
    }
}
