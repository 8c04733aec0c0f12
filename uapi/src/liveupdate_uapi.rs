// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT

//! The user-space ABI of the Live Update Orchestrator (LUO).
//!
//! `/dev/liveupdate` creates and retrieves named *sessions*; the file descriptor of a session
//! preserves files, retrieves them in the next kernel, and is finished. Every command takes a
//! pointer to a structure whose first member is its size, so that both sides can grow.
//!
//! # Errors
//!
//! Errors that mean the same for every command, in the order in which they are checked:
//!
//! - `ENOTTY`: no such command on this file. Linux 7.3's C implementation says `EINVAL` for numbers
//!   beyond those it knows, and reads the size word before it looks at type and direction.
//! - `EFAULT`: the size word cannot be read.
//! - `EINVAL`: the size is below [`Command::MIN_SIZE`].
//! - `E2BIG`: bytes that the kernel does not know are not zero.
//! - `EINVAL`: a reserved field is not zero, a field has a value that makes no sense, or the
//!   command is not for sessions of this direction.
//! - `EBUSY`: `reboot(2)` has begun. C waits until it has failed, or for ever.
//! - `EMFILE`, `ENFILE`, `ENOMEM`: no descriptor, file or memory.
//! - `EFAULT`: the reply cannot be written; nothing has happened then (in C, the command has).
//!
//! Opening the device is `EBUSY` while another process has it open, and `EIO` if the handover of
//! the previous kernel cannot be used.
//!
//! The authority is `include/uapi/linux/liveupdate.h` of Linux 7.3. [`GetInfo`] alone is a private
//! extension of the Rust implementation.

// Kbuild says it for every crate.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

mod command;
mod device;
mod session;

pub use command::{Command, TYPE};
pub use device::{CreateSession, RetrieveSession};
pub use session::{Finish, GetInfo, GetName, PreserveFd, RetrieveFd};

/// Path of the device node.
pub const DEVICE: &str = "/dev/liveupdate";

/// Bytes of a session name on the wire, the terminating NUL included.
pub const SESSION_NAME_LENGTH: usize = 64;
