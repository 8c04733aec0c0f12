// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions, files and memory that go to the next kernel all at once: what an update costs with them.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use serde::{Deserialize, Serialize};

use super::{Cost, Measurement, Meter, name, page, preserve_all, retrieve_all, token};
use crate::abi;
use crate::abi::mapped::{HUGE, HUGE_MEMFDS, Mapped, MappedMut, PAGE, is_huge, mark};
use crate::free_memory::{free, settled};
use crate::scenario::Side;

/// All that is handed over.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preserved {
    /// Sessions without files.
    pub sessions: usize,
    /// Files of one page, in one session.
    pub files: usize,
    /// Larger files, in one session.
    pub memory: Vec<Memory>,
}

/// A memfd.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// The pages that it has.
    pub pages: Pages,
    /// Its size, in MiB.
    pub mib: usize,
}

/// The pages that a memfd has.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pages {
    /// All, written one after the other: mostly adjacent in memory.
    Dense,
    /// The first and the last one.
    Sparse,
    /// All, as transparent huge pages.
    Huge,
    /// All, each apart from the others: those of another memfd, which is freed, were between them.
    Scattered,
}

/// Time of PRESERVE_FD for all memory; the count is its MiB, as below.
pub const PRESERVE: &str = "preserve memory (n: MiB)";
/// Memory that PRESERVE_FD takes for all memory: what describes it, and pages that the file did not have.
pub const TAKEN: &str = "taken by memory (n: MiB)";
/// Time of the first open, which reads the handover.
pub const OPEN: &str = "open";
/// Time of RETRIEVE_SESSION for all sessions.
pub const SESSIONS: &str = "retrieve sessions";
/// Time of RETRIEVE_FD for all files of one page.
pub const FILES: &str = "retrieve files";
/// Time of RETRIEVE_FD for all memory.
pub const MEMORY: &str = "retrieve memory (n: MiB)";
/// Time of FINISH for everything.
pub const FINISH: &str = "finish";
/// Time of the first use of all pages, of which the kernel maps several at once.
pub const TOUCH: &str = "touch memory (n: MiB)";

/// Of so many scattered pages one may be beside the one before. A tenth are; all of them, if they were moved.
const MOST_ADJACENT: usize = 4;

/// Pages that another file has meanwhile, 128 MiB. The boot leaves small pieces of free memory all over the machine, more or
/// fewer by where the kernel lies; the memory of a virtual machine is much larger than all of them.
const FIRST: usize = 32_768;

/// Huge pages that another file takes first. The boot leaves blocks of scratch memory on the list of free huge pages that
/// each processor has (`init_cma_reserved_pageblock()`), and PRESERVE_FD would move them.
const FIRST_HUGE: usize = 32;

impl Memory {
    fn bytes(self) -> usize {
        self.mib << 20
    }

    fn page_count(self) -> usize {
        self.bytes() / PAGE
    }

    /// Makes it.
    fn make(self) -> Result<OwnedFd> {
        let file = memfd(self.bytes())?;
        match self.pages {
            Pages::Dense => fill(&file, self.page_count())?,
            Pages::Huge => self.fill_huge(&file)?,
            Pages::Sparse => {
                for at in [0, self.bytes().saturating_sub(1)] {
                    pwrite(&file, &[7], offset(at)?).context("write a byte")?;
                }
            }
            Pages::Scattered => {
                let other = memfd(self.bytes())?;
                for page in 0..self.page_count() {
                    write_page(&file, page)?;
                    write_page(&other, page)?;
                }
            }
        }
        Ok(file)
    }

    /// Fills it with transparent huge pages.
    fn fill_huge(self, file: &OwnedFd) -> Result<()> {
        std::fs::write(HUGE_MEMFDS, "advise").context("allow huge pages")?;
        let first = memfd(FIRST_HUGE * HUGE * PAGE)?;
        let _taken = store_huge(&first, FIRST_HUGE * HUGE)?;
        let mapped = store_huge(file, self.page_count())?;
        let frames = mapped.frames().context("look for pages")?;
        let huge = frames.chunks(HUGE).filter(|frames| is_huge(frames));
        let (huge, all) = (huge.count(), frames.len() / HUGE);
        ensure!(huge == all, "{huge} huge pages, not {all}");
        Ok(())
    }

