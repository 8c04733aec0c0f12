// SPDX-License-Identifier: GPL-2.0

//! The way in.

use kernel::{
    fs::File,
    kho::{
        self,
        Block, //
    },
    mm::{
        folio::Folios,
        shmem::NewMemfd, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef,
    task::might_sleep, //
};
use luo_core::memfd::{
    extent::{
        Extent,
        ExtentSer, //
    },
    run::{
        Gather,
        Run, //
    },
    table::Chunks,
    wire::{
        Damage,
        FolioSer,
        MemfdSer, //
    },
};
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

use crate::{
    filling::{
        Filling,
        Sink,
        BATCH, //
    },
    table,
    Format, //
};

/// Folios are freed.
#[derive(Default)]
struct Discarding(Option<Folios>);

impl Discarding {
    /// Frees folios. Those that are not there cannot be freed.
    fn discard(&mut self, run: &Run) {
        let order = run.stride.trailing_zeros();
        let mut done = 0;
        while done < run.count {
            let frame = run.frame + done * run.stride;
            let count = self.batch().map_or(0, |batch| {
                let count = batch.restore_run(frame, order, run.count - done);
                batch.clear();
                count.unwrap_or(0)
            });
            if count == 0 {
                let _ = kho::restore_folio(frame);
            }
            done += count.max(1);
            might_sleep();
        }
    }

    /// Frees the memory of an extent, up to the first that is not there.
    fn discard_extent(mut extent: Extent) {
        while extent.pages > 0 {
            let Ok(block) = Block::restore(extent.frame, extent.pages) else {
                return;
            };
            extent.advance(block.pages());
            might_sleep();
        }
    }

    /// Room for folios, if there is memory for it.
    fn batch(&mut self) -> Option<&mut Folios> {
        if self.0.is_none() {
            self.0 = Folios::with_capacity(BATCH).ok();
        }
        self.0.as_mut()
    }
}

impl Sink for Discarding {
    fn add(&mut self, run: Run) -> Result {
        self.discard(&run);
        Ok(())
    }
}

/// Folios go to one until something fails, and are freed from then on.
struct Guarded<'a, S> {
    sink: &'a mut S,
    discarding: Discarding,
    result: Result,
}

impl<S: Sink> Guarded<'_, S> {
    fn fail(&mut self, error: Error) {
        if self.result.is_ok() {
            self.result = Err(error);
        }
    }

    #[inline]
    fn add(&mut self, run: Option<Run>) {
        let Some(run) = run else { return };
        if self.result.is_ok() {
            self.result = self.sink.add(run);
        }
        // Of a run that failed, this frees what was not taken.
        if self.result.is_err() {
            self.discarding.discard(&run);
        }
    }

    /// Adds the folios of a block, `left` at most. Returns how many.
    fn add_block(&mut self, gather: &mut Gather, block: &[u8], left: u64) -> u64 {
        let mut entries = used::<FolioSer>(block, left);
        let count = entries.len() as u64;
        while !entries.is_empty() {
            let (ended, others) = gather.add(entries);
            entries = others;
            match ended {
                Ok(run) => self.add(run),
                Err(damage) => self.fail(refuse(damage)),
            }
        }
        count
    }

    fn end(self) -> Result {
        self.result?;
        self.sink.end()
    }
}

/// The entries of a block, `left` at most.
fn used<T: FromBytes + Immutable + KnownLayout>(block: &[u8], left: u64) -> &[T] {
    let entries = table::entries(block);
    let used = usize::try_from(left).map_or(entries.len(), |left| left.min(entries.len()));
    entries.get(..used).unwrap_or(entries)
}

/// A memfd of the previous kernel, of which everything was checked but the table.
struct Handover {
    memfd: MemfdSer,
    pages: u64,
}

impl Handover {
    /// Reads it, and frees its memory.
    fn take(data: kho::Incoming, format: Format) -> Result<Self> {
        let mut memfd = MemfdSer::default();
        let read = data.read(0, memfd.as_mut_bytes());
        data.free();
        read?;
        let pages = match format {
            Format::Folios => memfd.check::<FolioSer>(PAGE_SIZE as u64),
            Format::Extents => memfd.check::<ExtentSer>(PAGE_SIZE as u64),
        };
        let pages = pages.map_err(refuse)?;
        Ok(Self { memfd, pages })
    }

