// SPDX-License-Identifier: GPL-2.0

//! A memfd that goes to the next kernel.

use kernel::{
    current,
    kho::{
        self,
        PreservedBlocks,
        PreservedFolios, //
    },
    mm::{
        folio::{
            FolioRun,
            Pins, //
        },
        shmem::Locked, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        barrier::{
            smp_mb,
            Write, //
        },
        Arc,
        Mutex, //
    },
    task::might_sleep, //
};
use luo_core::memfd::{
    extent::ExtentSer,
    wire::{
        Flags,
        FolioSer,
        MemfdSer, //
    },
};
use zerocopy::{
    FromBytes,
    IntoBytes,
    KnownLayout, //
};

use crate::{
    table::Table,
    Format, //
};

/// Runs of folios that are pinned at once, and the most folios in them.
const RUNS: usize = 512;
const FOLIOS: u32 = 4096;

/// A memfd that goes to the next kernel.
#[pin_data]
pub(crate) struct Preserved {
    /// Pages of the file.
    pages: u64,
    /// Pages that were looked for so far, from the beginning of the file.
    scanned: Atomic<u64>,
    /// Pages that go to the next kernel so far.
    found: Atomic<u64>,
    /// `None` once the memfd does not go to the next kernel any more.
    #[pin]
    state: Mutex<Option<State>>,
}

/// How far a memfd is preserved, in pages.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    /// Of the file.
    pub(crate) pages: u64,
    /// Looked for so far, from the beginning of the file.
    pub(crate) scanned: u64,
    /// That go to the next kernel so far.
    pub(crate) found: u64,
}

struct State {
    /// A [`MemfdSer`].
    root: kho::Preserved,
    memory: Memory,
    scan: Scan,
    /// The kexec may come at any time: the table must not grow, since two places tell of that.
    is_frozen: bool,
}

/// The folios, and how the next kernel finds them.
enum Memory {
    /// Each has an entry, and is preserved at once.
    Folios {
        table: Table<FolioSer>,
        folios: PreservedFolios,
    },
    /// Each run has an entry. It is as long as it can be when all pages were looked for, so it is
    /// held until then, and preserved afterwards.
    Extents {
        table: Table<ExtentSer>,
        blocks: PreservedBlocks,
    },
}

/// Which pages of the file were looked for.
enum Scan {
    /// Some; these folios have appeared in holes meanwhile, and were added already.
    Running(RBTree<u64, ()>),
    /// All.
    Done,
}

fn root_mut(root: &mut kho::Preserved) -> Result<&mut MemfdSer> {
    let (root, _) = MemfdSer::mut_from_prefix(root.bytes_mut()).map_err(|_| EINVAL)?;
    Ok(root)
}

/// Makes room in a table for `count` entries, and for `spare` that may come later, but no more than
/// a page of those. Tells the next kernel, which counts pages without entries too.
fn grow<T: FromBytes + IntoBytes + KnownLayout>(
    root: &mut kho::Preserved,
    table: &mut Table<T>,
    count: usize,
    spare: u64,
    is_frozen: bool,
) -> Result {
    if is_frozen {
        return if table.room() < count {
            Err(ENOMEM)
        } else {
            Ok(())
        };
    }
    let spare = usize::try_from(spare).unwrap_or(usize::MAX);
    let reserved = table.reserve(count + spare.min(Table::<T>::PER_PAGE));
    root_mut(root)?.folios = table.describe();
    reserved
}

/// Says how many entries count. The kexec may come at any time: they are complete before.
fn set_count(root: &mut kho::Preserved, count: u64) -> Result {
    smp_mb(Write);
    root_mut(root)?.count = count;
    Ok(())
}

impl Memory {
    fn new(format: Format) -> Self {
        match format {
            Format::Folios => Self::Folios {
                table: Table::new(),
                folios: PreservedFolios::default(),
            },
            Format::Extents => Self::Extents {
                table: Table::new(),
                blocks: PreservedBlocks::default(),
            },
        }
    }
}

