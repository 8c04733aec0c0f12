// SPDX-License-Identifier: GPL-2.0

//! Structures that grow: userspace and kernel need not know the same length of them.
//!
//! C header: [`include/linux/uaccess.h`](srctree/include/linux/uaccess.h)

use super::UserSlice;
use crate::{
    bindings,
    error::to_result,
    prelude::*, //
};

impl UserSlice {
    /// Reads a structure whose end one of the two sides may not know.
    ///
    /// The length of this slice is that of the structure in userspace, the length of `known` that
    /// in the kernel. Bytes that only the kernel has become zero. Bytes that only userspace has
    /// must be zero: otherwise it asks for something that this kernel does not know.
    ///
    /// # Errors
    ///
    /// `E2BIG` if a byte that only userspace has is not zero, `EFAULT` if the memory cannot be
    /// read. The contents of `known` are unspecified then.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::uaccess::{UserPtr, UserSlice};
    ///
    /// /// An ioctl whose structure begins with its size in bytes.
    /// fn read_command(at: UserPtr) -> Result<[u8; 16]> {
    ///     let size: u32 = UserSlice::new(at, size_of::<u32>()).reader().read()?;
    ///     if size < 8 {
    ///         return Err(EINVAL);
    ///     }
    ///     let mut command = [0; 16];
    ///     UserSlice::new(at, size as usize).read_extensible(&mut command)?;
    ///     // The size may have changed since it was checked.
    ///     command[..4].copy_from_slice(&size.to_ne_bytes());
    ///     Ok(command)
    /// }
    /// ```
    pub fn read_extensible(self, known: &mut [u8]) -> Result {
        // SAFETY:
        // - `known` can be written to for its whole length.
        // - The function checks that the rest is memory of userspace.
        to_result(unsafe {
            bindings::copy_struct_from_user(
                known.as_mut_ptr().cast(),
                known.len(),
                self.ptr.as_const_ptr(),
                self.length,
            )
        })
    }
}
