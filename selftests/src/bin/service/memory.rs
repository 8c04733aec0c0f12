// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds whose content is known.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, memfd_create};

/// Content of a memfd.
pub(crate) struct Memory(Vec<u8>);

impl Memory {
    /// `size` bytes that no other name or hop has.
    pub(crate) fn new(name: &str, hop: usize, size: usize) -> Self {
        let seed = format!("{name} of hop {hop}.");
        Self(seed.bytes().cycle().zip(0_usize..).map(mix).take(size).collect())
    }

    /// This text.
    pub(crate) fn text(text: &str) -> Self {
        Self(text.into())
    }

    /// A new memfd with this content.
    pub(crate) fn write(&self) -> Result<OwnedFd> {
        let file = memfd_create("vmtest", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
        let mut file = File::from(file.context("memfd_create")?);
        file.write_all(&self.0).context("write a memfd")?;
        Ok(file.into())
    }

    /// The memfd has this content, and not a byte more.
    pub(crate) fn check(&self, file: &impl AsFd) -> Result<()> {
        let there = read(file)?;
        let same = there.iter().zip(&self.0).take_while(|(a, b)| a == b).count();
        let (is, want) = (there.len(), self.0.len());
        ensure!(
            is == want && same == want,
            "a memfd has {is} bytes, {want} were written; they differ from byte {same}"
        );
        Ok(())
    }
}

/// All bytes of a file, from its beginning.
pub(crate) fn read(file: &impl AsFd) -> Result<Vec<u8>> {
    let mut file = File::from(file.as_fd().try_clone_to_owned().context("duplicate a memfd")?);
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).context("read a memfd")?;
    Ok(bytes)
}

/// No two pages are equal.
fn mix((byte, place): (u8, usize)) -> u8 {
    byte ^ place.to_le_bytes().into_iter().skip(1).fold(0, u8::wrapping_add)
}