impl State {
    /// Adds folios; there are no pins afterwards. `spare` is how many may come later.
    fn add(&mut self, pins: &mut Pins, spare: u64) -> Result {
        match &mut self.memory {
            Memory::Folios { table, folios } => {
                let count: usize = pins.runs().iter().map(|run| run.count() as usize).sum();
                grow(&mut self.root, table, count, spare, self.is_frozen)?;
                let before = table.len();
                table.push(pins.runs().iter().flat_map(entries));
                if let Err(error) = folios.preserve(pins) {
                    table.truncate(before);
                    return Err(error);
                }
                set_count(&mut self.root, table.len())
            }
            Memory::Extents { blocks, .. } => {
                blocks.hold(pins)?;
                match self.scan {
                    Scan::Running(_) => Ok(()),
                    Scan::Done => self.preserve_held(spare).map(|_| ()),
                }
            }
        }
    }

    /// Preserves some of what [`Memory::Extents`] holds. After an error it is held no more. Returns
    /// whether it was all.
    fn preserve_held(&mut self, spare: u64) -> Result<bool> {
        let Memory::Extents { table, blocks } = &mut self.memory else {
            return Ok(true);
        };
        let count = blocks.held().len().min(RUNS);
        let before = table.len();
        let room = grow(&mut self.root, table, count, spare, self.is_frozen);
        let preserved = room.and_then(|()| {
            table.push(blocks.held().iter().take(count).map(extent));
            blocks.preserve(count)
        });
        if let Err(error) = preserved {
            table.truncate(before);
            blocks.release_held();
            return Err(error);
        }
        let is_all = blocks.held().is_empty();
        set_count(&mut self.root, table.len())?;
        Ok(is_all)
    }

    /// All pages were looked for. Returns whether that is all that there is to do.
    fn end_scan(&mut self, spare: u64) -> Result<bool> {
        let is_all = match &mut self.memory {
            // There may be no folio so far, and so no room.
            Memory::Folios { table, .. } => {
                grow(&mut self.root, table, 0, spare, self.is_frozen)?;
                true
            }
            Memory::Extents { .. } => self.preserve_held(spare)?,
        };
        if is_all {
            self.scan = Scan::Done;
        }
        Ok(is_all)
    }
}

/// The entries of a run. All are written as dirty and valid. A folio that is clean now may be
/// written to before the kexec, and must not be dropped then; this is the rule of Linux 7.3.
fn entries(run: &FolioRun) -> impl Iterator<Item = FolioSer> + '_ {
    (0..run.count()).map(|number| {
        let offset = u64::from(number) << run.order();
        FolioSer::new(run.frame() + offset, Flags::DATA, run.index() + offset)
    })
}

fn extent(run: &FolioRun) -> ExtentSer {
    ExtentSer {
        frame: run.frame(),
        index: run.index(),
        count: run.count(),
        order: run.order() as u16,
        flags: 0,
    }
}

impl Preserved {
    /// One without folios so far, and the address at which the next kernel finds it.
    pub(crate) fn new(memfd: MemfdSer, format: Format) -> Result<(kho::Address, Arc<Self>)> {
        let mut root = kho::Preserved::new(size_of::<MemfdSer>())?;
        *root_mut(&mut root)? = memfd;
        let address = root.address();
        let state = State {
            root,
            memory: Memory::new(format),
            scan: Scan::Running(RBTree::new()),
            is_frozen: false,
        };
        let preserved = Arc::pin_init(
            pin_init!(Self {
                pages: memfd.size.div_ceil(PAGE_SIZE as u64),
                scanned: Atomic::new(0),
                found: Atomic::new(0),
                state <- new_mutex!(Some(state), "luo_memfd::Preserved::state"),
            }),
            GFP_KERNEL,
        )?;
        Ok((address, preserved))
    }

