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
//! - `EINVAL`: the size is below [`Command::MIN_SIZE`], a reserved field is not zero, or a field
//!   has a value that makes no sense.
//! - `E2BIG`: bytes beyond what the kernel knows are not zero.
//! - `EOPNOTSUPP`: a known field asks for what this kernel does not do.
//!
//! The authority is `include/uapi/linux/liveupdate.h` of Linux 7.3.

// Kbuild says it for every crate.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

mod command;
mod device;
mod session;

pub use command::{Command, TYPE};
pub use device::{CreateSession, RetrieveSession};
pub use session::{Finish, GetName, PreserveFd, RetrieveFd};

/// Path of the device node.
pub const DEVICE: &str = "/dev/liveupdate";

/// Bytes of a session name on the wire, the terminating NUL included.
pub const SESSION_NAME_LENGTH: usize = 64;
