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
        let at = UserPtr::from_addr(arg);
        if let Some(call) = Self::read_at_once(at) {
            return Ok(call);
        }
        let size: u32 = UserSlice::new(at, SIZE_WORD).reader().read()?;
        let extent = Extent::of(size, C::MIN_SIZE, size_of::<C>()).map_err(|_| EINVAL)?;

        let mut argument = C::new_zeroed();
        let whole = extent.known.saturating_add(extent.beyond);
        UserSlice::new(at, whole).read_extensible(argument.as_mut_bytes())?;
        // The size may have changed since it was checked; the checked one is written back.
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

    /// Reads a command as long as this kernel knows it, as most are.
    fn read_at_once(at: UserPtr) -> Option<Self> {
        let mut argument = C::new_zeroed();
        let bytes = argument.as_mut_bytes();
        let length = bytes.len();
        UserSlice::new(at, length).reader().read_slice(bytes).ok()?;
        let size = bytes.first_chunk().map(|size| u32::from_ne_bytes(*size))?;
        if usize::try_from(size) != Ok(length) {
            return None;
        }
        let extent = Extent {
            known: length,
            beyond: 0,
        };
        Some(Self {
            at,
            extent,
            argument,
        })
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