    /// Ends the preservation: nothing of it is left, and pages that appear are not preserved.
    pub(crate) fn end(&self) {
        let state = self.state.lock().take();
        // Not under the lock, so that a page that appears does not wait for it.
        drop(state);
    }

    /// `reboot(2)` was called: writes down the position that the file has now. Pages may still
    /// appear.
    pub(crate) fn freeze(&self, position: u64) {
        if let Some(state) = &mut *self.state.lock() {
            state.is_frozen = true;
            if let Ok(root) = root_mut(&mut state.root) {
                root.position = position;
            }
        }
    }

    /// Undoes [`Self::freeze`].
    pub(crate) fn unfreeze(&self) {
        if let Some(state) = &mut *self.state.lock() {
            state.is_frozen = false;
        }
    }

    /// Pages that may still appear, of those that were not found.
    fn holes(&self) -> u64 {
        self.pages.saturating_sub(self.found.load(Relaxed))
    }

    /// Preserves a folio that has appeared in a hole.
    pub(crate) fn add_late(&self, pins: &mut Pins) -> Result {
        let Some(run) = pins.runs().first().copied() else {
            return Ok(());
        };
        // The file was cut before it was preserved: what adds the folio will see that, and take the
        // folio out again.
        if run.index() >= self.pages {
            return Ok(());
        }
        // The scan must not add this folio again. It counts all pages after it has added its last
        // folio, and needs no node then.
        let node = if self.scanned.load(Relaxed) < self.pages {
            Some(RBTreeNode::new(run.index(), (), GFP_KERNEL)?)
        } else {
            None
        };
        let mut state = self.state.lock();
        let Some(state) = &mut *state else {
            return Ok(());
        };
        state.add(pins, self.holes())?;
        // The folio is locked, and the scan pins no folio that is: it will find this one here.
        if let (Scan::Running(late), Some(node)) = (&mut state.scan, node) {
            late.insert(node);
        }
        self.found.fetch_add(run.pages(), Relaxed);
        Ok(())
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            pages: self.pages,
            scanned: self.scanned.load(Relaxed),
            found: self.found.load(Relaxed),
        }
    }

    /// Preserves the folios that the file has.
    ///
    /// # Errors
    ///
    /// `EHWPOISON` if a page has hardware errors, `EINTR` if the process is killed, `ENOMEM`, and
    /// errors of the swap device.
    pub(crate) fn scan(&self, memfd: &Locked<'_>) -> Result {
        let most = usize::try_from(self.pages).unwrap_or(RUNS);
        let mut pins = Pins::with_capacity(RUNS.min(most))?;
        let mut next = 0;
        while next < self.pages {
            memfd.pin(next, FOLIOS, &mut pins)?;
            let Some(end) = pins.runs().last().map(FolioRun::end) else {
                break;
            };
            next = end;
            self.add_scanned(&mut pins)?;
            self.scanned.store(next.min(self.pages), Relaxed);
            if current!().fatal_signal_pending() {
                return Err(EINTR);
            }
            might_sleep();
        }
        self.scanned.store(self.pages, Relaxed);
        while !self.end_scan()? {
            if current!().fatal_signal_pending() {
                return Err(EINTR);
            }
            might_sleep();
        }
        Ok(())
    }

    fn end_scan(&self) -> Result<bool> {
        match &mut *self.state.lock() {
            Some(state) => state.end_scan(self.holes()),
            None => Err(EINVAL),
        }
    }

    fn add_scanned(&self, pins: &mut Pins) -> Result {
        let mut state = self.state.lock();
        let Some(state) = &mut *state else {
            return Err(EINVAL);
        };
        if let Scan::Running(late) = &state.scan {
            if !late.is_empty() {
                pins.exclude(|from| {
                    let late = late.cursor_lower_bound(&from)?;
                    Some(*late.current().0)
                })?;
            }
        }
        let found: u64 = pins.runs().iter().map(FolioRun::pages).sum();
        self.found.fetch_add(found, Relaxed);
        state.add(pins, self.holes())
    }
}
