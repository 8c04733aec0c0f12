// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that is pinned for long, as for DMA: a registered buffer of io_uring(7).

use std::io::{Error, Result, Write as _};
use std::os::fd::AsRawFd as _;

use io_uring::{IoUring, opcode, types};
use libc::iovec;

use super::mapped::{MappedMut, PAGE};

/// Pins of all pages of a mapping, until this is dropped.
pub struct Pinned<'a> {
    ring: IoUring,
    mapped: &'a mut MappedMut,
}

impl<'a> Pinned<'a> {
    /// Pins all pages of a mapping.
    pub fn all(mapped: &'a mut MappedMut) -> Result<Self> {
        let ring = IoUring::new(1)?;
        let (memory, bytes) = mapped.whole();
        let buffer = iovec { iov_base: memory, iov_len: bytes };
        // SAFETY: The mapping is there until this is dropped, and nothing else uses it.
        unsafe { ring.submitter().register_buffers(&[buffer]) }?;
        Ok(Self { ring, mapped })
    }

    /// Writes the first word of a page into the frame that is pinned, as a device would: not through the mapping.
    ///
    /// # Panics
    ///
    /// If the mapping has no such page.
    pub fn store(&mut self, page: usize, word: u64) -> Result<()> {
        /// The only buffer.
        const BUFFER: u16 = 0;
        let word = word.to_ne_bytes();
        let (memory, bytes) = self.mapped.whole();
        assert!(page < bytes / PAGE, "the page is one of the mapping");
        let (source, mut into) = std::io::pipe()?;
        into.write_all(&word)?;
        let memory = memory.wrapping_byte_add(page * PAGE).cast();
        let from = types::Fd(source.as_raw_fd());
        let length = u32::try_from(word.len()).map_err(Error::other)?;
        let read = opcode::ReadFixed::new(from, memory, length, BUFFER).build();
        // SAFETY: The pipe is open and the buffer is registered until the request is done, for which this waits.
        unsafe { self.ring.submission().push(&read) }.map_err(Error::other)?;
        self.ring.submit_and_wait(1)?;
        let result = self.ring.completion().next().ok_or_else(|| Error::other("no answer"))?;
        match result.result() {
            read if read.cast_unsigned() == length => Ok(()),
            read if read < 0 => Err(Error::from_raw_os_error(-read)),
            read => Err(Error::other(format!("{read} bytes were read"))),
        }
    }
}
