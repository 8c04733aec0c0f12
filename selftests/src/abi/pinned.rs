// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that is pinned for long, as for DMA: a registered buffer of io_uring(7).

use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::ptr;

use rustix::io::Result;
use rustix::io_uring::{
    IoringRegisterOp, io_uring_params, io_uring_register, io_uring_setup, iovec,
};

use super::mapped::MappedMut;

/// Pins, until this is dropped.
#[derive(Debug)]
pub struct Pinned(#[expect(dead_code, reason = "it is closed when this is dropped")] OwnedFd);

impl Pinned {
    /// Pins all pages of a mapping.
    pub fn all(mapped: &MappedMut) -> Result<Self> {
        let mut parameters = io_uring_params::default();
        // SAFETY: The parameters ask for nothing, and the rings are not mapped.
        let ring = unsafe { io_uring_setup(1, &mut parameters) }?;
        let (memory, bytes) = mapped.whole();
        let buffer = iovec { iov_base: memory, iov_len: bytes };
        let buffer: *const c_void = ptr::from_ref(&buffer).cast();
        // SAFETY: One buffer is passed. The kernel pins its pages, and no request is made that writes there.
        unsafe {
            io_uring_register(&ring, IoringRegisterOp::RegisterBuffers, buffer.cast_mut(), 1)
        }?;
        Ok(Self(ring))
    }
}
