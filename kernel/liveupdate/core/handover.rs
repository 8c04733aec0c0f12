// SPDX-License-Identifier: GPL-2.0

//! Reading a whole handover: what it leads to is checked here, and kept by somebody else.
//!
//! The root leads to a chain of sessions, each of which leads to a chain of files, and to a page of
//! file-lifecycle-bound objects. No page may be met twice, no name or token may be there twice, and
//! every count must be true.

use zerocopy::FromBytes;

use crate::{
    chain::{
        Blocks,
        Memory, //
    },
    name::{
        Compatible,
        SessionName, //
    },
    wire::{
        Damage,
        FileSer,
        FlbHeaderSer,
        FlbSer,
        LuoSer,
        SessionSer, //
    }, //
};

/// Whether something is there for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It is.
    First,
    /// It was there before.
    Again,
}

/// Keeps what is read. Each call may fail for want of memory.
pub trait Sink {
    /// Why reading ends.
    type Error: From<Damage>;

    /// A session whose files are being read.
    type Session;

    /// There is a page at this address.
    fn page(&mut self, address: u64) -> Result<Met, Self::Error>;

    /// A session of this name begins; its files follow.
    fn begin(&mut self, name: SessionName) -> Result<Self::Session, Self::Error>;

    /// The next file of the session.
    fn file(&mut self, session: &mut Self::Session, file: &FileSer) -> Result<(), Self::Error>;

    /// The session is complete: whether all its tokens, and its name, are there for the first time.
    fn end(&mut self, session: Self::Session) -> Result<Met, Self::Error>;
}

/// Reads all sessions and their files.
///
/// The pages of the root, at `root_address`, and of the objects are taken as met.
///
/// # Errors
///
/// The first damage, or why `sink` could not keep something. It has kept what came before.
pub fn sessions<S: Sink>(
    memory: &impl Memory,
    root_address: u64,
    root: &LuoSer,
    sink: &mut S,
) -> Result<(), S::Error> {
    meet(sink, root_address)?;
    if root.flbs != 0 {
        meet(sink, root.flbs)?;
    }
    for block in Blocks::<_, SessionSer>::new(memory, root.sessions) {
        let block = block?;
        meet(sink, block.address)?;
        for ser in block.entries {
            session(memory, ser, sink)?;
        }
    }
    Ok(())
}

fn session<S: Sink>(memory: &impl Memory, ser: &SessionSer, sink: &mut S) -> Result<(), S::Error> {
    let mut session = sink.begin(SessionName::new(&ser.name)?)?;
    let mut found = 0_u64;
    for block in Blocks::<_, FileSer>::new(memory, ser.files) {
        let block = block?;
        meet(sink, block.address)?;
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
    match sink.end(session)? {
        Met::First => Ok(()),
        Met::Again => Err(Damage::Duplicate.into()),
    }
}

/// A page that belongs to one chain only.
fn meet<S: Sink>(sink: &mut S, address: u64) -> Result<(), S::Error> {
    match sink.page(address)? {
        Met::First => Ok(()),
        Met::Again => Err(Damage::Cycle(address).into()),
    }
}

/// Reads the page of objects at `address`; 0 if there is none. `keep` is called for each with its
/// name, its data and how many files depend on it.
///
/// # Errors
///
/// The first damage, or why `keep` could not keep something. It has kept what came before.
pub fn flbs<E: From<Damage>>(
    memory: &impl Memory,
    address: u64,
    mut keep: impl FnMut(Compatible, u64, u64) -> Result<Met, E>,
) -> Result<(), E> {
    if address == 0 {
        return Ok(());
    }
    let page = memory.whole_block(address)?;
    let (header, rest) =
        FlbHeaderSer::ref_from_prefix(page).map_err(|_| Damage::Address(address))?;
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
