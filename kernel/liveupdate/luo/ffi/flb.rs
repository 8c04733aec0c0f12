// SPDX-License-Identifier: GPL-2.0

//! File-lifecycle-bound objects as C has them.

use core::{
    ffi::c_void,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    bindings,
    error::{
        code::*,
        to_result,
        Result, //
    },
    module::ModuleRef, //
};
use luo_core::name::Compatible;

/// The definition of a file-lifecycle-bound object.
///
/// # Invariants
///
/// `raw` points to a definition that is valid, and whose operations and name do not change, while
/// this exists or its module is pinned. All operations are there.
pub(crate) struct RawFlb {
    raw: NonNull<bindings::liveupdate_flb>,
}

// SAFETY: The interface allows calls from any thread.
unsafe impl Send for RawFlb {}

// SAFETY: As above.
unsafe impl Sync for RawFlb {}

/// The live object that an operation made; opaque here.
#[derive(Clone, Copy)]
pub(crate) struct Object(*mut c_void);

// SAFETY: The pointer is opaque here, and the interface allows callbacks on any thread.
unsafe impl Send for Object {}

// SAFETY: As above.
unsafe impl Sync for Object {}

impl Object {
    /// The pointer, if the operation made one.
    pub(crate) fn get(self) -> Option<NonNull<c_void>> {
        NonNull::new(self.0)
    }

    /// The pointer, or null.
    pub(super) fn as_ptr(self) -> *mut c_void {
        self.0
    }
}

impl RawFlb {
    /// Takes a definition.
    ///
    /// # Errors
    ///
    /// `EINVAL` if an operation is missing.
    ///
    /// # Safety
    ///
    /// `raw` must be null, or a definition as the type invariants want it.
    pub(super) unsafe fn new(raw: *mut bindings::liveupdate_flb) -> Result<Self> {
        let raw = NonNull::new(raw).ok_or(EINVAL)?;
        // SAFETY: The caller promises a valid definition.
        let ops = unsafe { raw.as_ref().ops.as_ref() }.ok_or(EINVAL)?;
        let has_all = ops.preserve.is_some()
            && ops.unpreserve.is_some()
            && ops.retrieve.is_some()
            && ops.finish.is_some();
        // INVARIANT: They are there; the caller promises the rest.
        has_all.then_some(Self { raw }).ok_or(EINVAL)
    }

    /// Its name.
    pub(crate) fn compatible(&self) -> Result<Compatible> {
        // SAFETY: By the type invariants the definition is valid.
        let compatible = unsafe { &self.raw.as_ref().compatible };
        Compatible::new(compatible).map_err(|_| EINVAL)
    }

    /// Whether this is the definition at `raw`.
    pub(crate) fn is(&self, raw: *const bindings::liveupdate_flb) -> bool {
        ptr::eq(self.raw.as_ptr(), raw)
    }

    /// Saves the global state.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the module is being unloaded, or what the operation says.
    pub(crate) fn preserve(&self) -> Result<PreservedFlb> {
        let module = self.pin()?;
        let mut args = self.args(0, Object(ptr::null_mut()));
        let call = self.ops().preserve.ok_or(EINVAL)?;
        // SAFETY: The operation takes arguments with the definition.
        to_result(unsafe { call(&mut args) })?;
        let flb = Self { raw: self.raw };
        Ok(PreservedFlb {
            flb,
            data: args.data,
            object: Object(args.obj),
            _module: module,
        })
    }

    /// Makes the live object of what [`Self::preserve`] handed over in the last kernel.
    ///
    /// # Errors
    ///
    /// What the operation says.
    pub(crate) fn retrieve(&self, data: u64, module: ModuleRef) -> Result<RetrievedFlb> {
        let mut args = self.args(data, Object(ptr::null_mut()));
        let call = self.ops().retrieve.ok_or(EINVAL)?;
        // SAFETY: The operation takes what was handed over.
        to_result(unsafe { call(&mut args) })?;
        let flb = Self { raw: self.raw };
        Ok(RetrievedFlb {
            flb,
            object: Object(args.obj),
            _module: module,
        })
    }

    /// Pins the module of the definition.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the module is being unloaded.
    pub(crate) fn pin(&self) -> Result<ModuleRef> {
        // SAFETY: By the type invariants the owner is null or exists: the definition is in its
        // memory.
        unsafe { ModuleRef::try_get_raw(self.ops().owner) }
    }

    fn ops(&self) -> &bindings::liveupdate_flb_ops {
        // SAFETY: By the type invariants both pointers are valid.
        unsafe { &*self.raw.as_ref().ops }
    }

    fn args(&self, data: u64, object: Object) -> bindings::liveupdate_flb_op_args {
        bindings::liveupdate_flb_op_args {
            flb: self.raw.as_ptr(),
            data,
            obj: object.0,
        }
    }
}

/// An object whose state is saved for the next kernel; its module cannot be unloaded.
pub(crate) struct PreservedFlb {
    flb: RawFlb,
    data: u64,
    object: Object,
    _module: ModuleRef,
}

impl PreservedFlb {
    /// What is handed over.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }

    /// The live object.
    pub(crate) fn object(&self) -> Object {
        self.object
    }
}

/// Nothing depends on the object any more.
impl Drop for PreservedFlb {
    fn drop(&mut self) {
        let mut args = self.flb.args(self.data, self.object);
        if let Some(call) = self.flb.ops().unpreserve {
            // SAFETY: The operation takes what `preserve` made.
            unsafe { call(&mut args) };
        }
    }
}

/// An object that came from the last kernel; its module cannot be unloaded.
pub(crate) struct RetrievedFlb {
    flb: RawFlb,
    object: Object,
    _module: ModuleRef,
}

impl RetrievedFlb {
    /// Whether this definition has made it: another one would take it for something else.
    pub(crate) fn is_of(&self, raw: &RawFlb) -> bool {
        self.flb.raw == raw.raw
    }

    /// The live object.
    pub(crate) fn object(&self) -> Object {
        self.object
    }

    /// Nothing depends on the object any more.
    pub(crate) fn finish(self) {
        let mut args = self.flb.args(0, self.object);
        if let Some(call) = self.flb.ops().finish {
            // SAFETY: The operation takes what `retrieve` made.
            unsafe { call(&mut args) };
        }
    }
}
