// SPDX-License-Identifier: GPL-2.0

//! File-lifecycle-bound state (FLB): global state that lives as long as files depend on it.

use core::{
    marker::PhantomData,
    ptr, //
};

use super::{
    compatible,
    Data,
    FileHandler,
    HandlerRegistration, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    module::this_module,
    prelude::*,
    sync::Arc,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// Global state that several files have in common.
///
/// It is preserved for the first file that depends on it, over all sessions, and unpreserved after
/// the last one. In the next kernel it is retrieved on demand, and finished after the last of those
/// files.
///
/// # Context
///
/// Callbacks may sleep. They must not use FLBs ([`Flb::outgoing`], [`Flb::incoming`]), nor register
/// or unregister anything: they would wait for themselves.
///
/// # Guarantees
///
/// No callback of an FLB that a file causes runs while files are frozen, nor after the handover is
/// written. With `CONFIG_LIVEUPDATE_RUST`, the same holds for callbacks that subsystems cause by
/// [`Flb::incoming`] and by dropping references. So the state is complete when the files that
/// depend on it are frozen.
#[vtable]
pub trait FileLifecycleBound: 'static {
    /// The data for the next kernel.
    type Data: Data;

    /// The live object.
    type Object: ForeignOwnable + Send + Sync;

    /// Saves the state, and returns the data for the next kernel and the live object.
    fn preserve() -> Result<(Self::Data, Self::Object)>;

    /// Undoes [`FileLifecycleBound::preserve`].
    fn unpreserve(data: Self::Data, object: Self::Object);

    /// Restores the live object from the data of the previous kernel. It is tried once.
    fn retrieve(data: <Self::Data as Data>::Incoming) -> Result<Self::Object>;

    /// Cleans up: no file from the previous kernel depends on the state any more.
    fn finish(object: Self::Object);
}

/// The definition of an FLB, to be kept in a `static`: it must exist for as long as its module
/// does.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::{self, FileLifecycleBound, Flb};
///
/// struct Generation;
///
/// #[vtable]
/// impl FileLifecycleBound for Generation {
///     type Data = u64;
///     type Object = KBox<u64>;
///
///     fn preserve() -> Result<(u64, KBox<u64>)> {
///         Ok((1, KBox::new(1, GFP_KERNEL)?))
///     }
///
///     fn unpreserve(_data: u64, _object: KBox<u64>) {}
///
///     fn retrieve(data: u64) -> Result<KBox<u64>> {
///         Ok(KBox::new(data, GFP_KERNEL)?)
///     }
///
///     fn finish(_object: KBox<u64>) {}
/// }
///
/// static GENERATION: Flb<Generation> = Flb::new(c"example-generation-v1");
///
/// // No file depends on it.
/// assert!(GENERATION.outgoing().is_err());
/// assert!(GENERATION.incoming().is_err());
/// # Ok::<(), Error>(())
/// ```
pub struct Flb<T: FileLifecycleBound> {
    raw: Opaque<bindings::liveupdate_flb>,
    kind: PhantomData<fn(T)>,
}

// SAFETY: Only LUO changes it after `new`, under its own locks.
unsafe impl<T: FileLifecycleBound> Sync for Flb<T> {}

impl<T: FileLifecycleBound> Flb<T> {
    /// An FLB of this name, by which the previous and the next kernel know it: 1 to 47 bytes, with
    /// a version at the end by convention.
    pub const fn new(name: &CStr) -> Self {
        let raw = bindings::liveupdate_flb {
            ops: &VTable::<T>::OPS,
            compatible: compatible(name),
            ..pin_init::zeroed()
        };
        Self {
            raw: Opaque::new(raw),
            kind: PhantomData,
        }
    }

    /// Makes files of a handler depend on the FLB until the registration is dropped. Until then the
    /// handler stays registered.
    ///
    /// # Errors
    ///
    /// `EEXIST` if they depend on it already or there is another FLB of this name, `ENOSPC` if
    /// there are too many FLBs, `ENOMEM`.
    pub fn register<H: FileHandler>(
        &'static self,
        handler: Arc<HandlerRegistration<H>>,
    ) -> Result<FlbRegistration<T, H>> {
        // SAFETY: The definition is static, so it exists for as long as its module, which LUO pins
        // while it needs it; its operations and name do not change. The handler is registered.
        to_result(unsafe { bindings::liveupdate_register_flb(handler.as_ptr(), self.raw.get()) })?;
        // INVARIANT: It was just registered.
        Ok(FlbRegistration { flb: self, handler })
    }

    /// The live object that files for the next kernel depend on.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no file depends on it, `EOPNOTSUPP` if live updates are off.
    pub fn outgoing(&'static self) -> Result<OutgoingFlb<T>> {
        let mut object = ptr::null_mut();
        // SAFETY: The definition is valid, and `object` can be written to.
        to_result(unsafe { bindings::liveupdate_flb_get_outgoing(self.raw.get(), &mut object) })?;
        // INVARIANT: It was just got.
        Ok(OutgoingFlb { flb: self, object })
    }

