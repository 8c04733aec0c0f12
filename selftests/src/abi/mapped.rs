// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files mapped into memory.

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::ptr;

use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Pages of a huge page.
pub const HUGE: usize = 512;

/// The setting by which memfds get huge pages: with `advise`, where [`MappedMut::advise_huge`] asks for them.
pub const HUGE_MEMFDS: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// The first word of a page of a test: none that another page has, and not zero.
pub fn mark(page: u64) -> u64 {
    (page + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Whether the frames of [`HUGE`] pages are adjacent, and aligned as those of a huge page.
pub fn is_huge(frames: &[Option<u64>]) -> bool {
    let Some(Some(first)) = frames.first() else { return false };
    first.is_multiple_of(HUGE as u64)
        && frames.iter().zip(*first..).all(|(frame, next)| *frame == Some(next))
}

/// Bytes of a file.
fn size(file: impl AsFd) -> Result<usize> {
    usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(|_| Errno::OVERFLOW)
}

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
        Self::with(file, ProtFlags::READ)
    }

    fn with(file: impl AsFd, protection: ProtFlags) -> Result<Self> {
        Self::at(ptr::null_mut(), file, protection)
    }

    /// Maps a file at this place, if nothing is there.
    fn at(place: *mut c_void, file: impl AsFd, protection: ProtFlags) -> Result<Self> {
        let bytes = size(&file)?;
        if !bytes.is_multiple_of(PAGE) {
            return Err(Errno::INVAL);
        }
        // SAFETY: A new mapping, which replaces no other one: the place is only a wish.
        let memory = unsafe { mmap(place, bytes, protection, MapFlags::SHARED, file, 0) }?;
        Ok(Self { memory, bytes })
    }

    /// The first word of each page.
    pub fn first_words(&self) -> impl ExactSizeIterator<Item = u64> {
        (0..self.bytes / PAGE).map(|page| {
            // SAFETY: A page has room for a word and is aligned, and any bytes are a value. Another process may
            // write there, so it is read once.
            unsafe { self.first_word(page).read_volatile() }
        })
    }

    /// Where the first word of a page is.
    fn first_word(&self, page: usize) -> *mut u64 {
        assert!(page < self.bytes / PAGE, "the page is one of the mapping");
        // SAFETY: The page is one of the mapping.
        unsafe { self.memory.byte_add(page * PAGE) }.cast()
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

/// A whole file in memory, to be read and written.
#[derive(Debug)]
pub struct MappedMut(Mapped);

impl MappedMut {
    /// Maps a file, as [`Mapped::new`].
    pub fn new(file: impl AsFd) -> Result<Self> {
        Mapped::with(file, ProtFlags::READ | ProtFlags::WRITE).map(Self)
    }

    /// Maps a file where huge pages of it can be mapped: from a multiple of their size on.
    pub fn aligned(file: impl AsFd) -> Result<Self> {
        const HUGE_BYTES: usize = HUGE * PAGE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let room = size(&file)? + HUGE_BYTES;
        // SAFETY: A new mapping; nothing else is there.
        let place = unsafe { mmap_anonymous(ptr::null_mut(), room, ProtFlags::empty(), flags) }?;
        let place = Mapped { memory: place, bytes: room };
        let offset = place.memory.addr().next_multiple_of(HUGE_BYTES) - place.memory.addr();
        // SAFETY: It is in the room.
        let at = unsafe { place.memory.byte_add(offset) };
        // Another thread may take the room meanwhile: then the kernel maps the file somewhere else.
        drop(place);
        let mapped = Mapped::at(at, file, ProtFlags::READ | ProtFlags::WRITE)?;
        if !mapped.memory.addr().is_multiple_of(HUGE_BYTES) {
            return Err(Errno::AGAIN);
        }
        Ok(Self(mapped))
    }

    /// Asks for huge pages.
    pub fn advise_huge(&self) -> Result<()> {
        self.advise(libc::MADV_HUGEPAGE)
    }

    /// Asks for huge pages in place of those that are there.
    pub fn collapse(&self) -> Result<()> {
        self.advise(libc::MADV_COLLAPSE)
    }

    /// Has the pages swapped out that can be.
    pub fn page_out(&self) -> Result<()> {
        self.advise(libc::MADV_PAGEOUT)
    }

    /// Makes a page bad, as a hardware error does. The process may get a signal that kills it.
    ///
    /// # Panics
    ///
    /// If the file has no such page.
    pub fn poison(&self, page: usize) -> Result<()> {
        // SAFETY: The page is one of the mapping, and no reference to it exists.
        unsafe { advise(self.0.first_word(page).cast(), PAGE, libc::MADV_HWPOISON) }
    }

    /// Makes a page one that must not be touched: a touch is a signal.
    ///
    /// # Panics
    ///
    /// If the file has no such page.
    pub fn guard(&self, page: usize) -> Result<()> {
        /// `MADV_GUARD_INSTALL`.
        const GUARD: i32 = 102;
        // SAFETY: The page is one of the mapping, and no reference to it exists.
        unsafe { advise(self.0.first_word(page).cast(), PAGE, GUARD) }
    }

    fn advise(&self, advice: i32) -> Result<()> {
        // SAFETY: The whole mapping, to which no reference exists. Content stays, or cannot be read any more, which is
        // a signal.
        unsafe { self::advise(self.0.memory, self.0.bytes, advice) }
    }

    /// All of the memory.
    pub(super) fn whole(&self) -> (*mut c_void, usize) {
        (self.0.memory, self.0.bytes)
    }

    /// Reads the first word of a page.
    ///
    /// # Panics
    ///
    /// If the file has no such page.
    pub fn load(&self, page: usize) -> u64 {
        // SAFETY: As in `Mapped::first_words`.
        unsafe { self.0.first_word(page).read_volatile() }
    }

    /// Writes the first word of a page.
    ///
    /// # Panics
    ///
    /// If the file has no such page.
    pub fn store(&mut self, page: usize, word: u64) {
        // SAFETY: As in `Mapped::first_words`, and the mapping can be written to.
        unsafe { self.0.first_word(page).write_volatile(word) };
    }

    /// As [`Mapped::frames`], also for pages that were written to.
    pub fn frames(&self) -> std::io::Result<Vec<Option<u64>>> {
        self.0.frames()
    }
}

/// As rustix does it, which does not know all kinds of advice.
///
/// # Safety
///
/// It must be right to do this to the memory.
unsafe fn advise(memory: *mut c_void, bytes: usize, advice: i32) -> Result<()> {
    // SAFETY: The caller promises it.
    match unsafe { libc::madvise(memory, bytes, advice) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
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