    /// Checks where its pages are: PRESERVE_FD moves those that are in scratch memory, and they are not scattered any
    /// more.
    fn check_place(self, file: &OwnedFd) -> Result<()> {
        if self.pages != Pages::Scattered {
            return Ok(());
        }
        let mapped = Mapped::new(file).context("map memory")?;
        mapped.first_words().for_each(drop);
        let frames = mapped.frames().context("look for pages")?;
        let is_run = |pair: &&[Option<u64>]| matches!(pair, [Some(one), Some(next)] if one + 1 == *next || next + 1 == *one);
        let adjacent = frames.windows(2).filter(is_run).count();
        let most = self.page_count() / MOST_ADJACENT;
        ensure!(adjacent <= most, "{adjacent} pages are beside the one before, not {most} at most");
        ensure!(frames.iter().all(Option::is_some), "a page is not there");
        Ok(())
    }

    /// Uses the pages that it has for the first time, and checks the beginning of each.
    fn touch(self, file: &OwnedFd) -> Result<()> {
        match self.pages {
            Pages::Dense | Pages::Huge | Pages::Scattered => {
                let mapped = Mapped::new(file).context("map memory")?;
                let count = mapped.first_words().len();
                ensure!(count == self.page_count(), "{count} pages came");
                let wrong = mapped.first_words().zip(0..).find(|(word, page)| *word != mark(*page));
                ensure!(wrong.is_none(), "page {} has changed", wrong.unwrap_or_default().1);
            }
            Pages::Sparse => {
                for (at, byte) in
                    [(0, 7), (self.bytes() / 2, 0), (self.bytes().saturating_sub(1), 7)]
                {
                    let mut read = [0xff];
                    pread(file, &mut read, offset(at)?).context("read a byte")?;
                    ensure!(read == [byte], "byte {at} is {}", read[0]);
                }
            }
        }
        Ok(())
    }
}

fn memfd(bytes: usize) -> Result<OwnedFd> {
    let file = memfd_create("memory", MemfdFlags::CLOEXEC).context("memfd_create")?;
    ftruncate(&file, offset(bytes)?).context("ftruncate")?;
    Ok(file)
}

fn offset(at: usize) -> Result<u64> {
    u64::try_from(at).context("an offset")
}

/// Stores a word in each page of it, which are transparent huge pages then.
fn store_huge(file: &OwnedFd, pages: usize) -> Result<MappedMut> {
    let mut mapped = MappedMut::new(file).context("map memory")?;
    mapped.advise_huge().context("MADV_HUGEPAGE")?;
    for page in 0..pages {
        mapped.store(page, mark(offset(page)?));
    }
    Ok(mapped)
}

fn fill(file: &OwnedFd, pages: usize) -> Result<()> {
    (0..pages).try_for_each(|page| write_page(file, page))
}

fn write_page(file: &OwnedFd, page: usize) -> Result<()> {
    let mut bytes = [0; PAGE];
    if let Some(to) = bytes.first_chunk_mut() {
        *to = mark(offset(page)?).to_ne_bytes();
    }
    pwrite(file, &bytes, offset(page * PAGE)?).context("write a page")?;
    Ok(())
}

impl Preserved {
    fn mib(&self) -> usize {
        self.memory.iter().map(|memory| memory.mib).sum()
    }

    /// Hands it over, or takes it over.
    ///
    /// # Errors
    ///
    /// If a command fails, or memory has changed.
    pub fn measure(&self, side: Side, kept: &mut Vec<OwnedFd>) -> Result<Vec<Measurement>> {
        match side {
            Side::After => self.after(),
            _ => self.before(kept),
        }
    }

