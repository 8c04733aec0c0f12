// SPDX-License-Identifier: GPL-2.0

//! Sleeping reader-writer locks.
//!
//! C header: [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h)

use super::LockClassKey;
use crate::{
    bindings,
    error::{
        to_result,
        Result, //
    },
    str::{
        CStr,
        CStrExt as _, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    ops::{
        Deref,
        DerefMut, //
    },
    pin::Pin, //
};
use pin_init::{
    pin_data,
    pin_init,
    PinInit,
    Wrapper, //
};

/// Creates an [`RwSem`] initialiser with the given name and a newly-created lock class.
///
/// It uses the name if one is given, otherwise it generates one based on the file name and line
/// number.
#[macro_export]
macro_rules! new_rwsem {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::sync::RwSem::new(
            $inner, $crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}
pub use new_rwsem;

/// A reader-writer lock that may sleep.
///
/// Any number of readers, or one writer, have access to the protected data at a time. A writer that
/// waits keeps new readers out, also those that only try, so readers must not nest.
///
/// It is no [`Lock`](super::lock::Lock) with a backend of its own, because those are exclusive.
///
/// # Examples
///
/// ```
/// use kernel::sync::{new_rwsem, RwSem};
///
/// #[pin_data]
/// struct Table {
///     #[pin]
///     entries: RwSem<KVec<u32>>,
/// }
///
/// let table = KBox::pin_init(
///     pin_init!(Table { entries <- new_rwsem!(KVec::new(), "Table::entries") }),
///     GFP_KERNEL,
/// )?;
///
/// table.entries.write().push(5, GFP_KERNEL)?;
///
/// let reader = table.entries.read();
/// assert_eq!(reader.first(), Some(&5));
/// // Readers do not keep each other out, but they do keep out writers.
/// assert!(table.entries.try_read().is_some());
/// assert!(table.entries.try_write().is_none());
/// drop(reader);
///
/// // A failed try releases nothing.
/// let writer = table.entries.try_write().ok_or(EBUSY)?;
/// assert!(table.entries.try_read().is_none());
/// assert!(table.entries.try_write().is_none());
/// drop(writer);
///
/// // A fatal signal would end these waits.
/// drop(table.entries.read_killable()?);
/// drop(table.entries.write_killable()?);
/// assert!(table.entries.try_write().is_some());
/// # Ok::<(), Error>(())
/// ```
#[repr(C)]
#[pin_data]
pub struct RwSem<T: ?Sized> {
    #[pin]
    state: Opaque<bindings::rw_semaphore>,

    /// The list of waiters points back to its head.
    #[pin]
    _pin: PhantomPinned,

    #[pin]
    data: UnsafeCell<T>,
}

// SAFETY: The lock may be moved between threads iff the data that it protects may.
unsafe impl<T: ?Sized + Send> Send for RwSem<T> {}

// SAFETY: Several threads may read at once, hence `T: Sync`; and a writer may move the data out or
// drop it, hence `T: Send`.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwSem<T> {}

impl<T> RwSem<T> {
    /// Constructs a new lock initialiser.
    pub fn new(
        t: impl PinInit<T>,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            data <- UnsafeCell::pin_init(t),
            _pin: PhantomPinned,
            // SAFETY: `slot` is valid while the closure is called, and both `name` and `key` have
            // static lifetimes, so they live indefinitely.
            state <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_rwsem(slot, name.as_char_ptr(), key.as_ptr())
            }),
        })
    }
}

impl<T: ?Sized> RwSem<T> {
    /// Waits until there is no writer, and gives shared access to the data.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: The existence of `self` proves that the semaphore was initialised.
        unsafe { bindings::down_read(self.state.get()) };

        // INVARIANT: The semaphore was just acquired for reading.
        ReadGuard {
            lock: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Like [`Self::read`], but a fatal signal ends the wait.
    ///
    /// # Errors
    ///
    /// `EINTR` if a fatal signal is pending.
    #[inline]
    pub fn read_killable(&self) -> Result<ReadGuard<'_, T>> {
        // SAFETY: The existence of `self` proves that the semaphore was initialised.
        to_result(unsafe { bindings::down_read_killable(self.state.get()) })?;

        // INVARIANT: The semaphore was just acquired for reading.
        Ok(ReadGuard {
            lock: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Gives shared access to the data, unless that would have to wait.
    #[must_use = "if unused, the lock will be immediately unlocked"]
    #[inline]
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        // SAFETY: The existence of `self` proves that the semaphore was initialised.
        let acquired = unsafe { bindings::down_read_trylock(self.state.get()) } != 0;

        // INVARIANT: The guard exists only if the semaphore was just acquired for reading.
        acquired.then(|| ReadGuard {
            lock: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Waits until there is neither reader nor writer, and gives exclusive access to the data.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T> {
        // SAFETY: The existence of `self` proves that the semaphore was initialised.
        unsafe { bindings::down_write(self.state.get()) };

        // INVARIANT: The semaphore was just acquired for writing.
        WriteGuard {
            lock: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Like [`Self::write`], but a fatal signal ends the wait.
    ///
    /// # Errors
    ///
    /// `EINTR` if a fatal signal is pending.
    #[inline]
    pub fn write_killable(&self) -> Result<WriteGuard<'_, T>> {
        // SAFETY: The existence of `self` proves that the semaphore was initialised.
        to_result(unsafe { bindings::down_write_killable(self.state.get()) })?;

        // INVARIANT: The semaphore was just acquired for writing.
        Ok(WriteGuard {
            lock: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Gives exclusive access to the data, unless that would have to wait.
    #[must_use = "if unused, the lock will be immediately unlocked"]
    #[inline]
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        // SAFETY: The existence of `self` proves that the semaphore was initialised.
        let acquired = unsafe { bindings::down_write_trylock(self.state.get()) } != 0;

        // INVARIANT: The guard exists only if the semaphore was just acquired for writing.
        acquired.then(|| WriteGuard {
            lock: self,
            _not_send: NotThreadSafe,
        })
    }
}

/// Shared access to the data of an [`RwSem`].
///
/// # Invariants
///
/// The current task holds the semaphore for reading.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct ReadGuard<'a, T: ?Sized> {
    lock: &'a RwSem<T>,
    _not_send: NotThreadSafe,
}

// SAFETY: The guard gives out nothing but `&T`.
unsafe impl<T: ?Sized + Sync> Sync for ReadGuard<'_, T> {}

impl<T: ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants there is no writer while the guard exists.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this task holds the semaphore for reading.
        unsafe { bindings::up_read(self.lock.state.get()) };
    }
}

/// Exclusive access to the data of an [`RwSem`].
///
/// # Invariants
///
/// The current task holds the semaphore for writing.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct WriteGuard<'a, T: ?Sized> {
    lock: &'a RwSem<T>,
    _not_send: NotThreadSafe,
}

// SAFETY: A shared guard gives out nothing but `&T`.
unsafe impl<T: ?Sized + Sync> Sync for WriteGuard<'_, T> {}

impl<T: ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants no other guard gives access while this one exists.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized + Unpin> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants no other guard gives access while this one exists.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this task holds the semaphore for writing.
        unsafe { bindings::up_write(self.lock.state.get()) };
    }
}
