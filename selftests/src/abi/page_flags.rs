// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the kernel says of page frames: `/proc/kpageflags`.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt as _;

/// Bit of a page that is on its way to a disk.
const WRITEBACK: u64 = 1 << 8;

/// Bits of a page: it is the first one, or another one, of a large folio.
const HEAD: u64 = 1 << 15;
const TAIL: u64 = 1 << 16;

/// The flags of all page frames.
#[derive(Debug)]
pub struct PageFlags(File);

impl PageFlags {
    /// Opens the file. Only root may read it.
    pub fn open() -> Result<Self> {
        File::open("/proc/kpageflags").map(Self)
    }

    fn flags(&self, frame: u64) -> Result<u64> {
        let mut flags = [0; 8];
        self.0.read_exact_at(&mut flags, frame * 8)?;
        Ok(u64::from_ne_bytes(flags))
    }

    /// Whether a large folio begins at this page frame and has so many pages, or more.
    pub fn is_large(&self, frame: u64, pages: u64) -> Result<bool> {
        let frames: Vec<u64> = (frame..frame + pages).collect();
        Ok(self.flags(frame)? & HEAD != 0 && self.are_of_one_folio(&frames)?)
    }

    /// Whether these page frames, two at least, are of one large folio, in this order.
    pub fn are_of_one_folio(&self, frames: &[u64]) -> Result<bool> {
        let are_adjacent = frames.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let others = frames.iter().skip(1).map(|frame| Ok(self.flags(*frame)? & TAIL != 0));
        let others: Result<Vec<bool>> = others.collect();
        Ok(are_adjacent && others?.into_iter().all(|is_tail| is_tail))
    }

    /// Whether the page is on its way to a disk.
    pub fn is_being_written(&self, frame: u64) -> Result<bool> {
        Ok(self.flags(frame)? & WRITEBACK != 0)
    }

    /// Whether this page frame is a part of a large folio.
    pub fn is_part(&self, frame: u64) -> Result<bool> {
        Ok(self.flags(frame)? & (HEAD | TAIL) != 0)
    }
}
