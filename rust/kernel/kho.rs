// SPDX-License-Identifier: GPL-2.0

//! Kexec HandOver (KHO): memory that outlives the kernel.
//!
//! A kernel preserves memory and names the roots of it, called subtrees; the kernel that it boots
//! by kexec finds the subtrees by name, and restores or frees the memory behind them.
//!
//! - [`Preserved`] is memory for the next kernel.
//! - [`Incoming`] is memory from the previous kernel. Its content comes from another kernel, so it
//!   deserves no more trust than data from userspace.
//! - [`read`] copies preserved memory, of any owner.
//! - [`PreservedFolios`] are folios of files for the next kernel, which takes them over by
//!   [`restore`], or many at once into [`Folios`](crate::mm::folio::Folios).
//!
//! C header: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)
//!
//! Reference: <https://docs.kernel.org/core-api/kho/index.html>

use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    io::PhysAddr,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull,
    slice, //
};

#[cfg(CONFIG_SHMEM_LIVEUPDATE)]
mod folio;

#[cfg(CONFIG_SHMEM_LIVEUPDATE)]
pub use folio::{
    restore,
    restore_folio,
    Block,
    PreservedBlocks,
    PreservedFolios, //
};

/// Whether this kernel takes part in KHO (`kho=on`).
pub fn is_enabled() -> bool {
    // SAFETY: The function only reads a flag.
    unsafe { bindings::kho_is_enabled() }
}

/// Zeroed memory that the next kernel finds at the same address.
///
/// It is freed when this is dropped; [`Preserved::keep`] leaves it to the next kernel for good.
///
/// # Invariants
///
/// - `memory` was returned by `kho_alloc_preserve` for at least `size` bytes, and is owned.
/// - Only this value gives access to these bytes.
///
/// # Examples
///
/// ```
/// use kernel::{kho, page::PAGE_SIZE};
///
/// if kho::is_enabled() {
///     let mut memory = kho::Preserved::new(PAGE_SIZE)?;
///     assert!(memory.bytes().iter().all(|byte| *byte == 0));
///     memory.bytes_mut()[0] = 7;
///     assert!(memory.phys() % PAGE_SIZE as u64 == 0);
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct Preserved {
    memory: NonNull<u8>,
    size: usize,
}

// SAFETY: The memory is owned and is not bound to a thread.
unsafe impl Send for Preserved {}

// SAFETY: Through a shared reference the memory can only be read.
unsafe impl Sync for Preserved {}

impl Preserved {
    /// Allocates and preserves `size` bytes, physically contiguous and aligned to a page.
    ///
    /// It fails with a warning before KHO's own initcall, which is that of file systems.
    ///
    /// # Errors
    ///
    /// `EINVAL` for no bytes, `E2BIG` for more than the page allocator gives at once, `ENOMEM`.
    pub fn new(size: usize) -> Result<Self> {
        // SAFETY: The function has no requirements as to its argument.
        let memory = from_err_ptr(unsafe { bindings::kho_alloc_preserve(size) })?;
        let memory = NonNull::new(memory.cast()).ok_or(ENOMEM)?;
        // INVARIANT: The memory was just allocated, so it is owned, and its address is known here
        // alone.
        Ok(Self { memory, size })
    }

    /// The memory.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: By the type invariants there are that many bytes, initialised (zeroed, then
        // written through `bytes_mut`), and they do not change while `self` is borrowed.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.size) }
    }

    /// The memory, to be written to.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: As for `bytes`, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.memory.as_ptr(), self.size) }
    }

    /// The physical address, which is the same in the next kernel.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        // SAFETY: The memory comes from the page allocator, so it is in the direct map.
        unsafe { bindings::virt_to_phys(self.memory.as_ptr().cast()) }
    }

    /// The address in a form that a handler of files can hand over: see
    /// [`crate::liveupdate::Data`].
    #[inline]
    pub fn address(&self) -> Address {
        Address(self.phys())
    }

    /// Leaves the memory to the next kernel for good.
    pub fn keep(self) -> Kept {
        Kept(ManuallyDrop::new(self))
    }

    /// Makes this memory the root of a subtree: the next kernel finds it by `name`.
    ///
    /// From then on it cannot be freed.
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is a subtree of this name, `ENOMEM`.
    pub fn into_subtree(self, name: &CStr) -> Result<Kept> {
        // SAFETY:
        // - `name` is NUL-terminated.
        // - The memory is preserved, and `size` is its true size; it is never freed from here on.
        to_result(unsafe {
            bindings::kho_add_subtree(name.as_char_ptr(), self.memory.as_ptr().cast(), self.size)
        })?;
        Ok(self.keep())
    }
}

impl Drop for Preserved {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the memory was allocated by `kho_alloc_preserve` and is
        // owned, and no borrow of it is left.
        unsafe { bindings::kho_unpreserve_free(self.memory.as_ptr().cast()) };
    }
}

/// Memory that the next kernel gets in any case: it is never freed, not even when this is dropped.
pub struct Kept(ManuallyDrop<Preserved>);

impl Kept {
    /// The memory.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The memory, to be written to.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    /// The physical address, which is the same in the next kernel.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        self.0.phys()
    }
}

