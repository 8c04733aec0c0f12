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
    /// What userspace wants, and what it gets.
    pub(crate) argument: C,
}

impl<C: Command> Call<C> {
    /// Reads the command at the userspace address `arg`.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it cannot be read, `EINVAL` if it is too short, `E2BIG` if it wants something
    /// that this kernel does not know.
    pub(crate) fn read(arg: usize) -> Result<Self> {
        let at = UserPtr::from_addr(arg);
        let size: u32 = UserSlice::new(at, SIZE_WORD).reader().read()?;
        let extent = Extent::of(size, C::MIN_SIZE, size_of::<C>()).map_err(|_| EINVAL)?;

        let mut argument = C::new_zeroed();
        let whole = extent.known.saturating_add(extent.beyond);
        UserSlice::new(at, whole).read_extensible(argument.as_mut_bytes())?;
        // It may have changed since it was checked; what is written back is what was checked.
        let first = argument.as_mut_bytes().first_chunk_mut::<SIZE_WORD>();
        first
            .into_iter()
            .for_each(|first| *first = size.to_ne_bytes());
        Ok(Self {
            at,
            extent,
            argument,
        })
    }

    /// Writes the answer: as much of it as userspace knows.
    ///
    /// # Errors
    ///
    /// `EFAULT`. Whatever the command has done must be undone then.
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
