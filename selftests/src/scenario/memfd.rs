// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds whose description for the next kernel, by the kernel's own handler, is damaged.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::io::{Errno, pwrite};

use super::Scenario;
use super::boot::damage::{find_pages, memory, number};
use super::stage::{Stage, check_memfd, create, fails, finish, memfd, retrieve};
use crate::abi::mapped::PAGE;

pub(super) const ALL: &[Scenario] =
    &[Scenario::across("a_damaged_memfd_fails_without_the_others", before, after)];

const NAME: &str = "damaged-memfds";

/// The position in the damaged memfds: a number by which `struct memfd_luo_ser` is found, which
/// begins with it, and goes on with the size.
const POSITION: u64 = 0x0dea_dbea_70ff_5e00;

/// The position in this kernel: memory that nothing has used since still has those of the kernel before.
fn position(stage: &Stage<'_>) -> u64 {
    POSITION + u64::try_from(stage.hop).unwrap_or_default()
}

/// Damage to a memfd: bytes of which all bits are flipped.
struct Damage {
    /// The token of the memfd, and its number of pages.
    token: u32,
    place: Place,
    /// The answer of RETRIEVE_FD.
    answer: Errno,
}

/// Where the bytes are.
enum Place {
    /// A field of `struct memfd_luo_ser`: its offset, and its size in bytes.
    Field(u64, usize),
    /// Bits 32 to 39 of the number of the first page frame in the list of pages, or of extents: no memory has the
    /// number that comes out.
    Frame,
}

const DAMAGES: [Damage; 3] = [
    // Seals that no kernel knows.
    Damage { token: 1, place: Place::Field(16, 4), answer: Errno::OPNOTSUPP },
    // More pages in the list of pages than it has.
    Damage { token: 2, place: Place::Field(40, 1), answer: Errno::INVAL },
    // Memory that was not preserved.
    Damage { token: 4, place: Place::Frame, answer: Errno::IO },
];

/// The memfd that is whole.
const WHOLE: u32 = 3;

/// A memfd of so many pages, with this position.
fn marked(pages: u32, position: u64) -> Result<OwnedFd> {
    let file = memfd_create("marked", MemfdFlags::CLOEXEC).context("memfd")?;
    for page in 0..u64::from(pages) {
        pwrite(&file, &[1; PAGE], page * PAGE as u64).context("write a page")?;
    }
    seek(&file, SeekFrom::Start(position)).context("seek in a memfd")?;
    Ok(file)
}

/// Offset in `struct memfd_luo_ser` of the address of the first chunk of the list of pages.
const CHUNK: u64 = 32;

/// Offset in a chunk of the address of its first block; before it is the address of the next chunk.
const BLOCK: u64 = 8;

/// The address of the first entry of the list of pages, of the `struct memfd_luo_ser` at `address`.
fn first_entry(memory: &File, address: u64) -> Result<u64> {
    number(memory, number(memory, address + CHUNK)? + BLOCK)
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create(NAME)?;
    for damage in &DAMAGES {
        let file = marked(damage.token, position(stage))?;
        session.preserve(damage.token.into(), file).context("PRESERVE_FD")?;
    }
    session.preserve(WHOLE.into(), memfd("whole")?).context("PRESERVE_FD")?;
    stage.keep(session);

    let memory = memory()?;
    let mut damaged = 0;
    for address in find_pages(&memory, &position(stage).to_ne_bytes())? {
        let pages = number(&memory, address + 8)? / PAGE as u64;
        for Damage { place, .. } in DAMAGES.iter().filter(|damage| u64::from(damage.token) == pages)
        {
            let (at, length) = match place {
                Place::Field(offset, length) => (address + offset, *length),
                Place::Frame => (first_entry(&memory, address)? + 4, 1),
            };
            let mut bytes = vec![0; length];
            memory.read_exact_at(&mut bytes, at).context("read memory")?;
            for byte in &mut bytes {
                *byte = !*byte;
            }
            memory.write_all_at(&bytes, at).context("write memory")?;
            damaged += 1;
        }
    }
    ensure!(damaged == DAMAGES.len(), "{damaged} descriptions were found");
    Ok(())
}

fn after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve(NAME)?;
    for Damage { token, answer, .. } in DAMAGES {
        for _ in 0..2 {
            let file = session.retrieve(token.into());
            fails(&format!("RETRIEVE_FD of token {token}"), file, answer)?;
        }
    }
    check_memfd(session.retrieve(WHOLE.into()).context("RETRIEVE_FD")?, "whole")?;
    finish(session).map(drop)
}
