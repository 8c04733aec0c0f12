// SPDX-License-Identifier: GPL-2.0

//! Memory of files without a name, as `memfd_create(2)` makes them.
//!
//! C headers: [`include/linux/memfd.h`](srctree/include/linux/memfd.h),
//! [`include/linux/shmem_fs.h`](srctree/include/linux/shmem_fs.h)

use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::File,
    mm::folio::{
        Folios,
        Pins, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef,
    types::NotThreadSafe, //
};
use core::ptr::NonNull;

/// A file of `shmem` without a name. Its memory is that of page frames, not that of hugetlb.
///
/// # Invariants
///
/// The file is one of `shmem`.
#[derive(Clone, Copy)]
pub struct Memfd<'a>(&'a File);

impl<'a> Memfd<'a> {
    /// The memory of a file, if it is such a file.
    pub fn of(file: &'a File) -> Option<Self> {
        // SAFETY: The file is valid.
        let is_shmem = unsafe { bindings::shmem_file(file.as_ptr()) };
        // SAFETY: The file is valid, so it has an inode.
        let has_name = unsafe { bindings::inode_nlink(bindings::file_inode(file.as_ptr())) } > 0;
        // INVARIANT: It was just asked.
        (is_shmem && !has_name).then_some(Self(file))
    }

    fn inode(self) -> *mut bindings::inode {
        // SAFETY: The file is valid.
        unsafe { bindings::file_inode(self.0.as_ptr()) }
    }

    /// A number that open files have in common if their memory is the same.
    pub fn id(self) -> usize {
        self.inode().addr()
    }

    /// The position of the open file.
    pub fn position(self) -> u64 {
        // SAFETY: The file is valid. The position is a word that `lseek(2)` may write meanwhile;
        // any value that it has is fine.
        let position = unsafe { bindings::file_position(self.0.as_ptr()) };
        position as u64
    }

    /// Its seals, as `fcntl(F_GET_SEALS)` returns them.
    pub fn seals(self) -> Result<u32> {
        // SAFETY: The file is valid.
        let seals = unsafe { bindings::memfd_get_seals(self.0.as_ptr()) };
        to_result(seals)?;
        Ok(seals as u32)
    }

    /// Keeps changes of its size out.
    pub fn lock(self) -> Locked<'a> {
        // SAFETY: The inode of a file is valid.
        unsafe { bindings::inode_lock(self.inode()) };
        // INVARIANT: It was just locked.
        Locked {
            memfd: self,
            _not_send: NotThreadSafe,
        }
    }
}

/// A file whose size does not change.
///
/// # Invariants
///
/// The lock of the inode is held by this thread.
pub struct Locked<'a> {
    memfd: Memfd<'a>,
    _not_send: NotThreadSafe,
}

impl Locked<'_> {
    /// The size, in bytes.
    pub fn size(&self) -> u64 {
        // SAFETY: The inode of a file is valid.
        unsafe { bindings::i_size_read(self.memfd.inode()) as u64 }
    }

    /// Keeps pages where they are in the file, until [`Locked::thaw`], also without the lock: the
    /// file does not get longer or shorter, and there are no new holes. Each page that appears in a
    /// hole from now on is told to the live update.
    pub fn freeze(&self) {
        let inode = self.memfd.inode();
        // SAFETY: The inode of a file is valid, and by the type invariants it is locked.
        unsafe { bindings::shmem_freeze(inode, true) };
        // SAFETY: As above. Pages that are being added without having seen the flag are in the page
        // cache afterwards.
        unsafe { bindings::mapping_settle((*inode).i_mapping) };
    }

    /// Undoes [`Locked::freeze`].
    pub fn thaw(&self) {
        // SAFETY: The inode of a file is valid, and by the type invariants it is locked.
        unsafe { bindings::shmem_freeze(self.memfd.inode(), false) };
    }

    /// Pins folios that the file has from page `start` on: so many at most, in as many runs as
    /// there is room for. Those that are swapped out are brought in, those in memory that must not
    /// be pinned are moved, and those without content are zeroed.
    ///
    /// # Errors
    ///
    /// `EHWPOISON` if a page has hardware errors, `ENOMEM`, and errors of moving and of the swap
    /// device.
    pub fn pin(&self, start: u64, most: u32, pins: &mut Pins) -> Result {
        let end = self.size().checked_sub(1).ok_or(EINVAL)? / PAGE_SIZE as u64;
        let file = self.memfd.0.as_ptr();
        // SAFETY:
        // - The file is valid, and its inode is locked by the type invariants.
        // - The function writes no more runs than there is room for, pins each folio of them, and
        //   returns how many runs there are. None is left if it fails.
        unsafe {
            pins.fill(|runs, room| {
                let count = bindings::memfd_pin_folio_runs(
                    file,
                    start as usize,
                    end as usize,
                    runs,
                    room,
                    most,
                );
                to_result(count)?;
                Ok(count as usize)
            })
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this thread holds the lock.
        unsafe { bindings::inode_unlock(self.memfd.inode()) };
    }
}

