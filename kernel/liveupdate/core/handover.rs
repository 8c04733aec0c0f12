// SPDX-License-Identifier: GPL-2.0

//! The whole handover, read without trust: this module checks it, a [`Sink`] keeps it.
//!
//! The root leads to a chain of sessions, each of which leads to a chain of files, and to a page of
//! FLB entries. No page may be used twice, no name or token may be used twice, and every count must
//! be true.

use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    chain::{
        Blocks,
        Memory, //
    },
    damage::Damage,
    name::{
        Compatible,
        SessionName, //
    },
    wire::{
        FileSer,
        FlbHeaderSer,
        FlbSer,
        LuoSer,
        SessionSer, //
    }, //
};

/// Whether a page or a name is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It is new.
    First,
    /// It was there before.
    Again,
}

/// Keeps the content of a handover. Each call may fail for lack of memory.
pub trait Sink {
    /// Why reading ends.
    type Error: From<Damage>;

    /// A session whose files are being read.
    type Session;

    /// A session of this name begins; its files follow.
    fn begin(&mut self, name: SessionName) -> Result<Self::Session, Self::Error>;

    /// The next file of the session.
    fn file(&mut self, session: &mut Self::Session, file: &FileSer) -> Result<(), Self::Error>;

    /// The session is complete. The sink checks that its name and its tokens are used once.
    fn end(&mut self, session: Self::Session) -> Result<(), Self::Error>;
}

/// Keeps the pages of a handover. Each call may fail for lack of memory.
pub trait Pages<E> {
    /// A page that belongs to the handover.
    fn page(&mut self, address: u64) -> Result<Met, E>;
}

/// Room for the blocks that are looked at: one of each chain, each as long as a block.
pub struct Buffers<'b> {
    /// For a block of sessions.
    pub sessions: &'b mut [u64],
    /// For a block of files.
    pub files: &'b mut [u64],
}

/// Reads all sessions and their files.
///
/// The page of the root, at `root_address`, and that of the FLB entries are reported to `pages`
/// first: no chain may use them.
///
/// # Errors
///
/// The first damage, or the error of `sink` or `pages`, which have kept all that came before.
pub fn sessions<S: Sink>(
    memory: &impl Memory,
    buffers: &mut Buffers<'_>,
    root_address: u64,
    root: &LuoSer,
    pages: &mut impl Pages<S::Error>,
    sink: &mut S,
) -> Result<(), S::Error> {
    meet(pages, root_address)?;
    if root.flbs != 0 {
        meet(pages, root.flbs)?;
    }
    let mut blocks = Blocks::<_, SessionSer>::new(memory, root.sessions);
    while let Some(block) = blocks.next(buffers.sessions) {
        let block = block?;
        meet(pages, block.address)?;
        for ser in block.entries {
            session(memory, buffers.files, ser, pages, sink)?;
        }
    }
    Ok(())
}

fn session<S: Sink>(
    memory: &impl Memory,
    buffer: &mut [u64],
    ser: &SessionSer,
    pages: &mut impl Pages<S::Error>,
    sink: &mut S,
) -> Result<(), S::Error> {
    let mut session = sink.begin(SessionName::new(&ser.name)?)?;
    let mut found = 0_u64;
    let mut blocks = Blocks::<_, FileSer>::new(memory, ser.files);
    while let Some(block) = blocks.next(buffer) {
        let block = block?;
        meet(pages, block.address)?;
        for file in block.entries {
            sink.file(&mut session, file)?;
            found = found.saturating_add(1);
        }
    }
    if found != ser.count {
        return Err(Damage::Files {
            said: ser.count,
            found,
        }
        .into());
    }
    sink.end(session)
}

/// A page must belong to one chain only.
fn meet<E: From<Damage>>(pages: &mut impl Pages<E>, address: u64) -> Result<(), E> {
    match pages.page(address)? {
        Met::First => Ok(()),
        Met::Again => Err(Damage::Cycle(address).into()),
    }
}

/// Checks the chain of sessions whose first block is at `head`, but not the sessions themselves.
///
/// # Errors
///
/// The first damage.
pub fn check_sessions(memory: &impl Memory, buffer: &mut [u64], head: u64) -> Result<(), Damage> {
    let mut blocks = Blocks::<_, SessionSer>::new(memory, head);
    while let Some(block) = blocks.next(buffer) {
        block?;
    }
    Ok(())
}

/// Reads the page of FLB entries at `address`; 0 if there is none. `keep` is called for each entry
/// with its name, its data and the number of files that depend on it.
///
/// # Errors
///
/// The first damage, or the error of `keep`, which has kept all that came before.
pub fn flbs<E: From<Damage>>(
    memory: &impl Memory,
    buffer: &mut [u64],
    address: u64,
    mut keep: impl FnMut(Compatible, u64, u64) -> Result<Met, E>,
) -> Result<(), E> {
    if address == 0 {
        return Ok(());
    }
    memory.read_block(address, buffer)?;
    let (header, rest) =
        FlbHeaderSer::ref_from_prefix(buffer.as_bytes()).map_err(|_| Damage::Address(address))?;
    if header.pages != 1 {
        return Err(Damage::Pages(header.pages).into());
    }
    let too_many = Damage::Count(header.count);
    let count = usize::try_from(header.count).map_err(|_| too_many)?;
    let (entries, _) = <[FlbSer]>::ref_from_prefix_with_elems(rest, count).map_err(|_| too_many)?;
    for entry in entries {
        let name = Compatible::new(&entry.name)?;
        if entry.count == 0 {
            return Err(Damage::Count(0).into());
        }
        if keep(name, entry.data, entry.count)? == Met::Again {
            return Err(Damage::Duplicate.into());
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers, and a test may panic"
)]
mod host_tests;
