// SPDX-License-Identifier: GPL-2.0

//! Kexec HandOver (KHO): memory that outlives the kernel.
//!
//! A kernel preserves memory and names the roots of it, called subtrees; the kernel that it boots by
//! kexec finds the subtrees by name, and gets or gives back the memory behind them.
//!
//! - [`Preserved`] is memory for the next kernel.
//! - [`Incoming`] is memory from the last one. What it holds comes from another kernel, so it is to
//!   be believed no more than what comes from a user.
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

/// Whether this kernel takes part in KHO (`kho=on`).
pub fn is_enabled() -> bool {
    // SAFETY: The function only reads a flag.
    unsafe { bindings::kho_is_enabled() }
}

/// Zeroed memory that the next kernel will find where it is.
///
/// It is given back when this is dropped; [`Preserved::keep`] leaves it to the next kernel for good.
///
/// # Invariants
///
/// - `memory` was returned by `kho_alloc_preserve` for at least `size` bytes, and is owned.
/// - Nobody else writes to these bytes.
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
    /// KHO takes nothing before its own initcall, which is that of file systems, and warns then.
    ///
    /// # Errors
    ///
    /// `EINVAL` for no bytes, `E2BIG` for more than the page allocator gives at once, `ENOMEM`.
    pub fn new(size: usize) -> Result<Self> {
        // SAFETY: The function has no requirements as to its argument.
        let memory = from_err_ptr(unsafe { bindings::kho_alloc_preserve(size) })?;
        let memory = NonNull::new(memory.cast()).ok_or(ENOMEM)?;
        // INVARIANT: Just allocated, so it is owned, and nobody else knows of it.
        Ok(Self { memory, size })
    }

    /// The memory.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: By the type invariants there are that many bytes, initialised (zeroed, then
        // written to by us), and nobody writes to them while `self` is borrowed.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.size) }
    }

    /// The memory, to be written to.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: As for `bytes`, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.memory.as_ptr(), self.size) }
    }

    /// Where the next kernel finds it.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        // SAFETY: The memory comes from the page allocator, so it is in the direct map.
        unsafe { bindings::virt_to_phys(self.memory.as_ptr().cast()) }
    }

    /// Leaves the memory to the next kernel for good.
    pub fn keep(self) -> Kept {
        Kept(ManuallyDrop::new(self))
    }

    /// Makes this memory the root of a subtree: the next kernel finds it by `name`.
    ///
    /// It cannot be given back any more.
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

/// Memory that the next kernel gets for sure: it is never given back, not even when this is dropped.
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

    /// Where the next kernel finds it.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        self.0.phys()
    }
}

impl Drop for Preserved {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the memory was allocated by `kho_alloc_preserve` and is
        // owned, so nobody uses it any more.
        unsafe { bindings::kho_unpreserve_free(self.memory.as_ptr().cast()) };
    }
}

/// Memory that the last kernel preserved.
///
/// Dropping this does nothing: state that cannot be used is left as it is. [`Incoming::free`] gives
/// the memory to the page allocator.
///
/// # Invariants
///
/// - `memory` is in the direct map, begins a page, and KHO has reserved it in this kernel: at least
///   `size` bytes, all within one preservation of the last kernel.
/// - Nobody else frees it, and nobody writes to it.
pub struct Incoming {
    memory: NonNull<u8>,
    size: usize,
}

// SAFETY: The memory is owned and is not bound to a thread.
unsafe impl Send for Incoming {}

// SAFETY: Through a shared reference the memory can only be read.
unsafe impl Sync for Incoming {}

impl Incoming {
    /// Finds the subtree `name`, if the last kernel left one of at least `size` bytes.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none, `EINVAL` if KHO's own tree is damaged, or the subtree is smaller,
    /// or its memory was not preserved.
    ///
    /// # Safety
    ///
    /// As for [`Incoming::at`]: whoever else finds the subtree must not write to it, nor free it
    /// before this.
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
        unsafe { Self::at(phys, size) }.ok_or(EINVAL)
    }

    /// The memory at `phys`, if it was preserved as one piece of at least `size` bytes.
    ///
    /// `phys` may be anything: what was not handed over is refused.
    ///
    /// # Safety
    ///
    /// Whoever else learns of the address must not write to the memory, nor free it before this.
    pub unsafe fn at(phys: PhysAddr, size: usize) -> Option<Self> {
        // SAFETY: The helper takes any address.
        let order = unsafe { bindings::kho_preserved_order(phys) };
        let pages = 1_usize.checked_shl(order.try_into().ok()?)?;
        if size == 0 || size > pages.checked_mul(PAGE_SIZE)? {
            return None;
        }
        // SAFETY: The memory was preserved, so it is memory, and in the direct map.
        let memory = unsafe { bindings::phys_to_virt(phys) };
        // INVARIANT: KHO says that these pages were preserved as one piece; the caller promises the
        // rest.
        Some(Self {
            memory: NonNull::new(memory.cast())?,
            size,
        })
    }

    /// What the last kernel left; it may be anything.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: By the type invariants there are that many bytes, and nobody writes to them.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.size) }
    }

    /// Where it is.
    pub fn phys(&self) -> PhysAddr {
        // SAFETY: By the type invariants the memory is in the direct map.
        unsafe { bindings::virt_to_phys(self.memory.as_ptr().cast()) }
    }

    /// Gives the memory to the page allocator.
    pub fn free(self) {
        // SAFETY: By the type invariants KHO has reserved the memory, and nobody else frees it.
        unsafe { bindings::kho_restore_free(self.memory.as_ptr().cast()) };
    }
}