    /// Takes all folios over, and frees the table. After an error the other folios are freed, as
    /// far as the table leads to them.
    fn folios<S: Sink>(&self, sink: &mut S) -> Result {
        if self.memfd.count == 0 {
            return Ok(());
        }
        let mut gather = Gather::new(self.pages);
        let mut guarded = Guarded {
            sink,
            discarding: Discarding::default(),
            result: Ok(()),
        };
        let read = self.blocks(|block, left| guarded.add_block(&mut gather, block, left));
        if let Err(error) = read {
            guarded.fail(error);
        }
        guarded.add(gather.end());
        guarded.end()
    }

    /// As [`Self::folios`], of a table of extents. Their memory goes into a file, or is freed if
    /// there is none.
    fn extents(&self, mut file: Option<&mut Filling<'_>>) -> Result {
        if self.memfd.count == 0 {
            return Ok(());
        }
        let mut result = Ok(());
        let read = self.blocks(|block, left| {
            let entries = used::<ExtentSer>(block, left);
            for entry in entries {
                let mut extent = match entry.check(self.pages) {
                    Ok(extent) => extent,
                    Err(damage) => {
                        result = result.and(Err(refuse(damage)));
                        continue;
                    }
                };
                if let (Ok(()), Some(file)) = (result, &mut file) {
                    result = file.add_extent(&mut extent);
                }
                Discarding::discard_extent(extent);
            }
            entries.len() as u64
        });
        result.and(read)?;
        file.map_or(Ok(()), Sink::end)
    }

    /// Frees the memory.
    fn discard(&self, format: Format) -> Result {
        match format {
            Format::Folios => self.folios(&mut Discarding::default()),
            Format::Extents => self.extents(None),
        }
    }

    /// Takes the blocks of the table over, each with the number of entries that are left, of which
    /// `add` returns how many the block has. Frees the table.
    fn blocks(&self, mut add: impl FnMut(&[u8], u64) -> u64) -> Result {
        let mut left = self.memfd.count;
        let mut chunks = Chunks::new(&self.memfd.folios);
        while let Some(address) = chunks.address().map_err(refuse)? {
            let chunk = kho::restore(address)?;
            let words = chunk.bytes().get(..PAGE_SIZE).unwrap_or(&[]);
            let words = <[u64]>::ref_from_bytes(words).map_err(|_| EINVAL)?;
            for block in chunks.blocks(words).map_err(refuse)? {
                left -= add(kho::restore(*block)?.bytes(), left);
            }
        }
        // A block has the size that KHO says, whatever the table says.
        if left > 0 {
            return Err(refuse(Damage::Length));
        }
        Ok(())
    }
}

fn refuse(damage: Damage) -> Error {
    pr_err!("a memfd of the previous kernel cannot be used: {damage:?}\n");
    match damage {
        Damage::Seals(_) | Damage::Flags(_) => EOPNOTSUPP,
        _ => EINVAL,
    }
}

/// Makes the file.
///
/// # Errors
///
/// `EOPNOTSUPP` if it is one of a later version, `EINVAL` or `EIO` if the handover is damaged,
/// `ENOMEM`, also if the control group has no room for it.
pub(crate) fn retrieve(data: kho::Incoming, format: Format) -> Result<ARef<File>> {
    // `ENOENT` would say that the session has no such file.
    fill(data, format).map_err(|error| if error == ENOENT { EIO } else { error })
}

fn fill(data: kho::Incoming, format: Format) -> Result<ARef<File>> {
    let handover = Handover::take(data, format)?;
    match make(&handover.memfd) {
        Ok((file, batch)) => {
            let orders = file.orders(handover.memfd.size);
            let mut filling = Filling::new(&file, orders, batch);
            match format {
                Format::Folios => handover.folios(&mut filling)?,
                Format::Extents => handover.extents(Some(&mut filling))?,
            }
            Ok(file.into_file())
        }
        Err(error) => {
            handover.discard(format)?;
            Err(error)
        }
    }
}

/// Makes the file without its memory, and room for folios.
fn make(memfd: &MemfdSer) -> Result<(NewMemfd, Folios)> {
    let most = usize::try_from(memfd.size.div_ceil(PAGE_SIZE as u64)).unwrap_or(BATCH);
    let batch = Folios::with_capacity(BATCH.min(most))?;
    let file = NewMemfd::new()?;
    file.add_seals(memfd.seals)?;
    file.set_position(memfd.position);
    file.set_size(memfd.size)?;
    Ok((file, batch))
}

/// Frees the memory of a file that was never retrieved.
pub(crate) fn discard(data: kho::Incoming, format: Format) {
    let freed = Handover::take(data, format).and_then(|handover| handover.discard(format));
    if let Err(error) = freed {
        pr_err!("memory of a memfd that was not retrieved stays reserved: {error:?}\n");
    }
}
