// SPDX-License-Identifier: GPL-2.0

//! The memory of the handover from the previous kernel.

use kernel::{
    kho,
    page::PAGE_SIZE,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use luo_core::{
    chain::{
        Memory,
        NotPreserved, //
    },
    handover::{
        self,
        Buffers,
        Met,
        Pages,
        Sink, //
    },
    wire::{
        LuoSer,
        SUBTREE, //
    }, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

use crate::failure::Failure;

/// The handover: its root, which leads to everything else.
///
/// # Invariants
///
/// There is one of this type at most.
pub(crate) struct HandedOver {
    memory: kho::Incoming,
    root: LuoSer,
}

/// Whether the handover has been taken.
static TAKEN: Atomic<bool> = Atomic::new(false);

/// The pages of the handover, after all of it was read and found good.
///
/// # Invariants
///
/// Each page is the root, or a block that the root leads to, and in one chain only.
pub(crate) struct Blocks(RBTree<u64, ()>);

/// Room for a block.
pub(crate) fn buffer() -> Result<KVVec<u64>> {
    const WORDS: usize = PAGE_SIZE / size_of::<u64>();
    Ok(KVVec::from_elem(0, WORDS, GFP_KERNEL)?)
}

impl HandedOver {
    /// Takes the handover over, if there is one.
    ///
    /// # Errors
    ///
    /// The damage of the root, or the error of KHO.
    pub(crate) fn take() -> Result<Option<Self>, Failure> {
        TAKEN
            .cmpxchg(false, true, Relaxed)
            .map_err(|_| Failure::Kernel(EBUSY))?;
        // SAFETY: The subtree is LUO's, and it is taken once: `TAKEN` was false.
        let memory = match unsafe { kho::Incoming::subtree(SUBTREE, size_of::<LuoSer>()) } {
            Err(error) if error == ENOENT => return Ok(None),
            found => found?,
        };
        let mut root = LuoSer::new_zeroed();
        memory.read(0, root.as_mut_bytes())?;
        root.check()?;
        // INVARIANT: `TAKEN` was false.
        Ok(Some(Self { memory, root }))
    }

    /// The root, as it was when it was taken.
    pub(crate) fn root(&self) -> &LuoSer {
        &self.root
    }

    /// Reads all sessions and their files.
    ///
    /// # Errors
    ///
    /// The first damage, or the error of the sink.
    pub(crate) fn sessions(
        &self,
        sink: &mut impl Sink<Error = Failure>,
    ) -> Result<Blocks, Failure> {
        let (mut sessions, mut files) = (buffer()?, buffer()?);
        let mut buffers = Buffers {
            sessions: &mut sessions,
            files: &mut files,
        };
        let mut blocks = Blocks(RBTree::new());
        let address = self.memory.phys();
        handover::sessions(self, &mut buffers, address, &self.root, &mut blocks, sink)?;
        // INVARIANT: `handover::sessions` has read and accepted all of it.
        Ok(blocks)
    }

    /// Gives the memory to the page allocator.
    pub(crate) fn free(self, blocks: Blocks) {
        for address in blocks.0.keys() {
            // SAFETY: By its type invariants, `blocks` has only pages that the previous kernel's
            // LUO has preserved for this one. They belong to `self`, which by its invariants is the
            // only one of its type, and goes now.
            if let Some(block) = unsafe { kho::Incoming::at(*address) } {
                block.free();
            }
        }
    }
}

impl Pages<Failure> for Blocks {
    fn page(&mut self, address: u64) -> Result<Met, Failure> {
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        match self.0.entry(address) {
            Entry::Vacant(place) => {
                place.insert((), node);
                Ok(Met::First)
            }
            Entry::Occupied(_) => Ok(Met::Again),
        }
    }
}

/// A block is copied: until the whole handover is found good, its address may be that of memory of
/// another owner, who may write to it.
impl Memory for HandedOver {
    fn read(&self, address: u64, block: &mut [u64]) -> Result<(), NotPreserved> {
        kho::read(address, block.as_mut_bytes()).map_err(|_| NotPreserved)
    }
}
