// SPDX-License-Identifier: GPL-2.0

//! File handlers as C has them.

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
    fs::File,
    module::ModuleRef,
    sync::aref::ARef, //
};
use luo_core::name::Compatible;

/// A registered file handler.
///
/// # Invariants
///
/// `raw` points to a handler that is valid, and whose operations and name do not change, from before
/// it is registered until after it is unregistered, and for as long as its module is pinned. The
/// required operations are there.
pub(crate) struct RawHandler {
    raw: NonNull<bindings::liveupdate_file_handler>,
}

// SAFETY: The interface allows calls from any thread, several at once.
unsafe impl Send for RawHandler {}

// SAFETY: As above.
unsafe impl Sync for RawHandler {}

/// What a handler made of a preserved file; a number for the next kernel and a pointer for this one.
pub(crate) struct Payload {
    data: u64,
    private: *mut c_void,
}

// SAFETY: The pointer is opaque here, and the interface allows callbacks on any thread.
unsafe impl Send for Payload {}

// SAFETY: As above.
unsafe impl Sync for Payload {}

impl Payload {
    /// What is handed over.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }
}

impl RawHandler {
    /// Takes a handler that is about to be registered.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a required operation is missing, or the name has no end.
    ///
    /// # Safety
    ///
    /// `raw` must be null, or a handler as the type invariants want it.
    pub(super) unsafe fn new(raw: *mut bindings::liveupdate_file_handler) -> Result<Self> {
        let raw = NonNull::new(raw).ok_or(EINVAL)?;
        // SAFETY: The caller promises a valid handler.
        let ops = unsafe { raw.as_ref().ops.as_ref() }.ok_or(EINVAL)?;
        let has_required = ops.can_preserve.is_some()
            && ops.preserve.is_some()
            && ops.unpreserve.is_some()
            && ops.retrieve.is_some()
            && ops.finish.is_some();
        // INVARIANT: They are there; the caller promises the rest.
        has_required.then_some(Self { raw }).ok_or(EINVAL)
    }

    /// Its name.
    pub(crate) fn compatible(&self) -> Result<Compatible> {
        // SAFETY: By the type invariants the handler is valid.
        let compatible = unsafe { &self.raw.as_ref().compatible };
        Compatible::new(compatible).map_err(|_| EINVAL)
    }

    /// Whether this is the handler at `raw`.
    pub(crate) fn is(&self, raw: *const bindings::liveupdate_file_handler) -> bool {
        ptr::eq(self.raw.as_ptr(), raw)
    }

    /// Whether the handler takes files such as this one.
    pub(crate) fn can_preserve(&self, file: &File) -> bool {
        let Some(call) = self.ops().can_preserve else {
            return false;
        };
        // SAFETY: The operation takes the handler, which is valid by the type invariants, and a file.
        unsafe { call(self.raw.as_ptr(), file.as_ptr()) }
    }

    /// Pins the handler's module, so that it can be called also when it is not registered any more.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the module is being unloaded.
    pub(crate) fn pin(&self) -> Result<PinnedHandler> {
        // SAFETY: By the type invariants the owner is null or exists: the handler is in its memory.
        let module = unsafe { ModuleRef::try_get_raw(self.ops().owner) }?;
        Ok(PinnedHandler {
            handler: Self { raw: self.raw },
            _module: module,
        })
    }

    fn ops(&self) -> &bindings::liveupdate_file_ops {
        // SAFETY: By the type invariants both pointers are valid.
        unsafe { &*self.raw.as_ref().ops }
    }
}

/// A handler whose module cannot be unloaded.
pub(crate) struct PinnedHandler {
    handler: RawHandler,
    _module: ModuleRef,
}

impl PinnedHandler {
    /// The handler's name with its NUL, as it crosses the kexec.
    pub(crate) fn compatible(&self) -> &[u8; Compatible::SIZE] {
        // SAFETY: By the type invariants the handler is valid.
        unsafe { &self.handler.raw.as_ref().compatible }
    }

    /// Whether this is the handler at `other`.
    pub(crate) fn is(&self, other: &RawHandler) -> bool {
        other.is(self.handler.raw.as_ptr())
    }

