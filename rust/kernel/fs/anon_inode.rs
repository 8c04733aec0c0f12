// SPDX-License-Identifier: GPL-2.0

//! Files on the anonymous inode.
//!
//! Such a file has no place in any file system: it is a handle that a system call returns, and what
//! it does is up to its operations.
//!
//! C header: [`include/linux/anon_inodes.h`](srctree/include/linux/anon_inodes.h)

use crate::{
    bindings,
    error::{
        from_err_ptr,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong, //
    },
    fs::File,
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::aref::ARef,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// The behaviour of a kind of files on the anonymous inode.
#[vtable]
pub trait AnonInodeFile: Sized {
    /// The pointer to the private data, which the file owns.
    type Ptr: ForeignOwnable + Send + Sync;

    /// Called when the last reference to the file goes away.
    ///
    /// An error could not be reported any more, and the file is gone.
    fn release(data: Self::Ptr) {
        drop(data);
    }

    /// Handler for ioctls, also those of 32-bit userspace on a 64-bit kernel.
    ///
    /// The `cmd` argument is usually manipulated using the utilities in [`kernel::ioctl`].
    ///
    /// [`kernel::ioctl`]: mod@crate::ioctl
    fn ioctl(
        _data: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adds lines to `/proc/PID/fdinfo/FD`.
    fn show_fdinfo(_data: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, _m: &SeqFile, _file: &File) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The operations of files of one kind, to be kept in a `static`.
///
/// # Invariants
///
/// `ops` is not written to after it was made, and its address is that of no other operations.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::{
///         anon_inode::{AnonInodeFile, Operations},
///         file::flags,
///         File,
///     },
///     sync::{Arc, ArcBorrow},
/// };
///
/// struct Answer;
///
/// #[vtable]
/// impl AnonInodeFile for Answer {
///     type Ptr = Arc<u32>;
///
///     fn ioctl(data: ArcBorrow<'_, u32>, _file: &File, _cmd: u32, _arg: usize) -> Result<isize> {
///         Ok(*data as isize)
///     }
/// }
///
/// static ANSWER: Operations<Answer> = Operations::new();
/// static OTHER: Operations<Answer> = Operations::new();
///
/// let file = ANSWER.getfile(c"[answer]", Arc::new(42, GFP_KERNEL)?, flags::O_RDWR)?;
/// assert_eq!(ANSWER.data(&file).map(|data| *data), Some(42));
/// assert!(OTHER.data(&file).is_none());
/// # Ok::<(), Error>(())
/// ```
pub struct Operations<T: AnonInodeFile> {
    // Not plain data, or a constant could share its address with another one.
    ops: Opaque<bindings::file_operations>,
    kind: PhantomData<fn(T)>,
}

// SAFETY: By the type invariants the operations are only read.
unsafe impl<T: AnonInodeFile> Sync for Operations<T> {}

impl<T: AnonInodeFile> Default for Operations<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: AnonInodeFile> Operations<T> {
    /// The operations of `T`.
    pub const fn new() -> Self {
        // INVARIANT: A value with interior mutability has an address of its own.
        Self {
            ops: Opaque::new(AnonInodeVTable::<T>::OPS),
            kind: PhantomData,
        }
    }

    /// Makes a file with these operations that owns `data`.
    ///
    /// In `/proc/PID/fd` it is a link to `anon_inode:` and `name`, which is copied. `flags` are
    /// those of [`kernel::fs::file::flags`]: how the file is open.
    ///
    /// # Errors
    ///
    /// `ENOMEM` and `ENFILE`; `data` is dropped then.
    ///
    /// [`kernel::fs::file::flags`]: mod@crate::fs::file::flags
    pub fn getfile(&'static self, name: &CStr, data: T::Ptr, flags: u32) -> Result<ARef<File>> {
        let data = data.into_foreign();
        // SAFETY:
        // - `name` is NUL-terminated and lives for the whole call.
        // - The operations are static, and take `data` for a `T::Ptr` that `into_foreign` has
        //   converted, which it is.
        let file = from_err_ptr(unsafe {
            bindings::anon_inode_getfile(name.as_char_ptr(), self.ops.get(), data, flags as c_int)
        });

        match file {
            // SAFETY:
            // - The file is not null, and its only reference is ours.
            // - It is not in any file descriptor table, so there is no `fdget_pos` on it.
            Ok(file) => Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(file.cast::<File>())) }),
            Err(error) => {
                // SAFETY: `into_foreign` made the pointer above, and no file was made that has it.
                drop(unsafe { T::Ptr::from_foreign(data) });
                Err(error)
            }
        }
    }

    /// The private data of a file, if it was made with these operations.
    pub fn data<'a>(
        &'static self,
        file: &'a File,
    ) -> Option<<T::Ptr as ForeignOwnable>::Borrowed<'a>> {
        // SAFETY: The file is valid. Some drivers change the operations of their open files, so
        // this is a volatile read; no file gets these operations but from `getfile`, or loses them.
        let ops = unsafe { ptr::addr_of!((*file.as_ptr()).f_op).read_volatile() };
        if !ptr::eq(ops, self.ops.get()) {
            return None;
        }
        // SAFETY: The file is valid, and `getfile` has set its private data, which does not change.
        let private = unsafe { (*file.as_ptr()).private_data };
        // SAFETY: By the type invariants no others have this address, so `getfile` made the file.
        // It is not released while it is borrowed.
        Some(unsafe { T::Ptr::borrow(private) })
    }
}

