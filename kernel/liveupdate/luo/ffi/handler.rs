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
/// `raw` points to a handler that is valid, and whose operations and name do not change, while this
/// exists: it does from registration until deregistration, and longer only in a [`PinnedHandler`],
/// whose module cannot go. The required operations are there.
pub(crate) struct RawHandler {
    raw: NonNull<bindings::liveupdate_file_handler>,
}

// SAFETY: Operations of handlers may be called by any thread, and by several at once: each call has
// arguments of its own, and C's orchestrator calls them so too.
unsafe impl Send for RawHandler {}

// SAFETY: As above.
unsafe impl Sync for RawHandler {}

/// The result of a handler that has preserved a file: a number for the next kernel, and a pointer
/// of the handler for this one.
pub(crate) struct Payload {
    data: u64,
    private: *mut c_void,
}

// SAFETY: Only the handler uses the pointer, whose operations may be called by any thread.
unsafe impl Send for Payload {}

// SAFETY: As above.
unsafe impl Sync for Payload {}

impl Payload {
    /// The number for the next kernel.
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
    pub(crate) unsafe fn new(raw: *mut bindings::liveupdate_file_handler) -> Result<Self> {
        let raw = NonNull::new(raw).ok_or(EINVAL)?;
        // SAFETY: The caller promises that a handler which is not null is valid, and so are its
        // operations if they are not null.
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
        // SAFETY: By the type invariants the handler is valid and its module cannot go during the
        // call; the file is borrowed for it.
        unsafe { call(self.raw.as_ptr(), file.as_ptr()) }
    }

    /// Pins the handler's module, so that it can be called also when it is not registered any more.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the module is being unloaded.
    pub(crate) fn pin(&self) -> Result<PinnedHandler> {
        // SAFETY: By the type invariants the handler is valid. It is in the memory of its owner, so
        // the owner exists too, or is null for built-in code.
        let module = unsafe { ModuleRef::try_get_raw(self.ops().owner) }?;
        Ok(PinnedHandler {
            handler: Self { raw: self.raw },
            _module: module,
        })
    }

    fn ops(&self) -> &bindings::liveupdate_file_ops {
        // SAFETY: By the type invariants the handler and its operations are valid and do not change
        // while `self` exists.
        unsafe { &*self.raw.as_ref().ops }
    }
}

/// A handler whose module cannot be unloaded, so that its operations can be called.
pub(crate) struct PinnedHandler {
    handler: RawHandler,
    _module: ModuleRef,
}

impl PinnedHandler {
    /// The handler's name with its NUL, as it crosses the kexec.
    pub(crate) fn compatible(&self) -> &[u8; Compatible::SIZE] {
        // SAFETY: The handler is valid by the invariants of `RawHandler`, and its name does not
        // change while `self`, and so the module, is borrowed.
        unsafe { &self.handler.raw.as_ref().compatible }
    }

    /// Whether this is the handler at `other`.
    pub(crate) fn is(&self, other: &RawHandler) -> bool {
        other.is(self.handler.raw.as_ptr())
    }

    /// A number that two files have in common if they are the same: the address, unless the handler
    /// has an operation for it.
    pub(crate) fn id(&self, file: &File) -> usize {
        match self.handler.ops().get_id {
            // SAFETY: The module is pinned, and the file is borrowed for the call. Only files that
            // this handler has taken or restored come here.
            Some(call) => unsafe { call(file.as_ptr()) },
            None => file.as_ptr().addr(),
        }
    }

    /// Saves the state of a file.
    pub(crate) fn preserve(&self, file: &File) -> Result<Payload> {
        let mut args = self.args(file.as_ptr(), 0, ptr::null_mut());
        let call = self.handler.ops().preserve.ok_or(EINVAL)?;
        // SAFETY: The module is pinned. The arguments live for the call, have this handler, and a
        // file that it has taken and that is borrowed for the call.
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
            // SAFETY: As for `preserve`; the payload is what `preserve` or `freeze` of this handler
            // made of this file, and is not used afterwards: its owner is dropped.
            unsafe { call(&mut args) };
        }
    }

    /// Saves what may have changed since [`Self::preserve`].
    pub(crate) fn freeze(&self, file: &File, payload: &mut Payload) -> Result {
        let Some(call) = self.handler.ops().freeze else {
            return Ok(());
        };
        let mut args = self.args(file.as_ptr(), payload.data, payload.private);
        // SAFETY: As for `preserve`; the payload is what `preserve` or an earlier `freeze` of this
        // handler made of this file.
        to_result(unsafe { call(&mut args) })?;
        payload.data = args.serialized_data;
        Ok(())
    }

    /// Undoes [`Self::freeze`].
    pub(crate) fn unfreeze(&self, file: &File, payload: &Payload) {
        let mut args = self.args(file.as_ptr(), payload.data, payload.private);
        if let Some(call) = self.handler.ops().unfreeze {
            // SAFETY: As for `preserve`; the payload is what `freeze` of this handler has left of
            // this file.
            unsafe { call(&mut args) };
        }
    }

    /// Makes a file of the number that [`Self::preserve`] or [`Self::freeze`] handed over in the
    /// previous kernel.
    pub(crate) fn retrieve(&self, data: u64) -> Result<ARef<File>> {
        let mut args = self.args(ptr::null_mut(), data, ptr::null_mut());
        let call = self.handler.ops().retrieve.ok_or(EINVAL)?;
        // SAFETY: The module is pinned. The arguments live for the call; the number was handed over
        // to the handler of this name, which must not trust it.
        to_result(unsafe { call(&mut args) })?;
        let file = NonNull::new(args.file.cast::<File>()).ok_or(EINVAL)?;
        // SAFETY:
        // - On success the operation passes its reference to the file to the caller.
        // - An ioctl on the file of a session runs here, so this thread has no `fdget_pos` on
        //   another.
        Ok(unsafe { ARef::from_raw(file) })
    }

    /// Whether the file can be finished now.
    pub(crate) fn can_finish(&self, file: Option<&File>, data: u64, status: i32) -> bool {
        let Some(call) = self.handler.ops().can_finish else {
            return true;
        };
        let mut args = self.incoming_args(file, data, status);
        // SAFETY: As for `retrieve`; the file, if there is one, is the one that this handler has
        // restored, and is borrowed for the call.
        unsafe { call(&mut args) }
    }

    /// Ends the life of the data that was handed over.
    pub(crate) fn finish(&self, file: Option<&File>, data: u64, status: i32) {
        let mut args = self.incoming_args(file, data, status);
        if let Some(call) = self.handler.ops().finish {
            // SAFETY: As for `can_finish`.
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
