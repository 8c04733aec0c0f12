// SPDX-License-Identifier: GPL-2.0

//! Definitions of file-lifecycle-bound state (FLB) as C has them.

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

/// The definition of an FLB.
///
/// # Invariants
///
/// `raw` is the address of a definition that had all operations when this was made. The definition
/// is valid, and its operations and name do not change, while the FLB is registered, while a
/// subsystem gets or puts it, and while its module is pinned; afterwards the address is only
/// compared.
pub(crate) struct RawFlb {
    raw: NonNull<bindings::liveupdate_flb>,
}

// SAFETY: Operations of FLBs may be called by any thread; this crate calls those of one FLB one at
// a time.
unsafe impl Send for RawFlb {}

// SAFETY: As above.
unsafe impl Sync for RawFlb {}

/// The live object that an operation has made; opaque here.
#[derive(Clone, Copy)]
pub(crate) struct Object(*mut c_void);

// SAFETY: Only the owner of the FLB uses the pointer, whose operations may be called by any thread.
unsafe impl Send for Object {}

// SAFETY: As above.
unsafe impl Sync for Object {}

impl Object {
    /// The pointer, if it is not null.
    pub(crate) fn get(self) -> Option<NonNull<c_void>> {
        NonNull::new(self.0)
    }

    /// The pointer, or null.
    pub(crate) fn as_ptr(self) -> *mut c_void {
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
    pub(crate) unsafe fn new(raw: *mut bindings::liveupdate_flb) -> Result<Self> {
        let raw = NonNull::new(raw).ok_or(EINVAL)?;
        // SAFETY: The caller promises that a definition which is not null is valid, and so are its
        // operations if they are not null.
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
    /// `ENODEV` if the module is being unloaded, or the error of the operation.
    pub(crate) fn preserve(&self) -> Result<PreservedFlb> {
        let module = self.pin()?;
        let mut args = self.args(0, Object(ptr::null_mut()));
        let call = self.ops().preserve.ok_or(EINVAL)?;
        // SAFETY: The module is pinned. The arguments live for the call, and have this definition.
        to_result(unsafe { call(&mut args) })?;
        let flb = Self { raw: self.raw };
        Ok(PreservedFlb {
            flb,
            data: args.data,
            object: Object(args.obj),
            _module: module,
        })
    }

    /// Makes the live object of the number that [`Self::preserve`] handed over in the previous
    /// kernel.
    ///
    /// # Errors
    ///
    /// The error of the operation.
    pub(crate) fn retrieve(&self, data: u64, module: ModuleRef) -> Result<RetrievedFlb> {
        let mut args = self.args(data, Object(ptr::null_mut()));
        let call = self.ops().retrieve.ok_or(EINVAL)?;
        // SAFETY: The module is pinned by `module`. The arguments live for the call; the number was
        // handed over to the FLB of this name, which must not trust it.
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
        // SAFETY: An FLB is pinned when it is preserved or retrieved: it is registered then, or a
        // subsystem gets it, so by the type invariants the definition is valid. It is in the memory
        // of its owner, so the owner exists too, or is null for built-in code.
        unsafe { ModuleRef::try_get_raw(self.ops().owner) }
    }

    fn ops(&self) -> &bindings::liveupdate_flb_ops {
        // SAFETY: Operations are looked up before the module is pinned, when by the type invariants
        // the definition is valid, and while it is pinned.
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

/// An FLB whose state is saved for the next kernel; its module cannot be unloaded.
pub(crate) struct PreservedFlb {
    flb: RawFlb,
    data: u64,
    object: Object,
    _module: ModuleRef,
}

impl PreservedFlb {
    /// The number for the next kernel.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }

    /// The live object.
    pub(crate) fn object(&self) -> Object {
        self.object
    }
}

/// The last user has gone: the state is not handed over.
impl Drop for PreservedFlb {
    fn drop(&mut self) {
        let mut args = self.flb.args(self.data, self.object);
        if let Some(call) = self.flb.ops().unpreserve {
            // SAFETY: The module is pinned. The arguments live for the call, and have the number
            // and the object that `preserve` has made, which are not used afterwards.
            unsafe { call(&mut args) };
        }
    }
}

/// An FLB of the previous kernel with its live object; its module cannot be unloaded.
pub(crate) struct RetrievedFlb {
    flb: RawFlb,
    object: Object,
    _module: ModuleRef,
}

impl RetrievedFlb {
    /// Whether this definition has made the object: another one would take it for something else.
    pub(crate) fn is_of(&self, raw: &RawFlb) -> bool {
        self.flb.raw == raw.raw
    }

    /// The live object.
    pub(crate) fn object(&self) -> Object {
        self.object
    }

    /// Ends the life of the object: no file depends on the FLB any more.
    pub(crate) fn finish(self) {
        let mut args = self.flb.args(0, self.object);
        if let Some(call) = self.flb.ops().finish {
            // SAFETY: The module is pinned. The arguments live for the call, and have the object
            // that `retrieve` has made, which is not used afterwards.
            unsafe { call(&mut args) };
        }
    }
}
