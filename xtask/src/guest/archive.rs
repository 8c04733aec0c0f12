// SPDX-License-Identifier: MIT OR Apache-2.0

//! newc archives with what an initramfs may hold, the same bytes for the same input.

use std::io::Write;

use anyhow::{Context, Result};
use cpio::newc;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const DEVICE: u32 = 0o020_600;

/// An archive that is being written.
pub(crate) struct Archive<W: Write> {
    to: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    /// An empty archive.
    pub(crate) fn new(to: W) -> Self {
        Self { to, entries: 0 }
    }

    /// Adds a folder.
    pub(crate) fn folder(&mut self, name: &str) -> Result<()> {
        self.add(newc::Builder::new(name).mode(FOLDER), name, &[])
    }

    /// Adds a program.
    pub(crate) fn program(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.add(newc::Builder::new(name).mode(PROGRAM), name, content)
    }

    /// Adds a plain file.
    pub(crate) fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.add(newc::Builder::new(name).mode(FILE), name, content)
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        let builder = newc::Builder::new(name).mode(DEVICE);
        self.add(builder.rdev_major(major).rdev_minor(minor), name, &[])
    }

    /// Writes the end of the archive.
    pub(crate) fn finish(self) -> Result<W> {
        newc::trailer(self.to).context("end the archive")
    }

    fn add(&mut self, builder: newc::Builder, name: &str, content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len());
        let size = size.with_context(|| format!("`{name}` is larger than 4 GiB"))?;
        // Entries with one inode number would be hard links of each other.
        self.entries += 1;
        let mut entry = builder.ino(self.entries).nlink(1).write(&mut self.to, size);
        let written = entry.write_all(content).and_then(|()| entry.finish().map(drop));
        written.with_context(|| format!("add `{name}` to the archive"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selftests::payload::extract;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.folder("dev").unwrap();
        archive.device("dev/console", 5, 1).unwrap();
        archive.program("init", b"\x7fELF").unwrap();
        archive.file("plan.json", b"{}").unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn the_guest_reads_what_the_host_writes() {
        let mut to = Vec::new();
        extract(&sample()[..], "plan.json", &mut to).unwrap();
        assert_eq!(to, b"{}");
    }

    #[test]
    fn the_kernel_sees_modes_and_devices() {
        let archive = sample();
        let mut from = &archive[..];
        let mut seen = Vec::new();
        loop {
            let entry = newc::Reader::new(from).unwrap();
            let e = entry.entry();
            if e.is_trailer() {
                break;
            }
            seen.push((e.name().to_owned(), e.mode(), e.rdev_major(), e.rdev_minor()));
            from = entry.finish().unwrap();
        }
        let expected = [
            ("dev", FOLDER, 0, 0),
            ("dev/console", DEVICE, 5, 1),
            ("init", PROGRAM, 0, 0),
            ("plan.json", FILE, 0, 0),
        ];
        assert_eq!(seen, expected.map(|(n, m, a, i)| (n.to_owned(), m, a, i)));
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        assert_eq!(sample(), sample());
    }
}
