// SPDX-License-Identifier: GPL-2.0

//! Handlers of files.

use core::marker::PhantomData;

use super::{
    compatible,
    Data, //
};
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

/// A handler of files of some kind: it saves and restores their state.
///
/// Files of one session are preserved and frozen in the order in which userspace preserves them,
/// and unfrozen, unpreserved and finished in the reverse one. Callbacks for different files may run
/// at the same time.
///
/// The FLBs that files of a handler depend on ([`Flb`](super::Flb)) belong to its name: if one is
/// added, the next version needs another name. The next kernel counts files by the FLBs of their
/// handler there.
///
/// # Context
///
/// All callbacks may sleep. None may register or unregister a handler or an FLB. Callbacks may use
/// FLBs ([`Flb::outgoing`](super::Flb::outgoing), [`Flb::incoming`](super::Flb::incoming)), except
/// [`FileHandler::can_preserve`] and [`FileHandler::id`], which may not.
///
/// # Guarantees
///
/// No callback of any handler runs at the same time as [`FileHandler::freeze`], and none runs after
/// the handover is written: `reboot(2)` keeps new commands out, and waits for callbacks that run
/// already. So state that files share is complete when it is frozen. The users of the files are not
/// kept out: they may go on until the kexec.
///
/// Since `reboot(2)` waits for callbacks, none may wait for long, nor for a lock that is held while
/// userspace memory is read or written.
#[vtable]
pub trait FileHandler: 'static {
    /// The data for the next kernel.
    type Data: Data;

    /// The handler's own data of a preserved file in this kernel.
    type Private: ForeignOwnable + Send + Sync;

    /// Whether this handler takes files such as this one. It must not sleep for long.
    fn can_preserve(file: &File) -> bool;

    /// Saves the state of a file.
    ///
    /// The file is in use, and userspace can go on using it.
    fn preserve(file: &File) -> Result<(Self::Data, Self::Private)>;

    /// Undoes [`FileHandler::preserve`]: the file does not go to the next kernel.
    fn unpreserve(file: &File, data: Self::Data, private: Self::Private);

    /// Saves changes since [`FileHandler::preserve`], and returns the data for the next kernel.
    ///
    /// `reboot(2)` has been called, and userspace waits for the next kernel. Other threads may
    /// still use the file: the handler must take its own locks, and must see to it that the saved
    /// state does not change from now on.
    fn freeze(
        _file: &File,
        _data: Self::Data,
        _private: <Self::Private as ForeignOwnable>::Borrowed<'_>,
    ) -> Result<Self::Data> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Undoes [`FileHandler::freeze`]: `reboot(2)` has failed.
    fn unfreeze(
        _file: &File,
        _data: Self::Data,
        _private: <Self::Private as ForeignOwnable>::Borrowed<'_>,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Restores a file from the data of the previous kernel. It is tried once.
    fn retrieve(data: <Self::Data as Data>::Incoming) -> Result<ARef<File>>;

    /// Whether everything that the file needs is there, so that it can be finished.
    fn can_finish(_data: Self::Data, _outcome: Outcome<'_>) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Cleans up: the data of the previous kernel is not needed any more.
    ///
    /// If the file was never retrieved, its data comes with the outcome, to be freed; otherwise
    /// [`FileHandler::retrieve`] has had it.
    fn finish(data: Self::Data, outcome: Outcome<'_, <Self::Data as Data>::Incoming>);

    /// A number that two files have in common if they are the same; the address of the `struct
    /// file` if this is not implemented.
    fn id(_file: &File) -> usize {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The outcome of [`FileHandler::retrieve`].
#[derive(Clone, Copy)]
pub enum Outcome<'a, T = ()> {
    /// The file was never asked for.
    NotTried(T),
    /// The file was restored.
    Retrieved(&'a File),
    /// The file could not be restored.
    Failed(Error),
}

/// A handler, to be kept in a `static`: it must exist for as long as its module does.
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
///     type Data = u64;
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
///     fn finish(_data: u64, _outcome: Outcome<'_, u64>) {}
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

// SAFETY: Only LUO changes it after `new`, under its own locks.
unsafe impl<T: FileHandler> Sync for Handler<T> {}

impl<T: FileHandler> Handler<T> {
    /// A handler of this name, by which the previous and the next kernel know it: 1 to 47 bytes,
    /// with a version at the end by convention.
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
        // SAFETY: The handler is static, so it exists for as long as its module, which LUO pins
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
        0 => Outcome::NotTried(()),
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
            // SAFETY: The caller promises that `args` is valid, and only this callback uses it.
            let args = unsafe { &mut *args };
            args.serialized_data = data.to_raw();
            args.private_data = private.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` and its file must be valid, with the data that [`Self::preserve`] has left.
    unsafe extern "C" fn unpreserve(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: The caller promises that `args` is valid.
        let (data, private) = unsafe { ((*args).serialized_data, (*args).private_data) };
        // SAFETY: `preserve` made the pointer by `into_foreign`, and a file is unpreserved once.
        let private = unsafe { T::Private::from_foreign(private) };
        // SAFETY: The caller promises that `args` and its file are valid.
        T::unpreserve(unsafe { file(args) }, Data::from_raw(data), private);
    }

    /// # Safety
    ///
    /// As for [`Self::unpreserve`].
    unsafe extern "C" fn freeze(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller promises that `args` is valid.
            let (data, private) = unsafe { ((*args).serialized_data, (*args).private_data) };
            // SAFETY: `preserve` made the pointer by `into_foreign`, and the file is not
            // unpreserved during this call.
            let private = unsafe { T::Private::borrow(private) };
            // SAFETY: The caller promises that `args` and its file are valid.
            let data = T::freeze(unsafe { file(args) }, Data::from_raw(data), private)?;
            // SAFETY: The caller promises that `args` is valid.
            unsafe { (*args).serialized_data = data.to_raw() };
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
        T::unfreeze(unsafe { file(args) }, Data::from_raw(data), private);
    }

    /// # Safety
    ///
    /// `args` must be valid.
    unsafe extern "C" fn retrieve(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        from_result(|| {
            // SAFETY: The caller promises that `args` is valid.
            let data = T::Data::from_raw(unsafe { (*args).serialized_data });
            // SAFETY: The previous kernel handed the data over to the handler of this name, which
            // is `T`, and LUO retrieves a file once.
            let file = T::retrieve(unsafe { data.take() }?)?;
            // SAFETY: The caller promises that `args` is valid. The reference to the file goes to
            // the caller.
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
        T::can_finish(Data::from_raw(data), outcome)
    }

    /// # Safety
    ///
    /// `args` must be valid, and its file must be valid if the file was retrieved.
    unsafe extern "C" fn finish(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: The caller promises it.
        let (data, outcome) = unsafe { ((*args).serialized_data, outcome(args)) };
        let data = T::Data::from_raw(data);
        let outcome = match outcome {
            // SAFETY: The previous kernel handed the data over to the handler of this name, which
            // is `T`; `retrieve` did not take it, and a file is finished once.
            Outcome::NotTried(()) => match unsafe { data.take() } {
                Ok(incoming) => Outcome::NotTried(incoming),
                Err(error) => Outcome::Failed(error),
            },
            Outcome::Retrieved(file) => Outcome::Retrieved(file),
            Outcome::Failed(error) => Outcome::Failed(error),
        };
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
