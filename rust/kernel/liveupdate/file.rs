// SPDX-License-Identifier: GPL-2.0

//! Handlers of files.

use core::marker::PhantomData;

use super::compatible;
use crate::{
    bindings,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::{
        c_int,
        c_ulong, //
    },
    fs::File,
    module::this_module,
    prelude::*,
    sync::aref::ARef,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// Someone who knows how to preserve files of some kind.
///
/// Files of one session are preserved and frozen in the order in which userspace preserves them, and
/// unfrozen, unpreserved and finished in the reverse one. Callbacks for different files may run at
/// the same time.
///
/// What files of a handler depend on ([`Flb`](super::Flb)) belongs to its name: if they come to
/// depend on another object, the next version needs another name. The next kernel counts files by
/// what their handler says there.
///
/// # Context
///
/// All callbacks may sleep. None may register or unregister a handler or an object. Callbacks may
/// ask for objects ([`Flb::outgoing`](super::Flb::outgoing), [`Flb::incoming`](super::Flb::incoming)),
/// but for [`FileHandler::can_preserve`] and [`FileHandler::id`], which may not.
#[vtable]
pub trait FileHandler: 'static {
    /// What [`FileHandler::preserve`] needs to remember in this kernel.
    type Private: ForeignOwnable + Send + Sync;

    /// Whether this handler knows files such as this one. It must not sleep for long.
    fn can_preserve(file: &File) -> bool;

    /// Saves the state of a file, and returns what the next kernel and what this one has to know.
    ///
    /// The file is in use, and userspace can go on using it.
    fn preserve(file: &File) -> Result<(u64, Self::Private)>;

    /// Undoes [`FileHandler::preserve`]: the file does not go to the next kernel after all.
    fn unpreserve(file: &File, data: u64, private: Self::Private);

    /// Saves what may have changed since [`FileHandler::preserve`], and returns what the next kernel
    /// has to know.
    ///
    /// Somebody has called `reboot(2)`, and everybody waits for the next kernel. Other threads may
    /// still use the file: it must take its own locks, and see to it that nothing changes from now
    /// on.
    fn freeze(
        _file: &File,
        _data: u64,
        _private: <Self::Private as ForeignOwnable>::Borrowed<'_>,
    ) -> Result<u64> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Undoes [`FileHandler::freeze`]: the kernel stays after all.
    fn unfreeze(
        _file: &File,
        _data: u64,
        _private: <Self::Private as ForeignOwnable>::Borrowed<'_>,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Restores a file from what the last kernel handed over. It is tried once.
    fn retrieve(data: u64) -> Result<ARef<File>>;

    /// Whether everything that the file needs is there, so that it can be finished.
    fn can_finish(_data: u64, _outcome: Outcome<'_>) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Cleans up: what the last kernel handed over is not needed any more.
    fn finish(data: u64, outcome: Outcome<'_>);

    /// What makes two files the same; the address of the `struct file` if this is not implemented.
    fn id(_file: &File) -> usize {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What became of [`FileHandler::retrieve`].
#[derive(Clone, Copy)]
pub enum Outcome<'a> {
    /// Nobody has asked for the file.
    NotTried,
    /// It was restored.
    Retrieved(&'a File),
    /// It could not be restored.
    Failed(Error),
}

/// A handler, to be kept in a `static`: it must be there for as long as its module is.
///
/// # Examples
///
/// ```
/// use kernel::{fs::File, liveupdate::{self, FileHandler, Handler, Outcome}, sync::aref::ARef};
///
/// struct Nothing;
///
/// #[vtable]
/// impl FileHandler for Nothing {
///     type Private = ();
///
///     fn can_preserve(_file: &File) -> bool {
///         false
///     }
///
///     fn preserve(_file: &File) -> Result<(u64, ())> {
///         Err(ENOTSUPP)
///     }
///
///     fn unpreserve(_file: &File, _data: u64, _private: ()) {}
///
///     fn retrieve(_data: u64) -> Result<ARef<File>> {
///         Err(EINVAL)
///     }
///
///     fn finish(_data: u64, _outcome: Outcome<'_>) {}
/// }
///
/// static NOTHING: Handler<Nothing> = Handler::new(c"example-nothing-v1");
///
/// match NOTHING.register() {
///     Ok(_registration) => {
///         assert!(liveupdate::is_enabled());
///         assert_eq!(NOTHING.register().err(), Some(EEXIST));
///     }
///     Err(error) => assert_eq!(error, EOPNOTSUPP),
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct Handler<T: FileHandler> {
    raw: Opaque<bindings::liveupdate_file_handler>,
    kind: PhantomData<fn(T)>,
}

// SAFETY: What changes after `new` is changed by LUO under its own locks.
unsafe impl<T: FileHandler> Sync for Handler<T> {}

impl<T: FileHandler> Handler<T> {
    /// A handler of this name, which the last and the next kernel know it by: 1 to 47 bytes, with a
    /// version at the end by convention.
    pub const fn new(name: &CStr) -> Self {
        let raw = bindings::liveupdate_file_handler {
            ops: &VTable::<T>::OPS,
            compatible: compatible(name),
            ..pin_init::zeroed()
        };
        Self {
            raw: Opaque::new(raw),
            kind: PhantomData,
        }
    }

    /// Registers the handler until the registration is dropped.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if live updates are off, `EEXIST` if there is a handler of this name.
    pub fn register(&'static self) -> Result<HandlerRegistration<T>> {
        // SAFETY: The handler is static, so it is there for as long as its module, which LUO pins
        // while it needs it; its operations and name do not change.
        to_result(unsafe { bindings::liveupdate_register_file_handler(self.raw.get()) })?;
        // INVARIANT: It was just registered.
        Ok(HandlerRegistration { handler: self })
    }
}

/// A registered handler.
///
/// # Invariants
///
/// The handler is registered.
pub struct HandlerRegistration<T: FileHandler> {
    handler: &'static Handler<T>,
}

impl<T: FileHandler> HandlerRegistration<T> {
    pub(super) fn as_ptr(&self) -> *mut bindings::liveupdate_file_handler {
        self.handler.raw.get()
    }
}

impl<T: FileHandler> Drop for HandlerRegistration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is registered.
        unsafe { bindings::liveupdate_unregister_file_handler(self.handler.raw.get()) };
    }
}

/// The operations of a handler as C sees them.
struct VTable<T: FileHandler>(PhantomData<T>);

/// # Safety
///
/// `args` must be valid, and its file too.
unsafe fn file<'a>(args: *mut bindings::liveupdate_file_op_args) -> &'a File {
    // SAFETY: The caller promises that `args` is valid.
    let file = unsafe { (*args).file };
    // SAFETY:
    // - The caller promises that the file is valid for as long as the callback runs.
    // - LUO is called by an ioctl, by `reboot(2)`, or when the last reference to the file of a
    //   session goes away, none of which holds an `fdget_pos` on this file.
    unsafe { File::from_raw_file(file) }
}

/// # Safety
///
/// `args` must be valid, and its file must be valid if the file was retrieved.
unsafe fn outcome<'a>(args: *mut bindings::liveupdate_file_op_args) -> Outcome<'a> {
    // SAFETY: The caller promises that `args` is valid.
    match unsafe { (*args).retrieve_status } {
        0 => Outcome::NotTried,
        errno if errno < 0 => Outcome::Failed(Error::from_errno(errno)),
        // SAFETY: The caller promises that `args` and the file are valid.
        _ => Outcome::Retrieved(unsafe { file(args) }),
    }
}

impl<T: FileHandler> VTable<T> {
    /// # Safety
    ///
    /// `file` must be valid.
    unsafe extern "C" fn can_preserve(
        _handler: *mut bindings::liveupdate_file_handler,
        file: *mut bindings::file,
    ) -> bool {
        // SAFETY:
        // - The caller promises that the file is valid for the duration of this call.
        // - An ioctl on another file asks, so there is no `fdget_pos` on this one.
        T::can_preserve(unsafe { File::from_raw_file(file) })
    }

    /// # Safety
    ///
    /// `args` and its file must be valid.
    unsafe extern "C" fn preserve(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller promises that `args` and its file are valid.
            let (data, private) = T::preserve(unsafe { file(args) })?;
            // SAFETY: The caller promises that `args` is valid, and nobody else uses it.
            let args = unsafe { &mut *args };
            args.serialized_data = data;
            args.private_data = private.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` and its file must be valid, and what [`Self::preserve`] has left.
    unsafe extern "C" fn unpreserve(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: The caller promises that `args` is valid.
        let (data, private) = unsafe { ((*args).serialized_data, (*args).private_data) };
        // SAFETY: `preserve` made the pointer by `into_foreign`, and a file is unpreserved once.
        let private = unsafe { T::Private::from_foreign(private) };
        // SAFETY: The caller promises that `args` and its file are valid.
        T::unpreserve(unsafe { file(args) }, data, private);
    }

    /// # Safety
    ///
    /// As for [`Self::unpreserve`].
    unsafe extern "C" fn freeze(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller promises that `args` is valid.
            let (data, private) = unsafe { ((*args).serialized_data, (*args).private_data) };
            // SAFETY: `preserve` made the pointer by `into_foreign`, and the file is not unpreserved
            // during this call.
            let private = unsafe { T::Private::borrow(private) };
            // SAFETY: The caller promises that `args` and its file are valid.
            let data = T::freeze(unsafe { file(args) }, data, private)?;
            // SAFETY: The caller promises that `args` is valid.
            unsafe { (*args).serialized_data = data };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As for [`Self::unpreserve`].
    unsafe extern "C" fn unfreeze(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: The caller promises that `args` is valid.
        let (data, private) = unsafe { ((*args).serialized_data, (*args).private_data) };
        // SAFETY: `preserve` made the pointer by `into_foreign`, and the file is not unpreserved
        // during this call.
        let private = unsafe { T::Private::borrow(private) };
        // SAFETY: The caller promises that `args` and its file are valid.
        T::unfreeze(unsafe { file(args) }, data, private);
    }

    /// # Safety
    ///
    /// `args` must be valid.
    unsafe extern "C" fn retrieve(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller promises that `args` is valid.
            let file = T::retrieve(unsafe { (*args).serialized_data })?;
            // SAFETY: As above. The reference to the file goes to the caller.
            unsafe { (*args).file = ARef::into_raw(file).as_ptr().cast() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` must be valid, and its file must be valid if the file was retrieved.
    unsafe extern "C" fn can_finish(args: *mut bindings::liveupdate_file_op_args) -> bool {
        // SAFETY: The caller promises it.
        let (data, outcome) = unsafe { ((*args).serialized_data, outcome(args)) };
        T::can_finish(data, outcome)
    }

    /// # Safety
    ///
    /// `args` must be valid, and its file must be valid if the file was retrieved.
    unsafe extern "C" fn finish(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: The caller promises it.
        let (data, outcome) = unsafe { ((*args).serialized_data, outcome(args)) };
        T::finish(data, outcome);
    }

    /// # Safety
    ///
    /// `file` must be valid.
    unsafe extern "C" fn get_id(file: *mut bindings::file) -> c_ulong {
        // SAFETY:
        // - The caller promises that the file is valid for the duration of this call.
        // - An ioctl on another file asks, so there is no `fdget_pos` on this one.
        T::id(unsafe { File::from_raw_file(file) })
    }

    const OPS: bindings::liveupdate_file_ops = bindings::liveupdate_file_ops {
        can_preserve: Some(Self::can_preserve),
        preserve: Some(Self::preserve),
        unpreserve: Some(Self::unpreserve),
        freeze: if T::HAS_FREEZE {
            Some(Self::freeze)
        } else {
            None
        },
        unfreeze: if T::HAS_UNFREEZE {
            Some(Self::unfreeze)
        } else {
            None
        },
        retrieve: Some(Self::retrieve),
        can_finish: if T::HAS_CAN_FINISH {
            Some(Self::can_finish)
        } else {
            None
        },
        finish: Some(Self::finish),
        get_id: if T::HAS_ID { Some(Self::get_id) } else { None },
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };
}
