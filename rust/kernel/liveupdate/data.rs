// SPDX-License-Identifier: GPL-2.0

//! The data that a handler or an FLB hands over.

use crate::{
    kho,
    prelude::*, //
};

/// The number that crosses the kexec, with a type for this kernel and one for the next kernel.
///
/// [`u64`] is a number in both kernels. [`kho::Address`] is the address of [`kho::Preserved`]
/// memory, and [`kho::Incoming`] memory in the next kernel, so a handler restores its memory
/// without `unsafe` of its own.
pub trait Data: Copy + Send + Sync + 'static {
    /// The type in the next kernel.
    type Incoming: Send;

    /// The number for the next kernel.
    fn to_raw(self) -> u64;

    /// The number from the previous kernel, of which nothing is known.
    fn from_raw(raw: u64) -> Self;

    /// Takes the data over, in the next kernel.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the previous kernel cannot have handed this over.
    ///
    /// # Safety
    ///
    /// The caller must own the data that was handed over: it is taken once.
    unsafe fn take(self) -> Result<Self::Incoming>;
}

impl Data for u64 {
    type Incoming = u64;

    fn to_raw(self) -> u64 {
        self
    }

    fn from_raw(raw: u64) -> Self {
        raw
    }

    unsafe fn take(self) -> Result<u64> {
        Ok(self)
    }
}

impl Data for kho::Address {
    type Incoming = kho::Incoming;

    fn to_raw(self) -> u64 {
        self.phys()
    }

    fn from_raw(raw: u64) -> Self {
        Self::from_phys(raw)
    }

    unsafe fn take(self) -> Result<kho::Incoming> {
        // SAFETY: The caller promises that the memory is owned.
        unsafe { kho::Incoming::at(self.phys()) }.ok_or(EINVAL)
    }
}