    /// The live object from the previous kernel. The first call retrieves it.
    ///
    /// # Errors
    ///
    /// `ENODATA` if no FLB was handed over or this one is finished, `ENOENT` if this one was not
    /// handed over, `EIO` if the handover is damaged (so this is no cold boot), `EBUSY` if it would
    /// have to be retrieved while `reboot(2)` freezes files, `ENODEV` if the module is being
    /// unloaded, `EOPNOTSUPP` if live updates are off, or the error of the retrieval.
    pub fn incoming(&'static self) -> Result<IncomingFlb<T>> {
        let mut object = ptr::null_mut();
        // SAFETY: The definition is valid, and `object` can be written to.
        to_result(unsafe { bindings::liveupdate_flb_get_incoming(self.raw.get(), &mut object) })?;
        // INVARIANT: It was just got.
        Ok(IncomingFlb { flb: self, object })
    }
}

/// An FLB that files of a handler depend on, until this is dropped.
///
/// # Invariants
///
/// The FLB is registered with the handler.
pub struct FlbRegistration<T: FileLifecycleBound, H: FileHandler> {
    flb: &'static Flb<T>,
    handler: Arc<HandlerRegistration<H>>,
}

impl<T: FileLifecycleBound, H: FileHandler> Drop for FlbRegistration<T, H> {
    fn drop(&mut self) {
        // SAFETY: Both are static, and by the type invariants registered.
        unsafe {
            bindings::liveupdate_unregister_flb(self.handler.as_ptr(), self.flb.raw.get());
        }
    }
}

/// A reference to an FLB for the next kernel, which is not unpreserved while this exists.
///
/// # Invariants
///
/// `object` was made by `T::preserve`, and a reference to it is held.
pub struct OutgoingFlb<T: FileLifecycleBound> {
    flb: &'static Flb<T>,
    object: *mut c_void,
}

// SAFETY: The object may be used and given back by any thread: it is `Send` and `Sync`.
unsafe impl<T: FileLifecycleBound> Send for OutgoingFlb<T> {}

// SAFETY: As above.
unsafe impl<T: FileLifecycleBound> Sync for OutgoingFlb<T> {}

impl<T: FileLifecycleBound> OutgoingFlb<T> {
    /// The live object.
    pub fn get(&self) -> <T::Object as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: By the type invariants it was made by `into_foreign`, and is not taken back while
        // a reference is held.
        unsafe { T::Object::borrow(self.object) }
    }
}

impl<T: FileLifecycleBound> Drop for OutgoingFlb<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this gives back a reference.
        unsafe { bindings::liveupdate_flb_put_outgoing(self.flb.raw.get()) };
    }
}

/// A reference to an FLB from the previous kernel, which is not finished while this exists.
///
/// # Invariants
///
/// `object` was made by `T::retrieve`, and a reference to it is held.
pub struct IncomingFlb<T: FileLifecycleBound> {
    flb: &'static Flb<T>,
    object: *mut c_void,
}

// SAFETY: The object may be used and given back by any thread: it is `Send` and `Sync`.
unsafe impl<T: FileLifecycleBound> Send for IncomingFlb<T> {}

// SAFETY: As above.
unsafe impl<T: FileLifecycleBound> Sync for IncomingFlb<T> {}

impl<T: FileLifecycleBound> IncomingFlb<T> {
    /// The live object.
    pub fn get(&self) -> <T::Object as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: By the type invariants it was made by `into_foreign`, and is not taken back while
        // a reference is held.
        unsafe { T::Object::borrow(self.object) }
    }
}

impl<T: FileLifecycleBound> Drop for IncomingFlb<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this gives back a reference.
        unsafe { bindings::liveupdate_flb_put_incoming(self.flb.raw.get()) };
    }
}

/// The operations of an FLB as C sees them.
struct VTable<T: FileLifecycleBound>(PhantomData<T>);

impl<T: FileLifecycleBound> VTable<T> {
    /// # Safety
    ///
    /// `args` must be valid.
    unsafe extern "C" fn preserve(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        from_result(|| {
            let (data, object) = T::preserve()?;
            // SAFETY: The caller promises that `args` is valid, and only this callback uses it.
            let args = unsafe { &mut *args };
            args.data = data.to_raw();
            args.obj = object.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` must be valid, with the data and object that [`Self::preserve`] has left.
    unsafe extern "C" fn unpreserve(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: The caller promises that `args` is valid.
        let (data, object) = unsafe { ((*args).data, (*args).obj) };
        // SAFETY: `preserve` made the pointer by `into_foreign`, and an FLB is unpreserved once.
        T::unpreserve(Data::from_raw(data), unsafe {
            T::Object::from_foreign(object)
        });
    }

    /// # Safety
    ///
    /// `args` must be valid.
    unsafe extern "C" fn retrieve(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller promises that `args` is valid.
            let data = T::Data::from_raw(unsafe { (*args).data });
            // SAFETY: The previous kernel handed the data over to the FLB of this name, which is
            // `T`, and LUO retrieves an FLB once.
            let object = T::retrieve(unsafe { data.take() }?)?;
            // SAFETY: The caller promises that `args` is valid.
            unsafe { (*args).obj = object.into_foreign() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` must be valid, with the object that [`Self::retrieve`] has left.
    unsafe extern "C" fn finish(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: The caller promises that `args` is valid.
        let object = unsafe { (*args).obj };
        // SAFETY: `retrieve` made the pointer by `into_foreign`, and an FLB is finished once.
        T::finish(unsafe { T::Object::from_foreign(object) });
    }

    const OPS: bindings::liveupdate_flb_ops = bindings::liveupdate_flb_ops {
        preserve: Some(Self::preserve),
        unpreserve: Some(Self::unpreserve),
        retrieve: Some(Self::retrieve),
        finish: Some(Self::finish),
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };
}