    /// What makes the file the same as another: its address, if the handler knows nothing better.
    pub(crate) fn id(&self, file: &File) -> usize {
        match self.handler.ops().get_id {
            // SAFETY: The operation takes a file.
            Some(call) => unsafe { call(file.as_ptr()) },
            None => file.as_ptr().addr(),
        }
    }

    /// Saves the state of a file.
    pub(crate) fn preserve(&self, file: &File) -> Result<Payload> {
        let mut args = self.args(file.as_ptr(), 0, ptr::null_mut());
        let call = self.handler.ops().preserve.ok_or(EINVAL)?;
        // SAFETY: The operation takes arguments with a handler and a file.
        to_result(unsafe { call(&mut args) })?;
        Ok(Payload {
            data: args.serialized_data,
            private: args.private_data,
        })
    }

    /// Undoes [`Self::preserve`].
    pub(crate) fn unpreserve(&self, file: &File, payload: &Payload) {
        let mut args = self.args(file.as_ptr(), payload.data, payload.private);
        if let Some(call) = self.handler.ops().unpreserve {
            // SAFETY: The operation takes what `preserve` made, with the same file.
            unsafe { call(&mut args) };
        }
    }

    /// Saves what may have changed since [`Self::preserve`].
    pub(crate) fn freeze(&self, file: &File, payload: &mut Payload) -> Result {
        let Some(call) = self.handler.ops().freeze else {
            return Ok(());
        };
        let mut args = self.args(file.as_ptr(), payload.data, payload.private);
        // SAFETY: The operation takes what `preserve` made, with the same file.
        to_result(unsafe { call(&mut args) })?;
        payload.data = args.serialized_data;
        Ok(())
    }

    /// Undoes [`Self::freeze`].
    pub(crate) fn unfreeze(&self, file: &File, payload: &Payload) {
        let mut args = self.args(file.as_ptr(), payload.data, payload.private);
        if let Some(call) = self.handler.ops().unfreeze {
            // SAFETY: The operation takes what `freeze` has left, with the same file.
            unsafe { call(&mut args) };
        }
    }

    /// Makes a file of what [`Self::preserve`] or [`Self::freeze`] handed over in the last kernel.
    pub(crate) fn retrieve(&self, data: u64) -> Result<ARef<File>> {
        let mut args = self.args(ptr::null_mut(), data, ptr::null_mut());
        let call = self.handler.ops().retrieve.ok_or(EINVAL)?;
        // SAFETY: The operation takes what was handed over.
        to_result(unsafe { call(&mut args) })?;
        let file = NonNull::new(args.file.cast::<File>()).ok_or(EINVAL)?;
        // SAFETY:
        // - On success the operation gives its reference to the file away.
        // - The file is new and in no descriptor table, so there is no `fdget_pos` on it.
        Ok(unsafe { ARef::from_raw(file) })
    }

    /// Whether the file can be finished now.
    pub(crate) fn can_finish(&self, file: Option<&File>, data: u64, status: i32) -> bool {
        let Some(call) = self.handler.ops().can_finish else {
            return true;
        };
        let mut args = self.incoming_args(file, data, status);
        // SAFETY: The operation takes what was handed over, and the file if there is one.
        unsafe { call(&mut args) }
    }

    /// Ends the life of what was handed over.
    pub(crate) fn finish(&self, file: Option<&File>, data: u64, status: i32) {
        let mut args = self.incoming_args(file, data, status);
        if let Some(call) = self.handler.ops().finish {
            // SAFETY: The operation takes what was handed over, and the file if there is one.
            unsafe { call(&mut args) };
        }
    }

    fn incoming_args(
        &self,
        file: Option<&File>,
        data: u64,
        status: i32,
    ) -> bindings::liveupdate_file_op_args {
        let file = file.map_or(ptr::null_mut(), |file| file.as_ptr());
        let args = self.args(file, data, ptr::null_mut());
        bindings::liveupdate_file_op_args {
            retrieve_status: status,
            ..args
        }
    }

    fn args(
        &self,
        file: *mut bindings::file,
        data: u64,
        private: *mut c_void,
    ) -> bindings::liveupdate_file_op_args {
        bindings::liveupdate_file_op_args {
            handler: self.handler.raw.as_ptr(),
            retrieve_status: 0,
            file,
            serialized_data: data,
            private_data: private,
        }
    }
}
