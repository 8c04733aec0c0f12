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
use zerocopy::FromBytes;

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
}

/// The folios, and how the next kernel finds them.
enum Memory {
    /// Each has an entry, and is preserved at once.
    Folios {
        table: Table<FolioSer>,
        folios: PreservedFolios,
    },
    /// Each run has an entry. It is as long as it can be when all pages were looked for, so it is
    /// preserved then.
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
    /// Adds folios; there are no pins afterwards.
    fn add(&mut self, pins: &mut Pins) -> Result {
        match &mut self.memory {
            Memory::Folios { table, folios } => {
                let count: usize = pins.runs().iter().map(|run| run.count() as usize).sum();
                let reserved = table.reserve(count);
                // The next kernel counts the pages of the table, those without entries too.
                root_mut(&mut self.root)?.folios = table.describe();
                reserved?;
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
                    Scan::Done => self.preserve_held(),
                }
            }
        }
    }

    /// Preserves what [`Memory::Extents`] holds. After an error it is held no more.
    fn preserve_held(&mut self) -> Result {
        let Memory::Extents { table, blocks } = &mut self.memory else {
            return Ok(());
        };
        let reserved = table.reserve(blocks.held().len());
        root_mut(&mut self.root)?.folios = table.describe();
        let before = table.len();
        let preserved = reserved.and_then(|()| {
            table.push(blocks.held().iter().map(extent));
            blocks.preserve()
        });
        if let Err(error) = preserved {
            table.truncate(before);
            blocks.release_held();
            return Err(error);
        }
        set_count(&mut self.root, table.len())
    }

    /// All pages were looked for.
    fn end_scan(&mut self) -> Result {
        self.scan = Scan::Done;
        self.preserve_held()
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

    /// Writes the position down that the file has when `reboot(2)` is called.
    pub(crate) fn set_position(&self, position: u64) {
        if let Some(state) = &mut *self.state.lock() {
            if let Ok(root) = root_mut(&mut state.root) {
                root.position = position;
            }
        }
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
        let node = RBTreeNode::new(run.index(), (), GFP_KERNEL)?;
        let mut state = self.state.lock();
        let Some(state) = &mut *state else {
            return Ok(());
        };
        state.add(pins)?;
        // The folio is locked, and the scan pins no folio that is: it will find this one here.
        if let Scan::Running(late) = &mut state.scan {
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
        match &mut *self.state.lock() {
            Some(state) => state.end_scan(),
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
        state.add(pins)?;
        self.found.fetch_add(found, Relaxed);
        Ok(())
    }
}
