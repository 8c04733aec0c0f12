// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT

//! Commands on the file descriptor of a session.

use core::mem::{offset_of, size_of};

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::command::struct_size;
use crate::{Command, SESSION_NAME_LENGTH};

/// Preserves an open file in an outgoing session. An idle descriptor, whose session was finished,
/// gets an outgoing session of the same name by this.
///
/// # Errors
///
/// `EINVAL` on an incoming session, `EEXIST` if the token is used in this session (or, on an idle
/// descriptor, if an outgoing session has the name), `ENOSPC` if there are too many files
/// (630,000), `EBADF` for a bad file descriptor, `ENOENT` if no handler takes such files, `EBUSY`
/// if the file is preserved already, or the handler's error.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PreserveFd {
    /// Size of this structure, in bytes.
    pub size: u32,
    /// File to preserve.
    pub fd: i32,
    /// The caller's name for the file, unique in the session.
    pub token: u64,
}

impl PreserveFd {
    /// The argument that preserves `fd` under `token`.
    pub const fn new(fd: i32, token: u64) -> Self {
        Self {
            size: struct_size::<Self>(),
            fd,
            token,
        }
    }
}

impl Command for PreserveFd {
    const NR: u8 = 0x40;
    const MIN_SIZE: usize = offset_of!(Self, token) + size_of::<u64>();
}

/// Retrieves a preserved file from an incoming session.
///
/// # Errors
///
/// `EINVAL` on an outgoing session, `ENOENT` for an unknown token. A retrieve that failed once
/// fails for ever with the same error.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RetrieveFd {
    /// Size of this structure, in bytes.
    pub size: u32,
    /// Output: a new file descriptor for the file, close-on-exec.
    pub fd: i32,
    /// The token under which the file was preserved.
    pub token: u64,
}

impl RetrieveFd {
    /// The argument that retrieves the file with `token`.
    pub const fn new(token: u64) -> Self {
        Self {
            size: struct_size::<Self>(),
            fd: -1,
            token,
        }
    }
}

impl Command for RetrieveFd {
    const NR: u8 = 0x41;
    const MIN_SIZE: usize = offset_of!(Self, token) + size_of::<u64>();
}

/// Ends the restoration of an incoming session: the kernel gives up its hold on the files. The
/// descriptor is idle then: it holds nothing but the name, and the next update can use it. (Linux
/// 7.3's C implementation leaves it of no use.)
///
/// # Errors
///
/// `EINVAL` on an outgoing session or an idle descriptor, `EBUSY` if a file cannot be finished yet,
/// `EINTR` if a fatal signal ends the wait for another command; nothing has changed then.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Finish {
    /// Size of this structure, in bytes.
    pub size: u32,
    /// Must be zero.
    pub reserved: u32,
}

impl Finish {
    /// The argument that finishes the session.
    pub const fn new() -> Self {
        Self {
            size: struct_size::<Self>(),
            reserved: 0,
        }
    }
}

impl Default for Finish {
    fn default() -> Self {
        Self::new()
    }
}

impl Command for Finish {
    const NR: u8 = 0x42;
    const MIN_SIZE: usize = offset_of!(Self, reserved) + size_of::<u32>();
}

/// Reads the full name of a session, incoming, outgoing or idle.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetName {
    /// Size of this structure, in bytes.
    pub size: u32,
    /// Must be zero.
    pub reserved: u32,
    /// Output: NUL-terminated name.
    pub name: [u8; SESSION_NAME_LENGTH],
}

impl GetName {
    /// The argument that asks for the name.
    pub const fn new() -> Self {
        Self {
            size: struct_size::<Self>(),
            reserved: 0,
            name: [0; SESSION_NAME_LENGTH],
        }
    }
}

impl Default for GetName {
    fn default() -> Self {
        Self::new()
    }
}

impl Command for GetName {
    const NR: u8 = 0x43;
    const MIN_SIZE: usize = offset_of!(Self, name) + SESSION_NAME_LENGTH;
}

/// Reads in which state a session is, and what its kernel does with sessions.
///
/// A private extension: it is not in Linux's header, and its number is of the range that upstream
/// does not use. Kernels without it, as those with the C implementation, answer `EINVAL`, and later
/// ones may answer `ENOTTY`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetInfo {
    /// Size of this structure, in bytes.
    pub size: u32,
    /// Output: [`Self::OUTGOING`], [`Self::INCOMING`] or [`Self::IDLE`]. A later kernel may have
    /// more.
    pub state: u32,
    /// Output: bits that say how the kernel treats sessions. A later kernel may set more.
    pub features: u64,
}

impl GetInfo {
    /// The session is for the next kernel.
    pub const OUTGOING: u32 = 0;
    /// The session is of the previous kernel, and not finished.
    pub const INCOMING: u32 = 1;
    /// The session is finished. The first file that is preserved makes it an outgoing one.
    pub const IDLE: u32 = 2;

    /// Closing the last descriptor of an incoming session destroys nothing: it can be retrieved
    /// again, with the same open files.
    pub const RETRIEVE_AFTER_CLOSE: u64 = 1 << 0;
    /// FINISH leaves the session idle, so the next update can use the descriptor.
    pub const REUSE_AFTER_FINISH: u64 = 1 << 1;

    /// The argument that asks.
    pub const fn new() -> Self {
        Self {
            size: struct_size::<Self>(),
            state: 0,
            features: 0,
        }
    }
}

impl Default for GetInfo {
    fn default() -> Self {
        Self::new()
    }
}

impl Command for GetInfo {
    const NR: u8 = 0x80;
    const MIN_SIZE: usize = offset_of!(Self, features) + size_of::<u64>();
}

const _: () = assert!(size_of::<PreserveFd>() == 16 && size_of::<RetrieveFd>() == 16);
const _: () = assert!(size_of::<Finish>() == 8 && size_of::<GetName>() == 72);
const _: () = assert!(size_of::<GetInfo>() == 16);
