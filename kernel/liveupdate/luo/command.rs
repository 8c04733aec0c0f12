// SPDX-License-Identifier: GPL-2.0

//! Commands on their way from and to userspace.

use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use liveupdate_uapi::Command;
use luo_core::command::{
    Extent,
    SIZE_WORD, //
};

/// A command that was read.
pub(crate) struct Call<C> {
    at: UserPtr,
    extent: Extent,
    /// The argument from userspace, and the answer to it.
    pub(crate) argument: C,
}

impl<C: Command> Call<C> {
    /// Reads the command at the userspace address `arg`.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it cannot be read, `EINVAL` if it is too short, `E2BIG` if a field that this
    /// kernel does not know is not zero.
    pub(crate) fn read(arg: usize) -> Result<Self> {
        let mut call = Self {
            at: UserPtr::from_addr(arg),
            extent: Extent {
                known: size_of::<C>(),
                beyond: 0,
            },
            argument: C::new_zeroed(),
        };
        if !call.read_whole() {
            call.read_extensible()?;
        }
        Ok(call)
    }

    /// Reads a command that is as long as this kernel knows it, as most are. Says whether it is.
    fn read_whole(&mut self) -> bool {
        let bytes = self.argument.as_mut_bytes();
        let length = bytes.len();
        let read = UserSlice::new(self.at, length).reader().read_slice(bytes);
        let size = bytes.first_chunk().map(|size| u32::from_ne_bytes(*size));
        read.is_ok() && size.is_some_and(|size| usize::try_from(size) == Ok(length))
    }

    /// Reads a command of any length.
    fn read_extensible(&mut self) -> Result {
        let size: u32 = UserSlice::new(self.at, SIZE_WORD).reader().read()?;
        self.extent = Extent::of(size, C::MIN_SIZE, size_of::<C>()).map_err(|_| EINVAL)?;
        self.argument = C::new_zeroed();
        let bytes = self.argument.as_mut_bytes();
        let whole = self.extent.known.saturating_add(self.extent.beyond);
        UserSlice::new(self.at, whole).read_extensible(bytes)?;
        // The size may have changed since it was checked; the checked one is written back.
        if let Some(first) = bytes.first_chunk_mut() {
            *first = size.to_ne_bytes();
        }
        Ok(())
    }

    /// Writes the answer: as much of it as userspace knows. No lock and no pass may be held,
    /// because userspace decides how long it takes.
    ///
    /// # Errors
    ///
    /// `EFAULT`. The command must have no effect then.
    pub(crate) fn reply(&self) -> Result {
        let known = self
            .argument
            .as_bytes()
            .get(..self.extent.known)
            .ok_or(EINVAL)?;
        UserSlice::new(self.at, known.len())
            .writer()
            .write_slice(known)
    }
}