/// The address of [`Preserved`] memory, of which the next kernel makes [`Incoming`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(PhysAddr);

impl Address {
    /// An address as a number from the previous kernel; it may be anything.
    #[inline]
    pub const fn from_phys(phys: PhysAddr) -> Self {
        Self(phys)
    }

    /// The physical address.
    #[inline]
    pub const fn phys(self) -> PhysAddr {
        self.0
    }
}

/// Memory that the previous kernel preserved, and that is owned here.
///
/// Nothing happens when this is dropped: state that cannot be used stays as it is.
/// [`Incoming::free`] gives the memory to the page allocator.
///
/// # Invariants
///
/// - KHO has reserved the memory from `phys` on in this kernel: at least `size` bytes, all within
///   one preservation of the previous kernel.
/// - Only this value restores or frees it.
pub struct Incoming {
    phys: PhysAddr,
    size: usize,
}

impl Incoming {
    /// Finds the subtree `name`, if the previous kernel left one of at least `size` bytes.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none, `EINVAL` if KHO's own tree is damaged, or the subtree is smaller,
    /// or its memory was not preserved.
    ///
    /// # Safety
    ///
    /// As for [`Incoming::at`].
    pub unsafe fn subtree(name: &CStr, size: usize) -> Result<Self> {
        let (mut phys, mut found) = (0, 0);
        // SAFETY: `name` is NUL-terminated, and both pointers are valid for writes.
        to_result(unsafe {
            bindings::kho_retrieve_subtree(name.as_char_ptr(), &mut phys, &mut found)
        })?;
        if found < size {
            return Err(EINVAL);
        }
        // SAFETY: The caller promises it.
        let incoming = unsafe { Self::at(phys) }.ok_or(EINVAL)?;
        if incoming.size < size {
            return Err(EINVAL);
        }
        Ok(incoming)
    }

    /// The memory at `phys`, if it was preserved and neither restored nor freed since.
    ///
    /// `phys` may be anything: an address that was not handed over is refused.
    ///
    /// # Safety
    ///
    /// The caller must own the memory: other code may read it by [`read`] until it is freed, but
    /// must not restore or free it.
    pub unsafe fn at(phys: PhysAddr) -> Option<Self> {
        // INVARIANT: KHO says that these bytes were preserved as one piece; the caller promises
        // that they are owned.
        preserved_size(phys).map(|size| Self { phys, size })
    }

    /// Bytes in it: the size of the preservation.
    #[inline]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The physical address.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        self.phys
    }

    /// Copies the bytes from `offset` on; they may be anything.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are not so many bytes.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result {
        let end = offset.checked_add(bytes.len()).ok_or(EINVAL)?;
        if end > self.size {
            return Err(EINVAL);
        }
        copy(self.phys + offset as PhysAddr, bytes)
    }

    /// Gives the memory to the page allocator.
    pub fn free(self) {
        // SAFETY: By the type invariants the memory is preserved, so it is in the direct map.
        let memory = unsafe { bindings::phys_to_virt(self.phys) };
        // SAFETY: By the type invariants KHO has reserved the memory, and it is owned.
        unsafe { bindings::kho_restore_free(memory) };
    }
}

/// Copies memory that the previous kernel preserved as one piece of at least that many bytes, and
/// that was neither restored nor freed since.
///
/// The memory may belong to another subsystem, which may write to it meanwhile, so the copy may be
/// anything. `phys` may be anything too.
///
/// # Errors
///
/// `ENOENT` if no such memory was preserved there, `EFAULT` if it has just gone.
///
/// # Examples
///
/// ```
/// use kernel::kho;
///
/// // An address within a page is none.
/// assert_eq!(kho::read(0x1001, &mut [0; 8]), Err(ENOENT));
/// ```
pub fn read(phys: PhysAddr, bytes: &mut [u8]) -> Result {
    match preserved_size(phys) {
        Some(size) if bytes.len() <= size => copy(phys, bytes),
        _ => Err(ENOENT),
    }
}

/// Copies from the direct map.
fn copy(phys: PhysAddr, bytes: &mut [u8]) -> Result {
    // SAFETY: The function only computes an address.
    let from = unsafe { bindings::phys_to_virt(phys) };
    // SAFETY:
    // - `bytes` can be written to for its whole length.
    // - The function takes any source: it is read by instructions whose faults are handled, and the
    //   compiler assumes nothing about its content, which may change.
    let failed =
        unsafe { bindings::copy_from_kernel_nofault(bytes.as_mut_ptr().cast(), from, bytes.len()) };
    if failed == 0 {
        Ok(())
    } else {
        Err(EFAULT)
    }
}

/// The size of the memory that the previous kernel preserved at `phys` as one piece, if it was
/// neither restored nor freed since.
fn preserved_size(phys: PhysAddr) -> Option<usize> {
    // SAFETY: The function takes any address.
    let order = unsafe { bindings::kho_preserved_order(phys) };
    let pages = 1_usize.checked_shl(order.try_into().ok()?)?;
    pages.checked_mul(PAGE_SIZE)
}
