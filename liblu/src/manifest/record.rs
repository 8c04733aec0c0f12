// SPDX-License-Identifier: MIT OR Apache-2.0

//! The memfd in which a manifest crosses the kexec.
//!
//! A preserved memfd cannot grow, so it is made with room to spare, preserved early, and written in place
//! at the very end. Its first byte is NUL until all others are there: a record that was never completed,
//! or only in part, cannot be mistaken for one. Behind the JSON there are blanks.
//!
//! If there is not enough room, a larger record is preserved under the next token, and the first byte of
//! the smaller one says so.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::io::{Errno, pread, pwrite};

use super::{Manifest, format};
use crate::{Error, ErrorKind, OutgoingSession, Result, Token};

/// The first byte of a record that is not complete.
const INCOMPLETE: u8 = 0;

/// The first byte of a record that a larger one follows.
const FOLLOWED: u8 = b'>';

/// Sizes of records, one after the other.
const SIZES: [usize; 3] = [64 << 10, 256 << 10, Manifest::MAX_SIZE];

/// The record of an outgoing session.
#[derive(Debug)]
pub(crate) struct Record {
    file: OwnedFd,
    /// Its place among [`SIZES`] and [`Record::TOKENS`].
    place: usize,
}

impl Record {
    /// The tokens of records, one after the other.
    pub(super) const TOKENS: [Token; SIZES.len()] =
        [Token::MANIFEST, Token::MANIFEST_2, Token::MANIFEST_3];

    /// Preserves an empty record in a session.
    pub(crate) fn new(session: &OutgoingSession) -> Result<Self> {
        Self::at(0, session)
    }

    fn at(place: usize, session: &OutgoingSession) -> Result<Self> {
        let (Some(size), Some(token)) = (SIZES.get(place), Self::TOKENS.get(place)) else {
            return Err(too_large());
        };
        let file =
            memfd(*size).map_err(|errno| Error::system("make the manifest's memfd", errno))?;
        session.preserve(*token, &file)?;
        Ok(Self { file, place })
    }

    /// Makes room for so many bytes.
    pub(crate) fn reserve(&mut self, size: usize, session: &OutgoingSession) -> Result<()> {
        if size > Manifest::MAX_SIZE {
            return Err(too_large());
        }
        while SIZES.get(self.place).is_some_and(|room| *room < size) {
            let larger = Self::at(self.place + 1, session)?;
            self.write_at(&[FOLLOWED], 0)?;
            *self = larger;
        }
        Ok(())
    }

    /// Writes the record and completes it. Its memory is there already, so nothing is allocated for it.
    pub(crate) fn complete(&self, manifest: &Manifest) -> Result<()> {
        let mut json = manifest.to_json();
        let room = SIZES.get(self.place).copied().unwrap_or_default();
        if json.len() > room {
            return Err(too_large());
        }
        json.resize(room, b' ');
        let (first, rest) = json.split_at(1);
        self.write_at(rest, 1)?;
        self.write_at(first, 0)
    }

    /// The record is not complete any more.
    pub(crate) fn reopen(&self) -> Result<()> {
        self.write_at(&[INCOMPLETE], 0)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        let written = write_all(&self.file, bytes, at);
        written.map_err(|errno| Error::system("write the manifest", errno))
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                at = at.saturating_add(count as u64);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn too_large() -> Error {
    let max = Manifest::MAX_SIZE;
    let why = format!("the manifest would have over {max} bytes; keep bulk state in a memfd");
    Error::new(ErrorKind::TooLarge, why)
}

/// A memfd of this size, which stays so.
fn memfd(size: usize) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create("liblu-manifest", flags)?;
    // Pages that were never written may be lost on some kernels (CVE-2026-43389), and holes take time.
    write_all(&file, &vec![INCOMPLETE; size], 0)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(file)
}

/// Reads a record that was handed over; `None` if a larger one follows. Its content is not trusted.
pub(super) fn read(file: impl AsFd) -> Result<Option<Manifest>> {
    let failed = |errno| Error::system("read the manifest", errno);
    let size = usize::try_from(fstat(&file).map_err(failed)?.st_size).unwrap_or(usize::MAX);
    if size > Manifest::MAX_SIZE {
        return Err(format::malformed(too_large()));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| failed(Errno::NOMEM))?;
    bytes.resize(size, 0);
    let mut there = 0;
    while let Some(rest) = bytes.get_mut(there..).filter(|rest| !rest.is_empty()) {
        match pread(&file, rest, there as u64) {
            Ok(0) => break,
            Ok(count) => there += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    let bytes = bytes.get(..there).unwrap_or_default();
    match bytes.first() {
        Some(&INCOMPLETE) => {
            let why =
                "the owner of the session never said that it was ready: its state is not known";
            Err(Error::new(ErrorKind::Incomplete, why))
        }
        Some(&FOLLOWED) => Ok(None),
        _ => Manifest::from_json(bytes).map(Some),
    }
}
