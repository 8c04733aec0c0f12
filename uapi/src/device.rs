// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT

//! Commands on `/dev/liveupdate`.

use core::mem::{offset_of, size_of};

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::command::struct_size;
use crate::{Command, SESSION_NAME_LENGTH};

/// Creates an outgoing session and returns a file descriptor for it.
///
/// # Errors
///
/// `EINVAL` if the name is empty or not NUL-terminated, `EEXIST` if an outgoing session has it,
/// `ENOSPC` if there are too many sessions (510,000).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateSession {
    /// Size of this structure, in bytes.
    pub size: u32,
    /// Output: the session's file descriptor, close-on-exec.
    pub fd: i32,
    /// NUL-terminated name.
    pub name: [u8; SESSION_NAME_LENGTH],
}

impl CreateSession {
    /// The argument that creates the session `name`.
    pub const fn new(name: [u8; SESSION_NAME_LENGTH]) -> Self {
        Self {
            size: struct_size::<Self>(),
            fd: -1,
            name,
        }
    }
}

impl Command for CreateSession {
    const NR: u8 = 0x00;
    const MIN_SIZE: usize = offset_of!(Self, name) + SESSION_NAME_LENGTH;
}

/// Takes over a session that the previous kernel handed to this one.
///
/// # Errors
///
/// `ENOENT` if no incoming session has the name, `EINVAL` while another file descriptor holds it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RetrieveSession {
    /// Size of this structure, in bytes.
    pub size: u32,
    /// Output: the session's file descriptor, close-on-exec.
    pub fd: i32,
    /// NUL-terminated name, exactly as it was created.
    pub name: [u8; SESSION_NAME_LENGTH],
}

impl RetrieveSession {
    /// The argument that retrieves the session `name`.
    pub const fn new(name: [u8; SESSION_NAME_LENGTH]) -> Self {
        Self {
            size: struct_size::<Self>(),
            fd: -1,
            name,
        }
    }
}

impl Command for RetrieveSession {
    const NR: u8 = 0x01;
    const MIN_SIZE: usize = offset_of!(Self, name) + SESSION_NAME_LENGTH;
}

const _: () = assert!(size_of::<CreateSession>() == 72 && size_of::<RetrieveSession>() == 72);