    fn before(&self, kept: &mut Vec<OwnedFd>) -> Result<Vec<Measurement>> {
        let device = abi::open().context("open the device")?;
        kept.reserve(self.sessions);
        for number in 0..self.sessions {
            kept.push(abi::create(&device, name(number)).context("CREATE_SESSION")?);
        }
        if self.files > 0 {
            let session = abi::create(&device, "files").context("CREATE_SESSION")?;
            let files = (0..self.files).map(|_| page()).collect::<Result<Vec<_>>>()?;
            preserve_all(&session, &files).context("PRESERVE_FD")?;
            kept.push(session);
        }
        if self.memory.is_empty() {
            return Ok(Vec::new());
        }
        let first = memfd(FIRST * PAGE)?;
        if self.memory.iter().any(|memory| memory.pages == Pages::Dense) {
            fill(&first, FIRST)?;
        }
        let files = self.memory.iter().map(|memory| memory.make()).collect::<Result<Vec<_>>>()?;
        let session = abi::create(&device, "memory").context("CREATE_SESSION")?;
        let before = settled()?;
        let (preserved, cost) = Meter::all(PRESERVE, self.mib(), || preserve_all(&session, &files));
        preserved.context("PRESERVE_FD")?;
        let taken = Cost::Bytes(before.saturating_sub(free()?));
        let taken = Measurement { name: TAKEN.into(), count: self.mib(), cost: taken };
        let mut all = self.memory.iter().zip(&files);
        all.try_for_each(|(memory, file)| memory.check_place(file))?;
        kept.push(session);
        drop(first);
        Ok(vec![cost, taken])
    }

    fn after(&self) -> Result<Vec<Measurement>> {
        let (device, opened) = Meter::all(OPEN, 1, abi::open);
        let device = device.context("open the device")?;
        let mut costs = vec![opened];
        let mut sessions = Vec::with_capacity(self.sessions + 2);
        if self.sessions > 0 {
            let (retrieved, cost) = Meter::all(SESSIONS, self.sessions, || {
                let one = |number| abi::retrieve(&device, name(number));
                (0..self.sessions).try_for_each(|number| one(number).map(|it| sessions.push(it)))
            });
            retrieved.context("RETRIEVE_SESSION")?;
            costs.push(cost);
        }
        let mut files = Vec::with_capacity(self.files);
        if self.files > 0 {
            let session = abi::retrieve(&device, "files").context("RETRIEVE_SESSION")?;
            let (retrieved, cost) =
                Meter::all(FILES, self.files, || retrieve_all(&session, &mut files, self.files));
            retrieved.context("RETRIEVE_FD")?;
            costs.push(cost);
            sessions.push(session);
        }
        let mut memory = Vec::with_capacity(self.memory.len());
        if !self.memory.is_empty() {
            let session = abi::retrieve(&device, "memory").context("RETRIEVE_SESSION")?;
            let (retrieved, cost) = Meter::all(MEMORY, self.mib(), || {
                (0..self.memory.len()).try_for_each(|number| {
                    abi::retrieve_fd(&session, token(number)).map(|it| memory.push(it))
                })
            });
            retrieved.context("RETRIEVE_FD")?;
            costs.push(cost);
            sessions.push(session);
        }
        let (finished, cost) =
            Meter::all(FINISH, sessions.len(), || sessions.iter().try_for_each(abi::finish));
        finished.context("FINISH")?;
        costs.push(cost);
        if !memory.is_empty() {
            let (touched, cost) = Meter::all(TOUCH, self.mib(), || {
                self.memory.iter().zip(&memory).try_for_each(|(memory, file)| memory.touch(file))
            });
            touched?;
            costs.push(cost);
        }
        Ok(costs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_as_it_was_made() {
        for pages in [Pages::Dense, Pages::Sparse, Pages::Scattered] {
            let memory = Memory { pages, mib: 1 };
            memory.touch(&memory.make().unwrap()).unwrap();
        }
    }

    #[test]
    fn memory_that_has_changed_is_found() {
        let dense = Memory { pages: Pages::Dense, mib: 1 };
        let file = dense.make().unwrap();
        pwrite(&file, &[0], 8192).unwrap();
        assert!(dense.touch(&file).unwrap_err().to_string().contains("page 2"));
        let sparse = Memory { pages: Pages::Sparse, mib: 1 };
        let file = sparse.make().unwrap();
        pwrite(&file, &[1], 1 << 19).unwrap();
        assert!(sparse.touch(&file).is_err());
    }
}