/// The last page that a folio of a file may begin with. So the numbers of its pages do not wrap.
const LAST_PAGE: u64 = i64::MAX as u64 / PAGE_SIZE as u64;

/// The content of folios that are added to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It is valid.
    Valid,
    /// There is none: the folios are zeroed before they are used.
    None,
}

/// A new file, which nothing else knows so far.
///
/// # Invariants
///
/// The file is one of `memfd_create(2)`, and there is one reference.
pub struct NewMemfd(ARef<File>);

impl NewMemfd {
    /// Makes an empty file, which can be sealed.
    pub fn new() -> Result<Self> {
        // SAFETY: The name is NUL-terminated.
        let file = from_err_ptr(unsafe {
            bindings::memfd_alloc_file(c"".as_char_ptr(), bindings::MFD_ALLOW_SEALING)
        })?;
        let file = NonNull::new(file.cast()).ok_or(ENOMEM)?;
        // SAFETY: The file is new, so it has a reference, which is owned, and nothing has called
        // `fdget_pos`.
        let file = unsafe { ARef::from_raw(file) };
        // INVARIANT: It was just made.
        Ok(Self(file))
    }

    fn inode(&self) -> *mut bindings::inode {
        // SAFETY: The file is valid.
        unsafe { bindings::file_inode(self.0.as_ptr()) }
    }

    /// Adds seals.
    pub fn add_seals(&self, seals: u32) -> Result {
        // SAFETY: The file is valid.
        to_result(unsafe { bindings::memfd_add_seals(self.0.as_ptr(), seals) })
    }

    /// Sets the position; one that cannot be is left out.
    pub fn set_position(&self, position: u64) {
        let position = i64::try_from(position).unwrap_or(-1);
        // SAFETY: The file is valid, and nothing else knows it.
        unsafe { bindings::vfs_setpos(self.0.as_ptr(), position, i64::MAX) };
    }

    /// Sets the size, in bytes, without adding memory.
    pub fn set_size(&self, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: The inode of a file is valid, and nothing else knows it.
        unsafe { bindings::i_size_write(self.inode(), size) };
        Ok(())
    }

    /// The orders of folios that this kernel would use for such a file of this size, as bits.
    pub fn orders(&self, size: u64) -> u64 {
        // SAFETY: The inode of a file is valid.
        unsafe { bindings::shmem_orders(self.inode(), size as i64) as u64 }
    }

    /// Adds folios that follow each other in the file, from page `index` on. There are none
    /// afterwards.
    ///
    /// # Errors
    ///
    /// `EEXIST` if one is there, `EINVAL` if one is not aligned in the file to its size, or is
    /// behind the end of the largest file, `ENOMEM` also if the control group has no room,
    /// `ENOSPC`.
    pub fn add(&self, folios: &mut Folios, index: u64, content: Content) -> Result {
        if index > LAST_PAGE {
            return Err(EINVAL);
        }
        let inode = self.inode();
        folios.give(|folios, count| {
            // SAFETY:
            // - The inode is that of a file of `shmem`, and nothing else knows it.
            // - The folios are valid, nothing else knows them, and they are given away.
            to_result(unsafe {
                bindings::shmem_add_folios(
                    inode,
                    folios,
                    count,
                    index as usize,
                    content == Content::Valid,
                )
            })
        })
    }

    /// The file.
    pub fn into_file(self) -> ARef<File> {
        self.0
    }
}
