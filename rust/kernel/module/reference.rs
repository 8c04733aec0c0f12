// SPDX-License-Identifier: GPL-2.0

//! References that keep a module loaded.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use super::ThisModule;
use crate::{
    bindings,
    prelude::*, //
};

/// A reference to a module, which cannot be unloaded while there is one.
///
/// Code that is always built in has no module; a reference to that is none and costs nothing.
///
/// # Invariants
///
/// `module` is null, or a reference to it is held.
///
/// # Examples
///
/// ```
/// use kernel::module::{ModuleRef, ThisModule};
///
/// // SAFETY: Null stands for code that is built in.
/// let built_in = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
/// assert!(ModuleRef::try_get(&built_in).is_ok());
/// # Ok::<(), Error>(())
/// ```
pub struct ModuleRef {
    module: *mut bindings::module,
}

// SAFETY: References to a module are counted atomically, and are not bound to a thread.
unsafe impl Send for ModuleRef {}

// SAFETY: There are no methods on a shared reference.
unsafe impl Sync for ModuleRef {}

impl ModuleRef {
    /// Takes a reference to a module.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the module is being unloaded.
    pub fn try_get(module: &ThisModule) -> Result<Self> {
        // SAFETY: A `ThisModule` is null or the right module, which exists while it is borrowed.
        unsafe { Self::try_get_raw(module.as_ptr()) }
    }

    /// Takes a reference to the module that an operations table of C names as its owner.
    ///
    /// # Safety
    ///
    /// `module` must be null, or a module that exists for the duration of this call.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the module is being unloaded.
    pub unsafe fn try_get_raw(module: *mut bindings::module) -> Result<Self> {
        // SAFETY: The caller promises that the module is null or exists.
        if unsafe { bindings::try_module_get(module) } {
            // INVARIANT: The reference was just taken.
            Ok(Self { module })
        } else {
            Err(ENODEV)
        }
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the module is null, or this gives back a reference to it.
        unsafe { bindings::module_put(self.module) };
    }
}
