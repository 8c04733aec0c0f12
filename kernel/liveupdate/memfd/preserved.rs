// SPDX-License-Identifier: GPL-2.0

//! A memfd that goes to the next kernel.

use kernel::{
    current,
    kho::{
        self,
        PreservedFolios, //
    },
    mm::{
        folio::{
            Folio,
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
        barrier::{
            smp_mb,
            Write, //
        },
        Arc,
        Mutex, //
    },
    task::might_sleep, //
};
use luo_core::memfd::wire::{
    Flags,
    FolioSer,
    MemfdSer, //
};
use zerocopy::FromBytes;

use crate::table::Table;

/// Folios that are pinned at once.
const BATCH: usize = 512;

/// A memfd that goes to the next kernel.
#[pin_data]
pub(crate) struct Preserved {
    /// Pages of the file.
    pages: u64,
    /// `None` once the memfd does not go to the next kernel any more.
    #[pin]
    state: Mutex<Option<State>>,
}

struct State {
    /// A [`MemfdSer`].
    root: kho::Preserved,
    table: Table,
    folios: PreservedFolios,
    scan: Scan,
}

/// Which pages of the file were looked for.
enum Scan {
    /// Some; these folios have appeared in holes meanwhile, and are preserved already.
    Running(RBTree<u64, ()>),
    /// All.
    Done,
}

impl State {
    fn root_mut(&mut self) -> Result<&mut MemfdSer> {
        let (root, _) = MemfdSer::mut_from_prefix(self.root.bytes_mut()).map_err(|_| EINVAL)?;
        Ok(root)
    }

    /// Preserves folios; there are no pins afterwards.
    fn add(&mut self, pins: &mut Pins) -> Result {
        let reserved = self.table.reserve(pins.iter().len());
        // The next kernel counts the pages of the table, those without entries too.
        let table = self.table.describe();
        self.root_mut()?.folios = table;
        reserved?;
        let before = self.table.len();
        // All of them are written as dirty and valid. A folio that is clean now may be written to
        // before the kexec, and must not be dropped then; this is the rule of Linux 7.3.
        let entry = |folio: &Folio| FolioSer::new(folio.frame(), Flags::DATA, folio.index());
        self.table.push(pins.iter().map(entry));
        if let Err(error) = self.folios.preserve(pins) {
            self.table.truncate(before);
            return Err(error);
        }
        let count = self.table.len();
        // The kexec may come at any time: an entry is complete before it counts.
        smp_mb(Write);
        self.root_mut()?.count = count;
        Ok(())
    }
}

impl Preserved {
    /// One without folios so far, and the address at which the next kernel finds it.
    pub(crate) fn new(memfd: MemfdSer) -> Result<(kho::Address, Arc<Self>)> {
        let root = kho::Preserved::new(size_of::<MemfdSer>())?;
        let address = root.address();
        let mut state = State {
            root,
            table: Table::new(),
            folios: PreservedFolios::default(),
            scan: Scan::Running(RBTree::new()),
        };
        *state.root_mut()? = memfd;
        let preserved = Arc::pin_init(
            pin_init!(Self {
                pages: memfd.size.div_ceil(PAGE_SIZE as u64),
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
            if let Ok(root) = state.root_mut() {
                root.position = position;
            }
        }
    }

    /// Preserves a folio that has appeared in a hole.
    pub(crate) fn add_late(&self, pins: &mut Pins) -> Result {
        let Some(index) = pins.iter().next().map(Folio::index) else {
            return Ok(());
        };
        // The file was cut before it was preserved: what adds the folio will see that, and take the
        // folio out again.
        if index >= self.pages {
            return Ok(());
        }
        let node = RBTreeNode::new(index, (), GFP_KERNEL)?;
        let mut state = self.state.lock();
        let Some(state) = &mut *state else {
            return Ok(());
        };
        // The scan may have met it since it was added.
        if pins.iter().all(|folio| state.folios.contains(folio)) {
            return Ok(());
        }
        state.add(pins)?;
        if let Scan::Running(late) = &mut state.scan {
            late.insert(node);
        }
        Ok(())
    }

    /// Preserves the folios that the file has.
    ///
    /// # Errors
    ///
    /// `EHWPOISON` if a page has hardware errors, `EINTR` if the process is killed, `ENOMEM`, and
    /// errors of the swap device.
    pub(crate) fn scan(&self, memfd: &Locked<'_>) -> Result {
        let most = usize::try_from(self.pages).unwrap_or(BATCH);
        let mut pins = Pins::with_capacity(BATCH.min(most))?;
        let mut next = 0;
        while next < self.pages {
            memfd.pin(next, &mut pins)?;
            let Some(end) = pins
                .iter()
                .last()
                .map(|last| last.index() + (1 << last.order()))
            else {
                break;
            };
            next = end;
            pins.make_uptodate();
            if pins.iter().any(Folio::is_poisoned) {
                return Err(EHWPOISON);
            }
            self.add_scanned(&mut pins)?;
            if current!().fatal_signal_pending() {
                return Err(EINTR);
            }
            might_sleep();
        }
        if let Some(state) = &mut *self.state.lock() {
            state.scan = Scan::Done;
        }
        Ok(())
    }

    fn add_scanned(&self, pins: &mut Pins) -> Result {
        let mut state = self.state.lock();
        let Some(state) = &mut *state else {
            return Err(EINVAL);
        };
        if let Scan::Running(late) = &state.scan {
            if !late.is_empty() {
                pins.retain(|folio| late.get(&folio.index()).is_none());
            }
        }
        state.add(pins)
    }
}
