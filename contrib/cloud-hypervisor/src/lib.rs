// SPDX-License-Identifier: MIT OR Apache-2.0

//! The other end of Cloud Hypervisor's local live migration, which keeps the guest over an update of the host's kernel.
//!
//! Cloud Hypervisor sends a guest as memfds, a configuration and a state, and ends. [`receive()`] takes these;
//! [`custody`] preserves them in a session, and retrieves them in the next kernel; [`send()`] gives them to a new
//! Cloud Hypervisor, which cannot tell that from a migration. No byte of memory is copied.
//!
//! The protocol is that of `vm-migration/src/protocol.rs` of Cloud Hypervisor v53, version 0: [`protocol`].

#![forbid(unsafe_code)]

pub mod custody;
mod error;
pub mod protocol;
mod receive;
mod send;

use std::os::fd::OwnedFd;

pub use error::Error;
pub use receive::receive;
pub use send::send;

/// A guest that stands still: all that Cloud Hypervisor has of it.
#[derive(Debug, Default)]
pub struct Guest {
    /// Memory: the number of a slot, and its memfd. Several slots may be in one memfd.
    pub memory: Vec<(u32, OwnedFd)>,
    /// The configuration of the machine: JSON, which is not looked at.
    pub config: Vec<u8>,
    /// The state of virtual CPUs and devices, which is not looked at.
    pub state: Vec<u8>,
    /// Whether the guest ran when it was sent. Otherwise it was paused, and stays so.
    pub is_running: bool,
}
