// SPDX-License-Identifier: GPL-2.0

//! Objects that live as long as files that depend on them.

use core::{
    marker::PhantomData,
    ptr, //
};

use super::{
    compatible,
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
/// the last one. In the next kernel it is retrieved when somebody asks, and finished after the last
/// of those files.
///
/// # Context
///
/// Callbacks may sleep. They must not ask for objects ([`Flb::outgoing`], [`Flb::incoming`]), nor
/// register or unregister anything: they would wait for themselves.
#[vtable]
pub trait FileLifecycleBound: 'static {
    /// The live object.
    type Object: ForeignOwnable + Send + Sync;

    /// Saves the state, and returns what the next kernel has to know and the live object.
    fn preserve() -> Result<(u64, Self::Object)>;

    /// Undoes [`FileLifecycleBound::preserve`].
    fn unpreserve(data: u64, object: Self::Object);

    /// Restores the live object from what the last kernel handed over. It is tried once.
    fn retrieve(data: u64) -> Result<Self::Object>;

    /// Cleans up: no file from the last kernel depends on the object any more.
    fn finish(object: Self::Object);
}

/// The definition of an object, to be kept in a `static`: it must be there for as long as its module
/// is.
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

// SAFETY: What changes after `new` is changed by LUO under its own locks.
unsafe impl<T: FileLifecycleBound> Sync for Flb<T> {}

impl<T: FileLifecycleBound> Flb<T> {
    /// An object of this name, which the last and the next kernel know it by: 1 to 47 bytes, with a
    /// version at the end by convention.
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

    /// Makes files of a handler depend on the object until the registration is dropped. Until then
    /// the handler stays registered.
    ///
    /// # Errors
    ///
    /// `EEXIST` if they depend on it already or there is another object of this name, `ENOSPC` if
    /// there are too many objects, `ENOMEM`.
    pub fn register<H: FileHandler>(
        &'static self,
        handler: Arc<HandlerRegistration<H>>,
    ) -> Result<FlbRegistration<T, H>> {
        // SAFETY: The definition is static, so it is there for as long as its module, which LUO pins
        // while it needs it; its operations and name do not change. The handler is registered.
        to_result(unsafe { bindings::liveupdate_register_flb(handler.as_ptr(), self.raw.get()) })?;
        // INVARIANT: It was just registered.
        Ok(FlbRegistration { flb: self, handler })
    }

    /// The object that files for the next kernel depend on.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no file depends on it, `EOPNOTSUPP` if live updates are off.
    pub fn outgoing(&'static self) -> Result<OutgoingObject<T>> {
        let mut object = ptr::null_mut();
        // SAFETY: The definition is valid, and `object` can be written to.
        to_result(unsafe { bindings::liveupdate_flb_get_outgoing(self.raw.get(), &mut object) })?;
        // INVARIANT: It was just got.
        Ok(OutgoingObject { flb: self, object })
    }

    /// The object that came from the last kernel. It is retrieved if nobody has asked before.
    ///
    /// # Errors
    ///
    /// `ENODATA` if nothing came or the object is finished, `ENOENT` if this object did not come,
    /// `ENODEV` if the module is being unloaded, `EOPNOTSUPP` if live updates are off, or why it
    /// could not be retrieved.
    pub fn incoming(&'static self) -> Result<IncomingObject<T>> {
        let mut object = ptr::null_mut();
        // SAFETY: The definition is valid, and `object` can be written to.
        to_result(unsafe { bindings::liveupdate_flb_get_incoming(self.raw.get(), &mut object) })?;
        // INVARIANT: It was just got.
        Ok(IncomingObject { flb: self, object })
    }
}

/// An object that files of a handler depend on, until this is dropped.
///
/// # Invariants
///
/// The object is registered with the handler.
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

/// An object for the next kernel, which is not unpreserved while this exists.
///
/// # Invariants
///
/// `object` was made by `T::preserve`, and a reference to it is held.
pub struct OutgoingObject<T: FileLifecycleBound> {
    flb: &'static Flb<T>,
    object: *mut c_void,
}

// SAFETY: The object may be used and given back by any thread: it is `Send` and `Sync`.
unsafe impl<T: FileLifecycleBound> Send for OutgoingObject<T> {}

// SAFETY: As above.
unsafe impl<T: FileLifecycleBound> Sync for OutgoingObject<T> {}

impl<T: FileLifecycleBound> OutgoingObject<T> {
    /// The object.
    pub fn get(&self) -> <T::Object as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: By the type invariants it was made by `into_foreign`, and is not taken back while
        // a reference is held.
        unsafe { T::Object::borrow(self.object) }
    }
}

impl<T: FileLifecycleBound> Drop for OutgoingObject<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this gives back a reference.
        unsafe { bindings::liveupdate_flb_put_outgoing(self.flb.raw.get()) };
    }
}

/// An object from the last kernel, which is not finished while this exists.
///
/// # Invariants
///
/// `object` was made by `T::retrieve`, and a reference to it is held.
pub struct IncomingObject<T: FileLifecycleBound> {
    flb: &'static Flb<T>,
    object: *mut c_void,
}

// SAFETY: The object may be used and given back by any thread: it is `Send` and `Sync`.
unsafe impl<T: FileLifecycleBound> Send for IncomingObject<T> {}

// SAFETY: As above.
unsafe impl<T: FileLifecycleBound> Sync for IncomingObject<T> {}

impl<T: FileLifecycleBound> IncomingObject<T> {
    /// The object.
    pub fn get(&self) -> <T::Object as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: By the type invariants it was made by `into_foreign`, and is not taken back while
        // a reference is held.
        unsafe { T::Object::borrow(self.object) }
    }
}

impl<T: FileLifecycleBound> Drop for IncomingObject<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this gives back a reference.
        unsafe { bindings::liveupdate_flb_put_incoming(self.flb.raw.get()) };
    }
}

/// The operations of an object as C sees them.
struct VTable<T: FileLifecycleBound>(PhantomData<T>);

impl<T: FileLifecycleBound> VTable<T> {
    /// # Safety
    ///
    /// `args` must be valid.
    unsafe extern "C" fn preserve(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        from_result(|| {
            let (data, object) = T::preserve()?;
            // SAFETY: The caller promises that `args` is valid, and nobody else uses it.
            let args = unsafe { &mut *args };
            args.data = data;
            args.obj = object.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` must be valid, and what [`Self::preserve`] has left.
    unsafe extern "C" fn unpreserve(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: The caller promises that `args` is valid.
        let (data, object) = unsafe { ((*args).data, (*args).obj) };
        // SAFETY: `preserve` made the pointer by `into_foreign`, and an object is unpreserved once.
        T::unpreserve(data, unsafe { T::Object::from_foreign(object) });
    }

    /// # Safety
    ///
    /// `args` must be valid.
    unsafe extern "C" fn retrieve(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller promises that `args` is valid.
            let object = T::retrieve(unsafe { (*args).data })?;
            // SAFETY: As above.
            unsafe { (*args).obj = object.into_foreign() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` must be valid, and what [`Self::retrieve`] has left.
    unsafe extern "C" fn finish(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: The caller promises that `args` is valid.
        let object = unsafe { (*args).obj };
        // SAFETY: `retrieve` made the pointer by `into_foreign`, and an object is finished once.
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
