// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory at which a command stops in the middle, by userfaultfd(2).

use std::ffi::c_void;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Result;
use rustix::ioctl::ioctl;
use rustix::mm::{MapFlags, ProtFlags, UserfaultfdFlags, mmap_anonymous, munmap, userfaultfd};

use super::mapped::{MappedMut, PAGE};
use super::{ROOM, Raw};

/// `UFFDIO_API`, `UFFDIO_REGISTER`, `UFFDIO_COPY` and `UFFDIO_WRITEPROTECT`.
const API: u32 = 0xc018_aa3f;
const REGISTER: u32 = 0xc020_aa00;
const COPY: u32 = 0xc028_aa03;
const WRITE_PROTECT: u32 = 0xc018_aa06;

/// `UFFD_API`, `UFFD_FEATURE_PAGEFAULT_FLAG_WP` and `UFFD_FEATURE_MISSING_SHMEM`.
const VERSION: u64 = 0xaa;
const CAN_PROTECT: u64 = 1;
const CAN_MEMFDS: u64 = 1 << 5;

/// `UFFDIO_REGISTER_MODE_*`, and `UFFDIO_WRITEPROTECT_MODE_WP`.
const MISSING: u64 = 1;
const PROTECTED: u64 = 2;
const PROTECT: u64 = 1;

/// Without `NONBLOCK`, poll(2) reports an error at once.
const FLAGS: UserfaultfdFlags = UserfaultfdFlags::CLOEXEC.union(UserfaultfdFlags::NONBLOCK);

/// A page at which a command stops that reads or writes it.
#[derive(Debug)]
pub struct Page(*mut c_void);

// SAFETY: The page is plain memory that is not bound to a thread.
unsafe impl Send for Page {}

/// Makes commands stop at a page until it is dropped.
#[derive(Debug)]
pub struct Faults(OwnedFd);

/// A page that is missing: a command stops when it reads the page. Later the page is full of zeros.
pub fn missing() -> Result<(Page, Faults)> {
    let (page, faults) = new()?;
    faults.register(&page, MISSING)?;
    Ok((page, faults))
}

/// A page with these bytes that cannot be written to: a command stops when it writes its answer.
pub fn protected(bytes: &[u8]) -> Result<(Page, Faults)> {
    let (page, faults) = new()?;
    let length = bytes.len().min(ROOM);
    // SAFETY: The mapping has `ROOM` bytes and is ours alone.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), page.0.cast(), length) };
    faults.register(&page, PROTECTED)?;
    faults.tell(WRITE_PROTECT, &mut [page.address(), ROOM as u64, PROTECT])?;
    Ok((page, faults))
}

fn new() -> Result<(Page, Faults)> {
    // SAFETY: A new mapping; nothing else is there.
    let page = unsafe {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        mmap_anonymous(ptr::null_mut(), ROOM, access, MapFlags::PRIVATE)
    }
    .map(Page)?;
    Ok((page, Faults::new(CAN_PROTECT)?))
}

/// Fills a hole of a memfd, which is mapped, with a page: the first word is `word`.
pub fn fill(mapped: &MappedMut, page: usize, word: u64) -> Result<()> {
    let faults = Faults::new(CAN_MEMFDS)?;
    let (memory, bytes) = mapped.whole();
    let memory = memory.addr() as u64;
    faults.tell(REGISTER, &mut [memory, bytes as u64, MISSING, 0])?;
    let mut content = Box::new(Content([0; PAGE / 8]));
    content.0[0] = word;
    let content = ptr::from_ref(&*content).addr() as u64;
    faults.tell(COPY, &mut [memory + (page * PAGE) as u64, content, PAGE as u64, 0, 0])
}

/// A page of words.
#[repr(align(4096))]
struct Content([u64; PAGE / 8]);

impl Page {
    fn address(&self) -> u64 {
        self.0.addr() as u64
    }

    /// Sends a command of LUO with this page; it stops there.
    pub fn send(&self, on: impl AsFd, opcode: u32) -> Result<i32> {
        // SAFETY: The mapping has `ROOM` bytes, more than any command of LUO takes, and nothing in
        // Rust refers to them.
        unsafe { ioctl(on, Raw(opcode, self.0)) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: The whole mapping, which is not used any more.
        let _ = unsafe { munmap(self.0, ROOM) };
    }
}

impl Faults {
    fn new(features: u64) -> Result<Self> {
        // SAFETY: Only pages are registered to which no reference exists.
        let faults = unsafe { userfaultfd(FLAGS) }.map(Self)?;
        faults.tell(API, &mut [VERSION, features, 0])?;
        Ok(faults)
    }

    /// Whether a command has stopped.
    pub fn has_stopped_one(&self) -> Result<bool> {
        let mut events = [PollFd::new(&self.0, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut events, Some(&at_once))?;
        let [event] = events;
        Ok(event.revents() == PollFlags::IN)
    }

    fn register(&self, page: &Page, mode: u64) -> Result<()> {
        self.tell(REGISTER, &mut [page.address(), ROOM as u64, mode, 0])
    }

    /// Sends a command of userfaultfd with its structure, which is made of these numbers.
    fn tell<const N: usize>(&self, opcode: u32, argument: &mut [u64; N]) -> Result<()> {
        // SAFETY: The callers give each command a structure of the size that its number has.
        unsafe { ioctl(&self.0, Raw(opcode, argument.as_mut_ptr().cast())) }.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};
    use std::thread;

    use rustix::io::Errno;

    use super::*;

    /// `FIONREAD`, which writes a number.
    const UNREAD: u32 = 0x541b;

    #[test]
    fn a_command_stops_until_it_may_go_on() {
        for page in [missing(), protected(b"bytes")] {
            let (page, faults) = match page {
                // The host does not allow this, or only for root.
                Err(Errno::PERM | Errno::NOSYS) => return,
                page => page.unwrap(),
            };
            assert!(!faults.has_stopped_one().unwrap());
            let (reader, mut writer) = pipe().unwrap();
            writer.write_all(b"three").unwrap();
            let work = thread::spawn(move || (page.send(&reader, UNREAD), page));
            while !faults.has_stopped_one().unwrap() {
                assert!(!work.is_finished());
                thread::yield_now();
            }
            assert!(!work.is_finished());
            drop(faults);
            let (done, page) = work.join().unwrap();
            assert_eq!(done.unwrap(), 0);
            // SAFETY: The mapping has more than four bytes, and any byte is a value.
            let number = unsafe { page.0.cast::<u32>().read_volatile() };
            assert_eq!(number, 5);
        }
    }
}