/// The operations of a file as C sees them.
struct AnonInodeVTable<T: AnonInodeFile>(PhantomData<T>);

impl<T: AnonInodeFile> AnonInodeVTable<T> {
    /// # Safety
    ///
    /// `file` must be a file that was made by [`Operations::getfile`] with this `T`, and is being
    /// released.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The file is valid, and `getfile` has set its private data.
        let private = unsafe { (*file).private_data };
        // SAFETY: `getfile` made it by `into_foreign`, and a file is released once.
        T::release(unsafe { T::Ptr::from_foreign(private) });

        0
    }

    /// # Safety
    ///
    /// `file` must be a file that was made by [`Operations::getfile`] with this `T`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The file is valid, and `getfile` has set its private data.
        let private = unsafe { (*file).private_data };
        // SAFETY: `getfile` made it by `into_foreign`, and the file is not released before the end
        // of this call.
        let data = unsafe { T::Ptr::borrow(private) };
        // SAFETY:
        // - The file is valid for the duration of this call.
        // - There is no active fdget_pos region on the file on this thread.
        let file = unsafe { File::from_raw_file(file) };

        match T::ioctl(data, file, cmd, arg) {
            Ok(ret) => ret as c_long,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// - `file` must be a file that was made by [`Operations::getfile`] with this `T`.
    /// - `seq_file` must be a valid `struct seq_file` that can be written to.
    unsafe extern "C" fn show_fdinfo(seq_file: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: The file is valid, and `getfile` has set its private data.
        let private = unsafe { (*file).private_data };
        // SAFETY: `getfile` made it by `into_foreign`, and the file is not released before the end
        // of this call.
        let data = unsafe { T::Ptr::borrow(private) };
        // SAFETY:
        // - The file is valid for the duration of this call.
        // - There is no active fdget_pos region on the file on this thread.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The caller promises that the pointer is valid for the duration of this call.
        let m = unsafe { SeqFile::from_raw(seq_file) };

        T::show_fdinfo(data, m, file);
    }

    const OPS: bindings::file_operations = bindings::file_operations {
        release: Some(Self::release),
        unlocked_ioctl: if T::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: if T::HAS_IOCTL {
            bindings::compat_ptr_ioctl
        } else {
            None
        },
        show_fdinfo: if T::HAS_SHOW_FDINFO {
            Some(Self::show_fdinfo)
        } else {
            None
        },
        owner: this_module::<T::OwnerModule>().as_ptr(),
        ..pin_init::zeroed()
    };
}
