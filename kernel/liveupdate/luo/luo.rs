// SPDX-License-Identifier: GPL-2.0

//! The Live Update Orchestrator (LUO): files that outlive the kernel.
//!
//! A program preserves files in a named *session*; `reboot(LINUX_REBOOT_CMD_KEXEC)` freezes them and
//! hands them over; in the next kernel a program retrieves the session by its name, and the files by
//! the tokens under which they were preserved. What a file is made of is up to *handlers*; what
//! several files have in common is up to *file-lifecycle-bound objects* (FLBs).
//!
//! - [`device`]: `/dev/liveupdate`, which creates and retrieves sessions.
//! - [`session`]: the file descriptor of a session, outgoing or incoming, and its commands.
//! - [`registry`]: the two sets of sessions. The order of all locks is written down there.
//! - [`file_set`], [`file`]: the files of an outgoing session.
//! - [`handler`], [`flb`], [`identity`]: who preserves what, what depends on what, and what is
//!   preserved already.
//! - [`serialize`], [`deserialize`]: the way out and the way in; [`block_chain`] holds the memory
//!   of the way out.
//! - [`debugfs`]: which sessions there are, for root to read.
//! - [`boot`]: boot parameters and what is set up when.
//! - [`ffi`]: the border to C, and the only `unsafe`.
//!
//! Formats and rules that need no kernel are in the crate [`luo_core`]; numbers and structures of
//! the user-space ABI are in [`liveupdate_uapi`].

#![deny(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod block_chain;
mod boot;
mod command;
mod debugfs;
mod deserialize;
mod device;
mod ffi;
mod file;
mod file_set;
mod flb;
mod handler;
mod identity;
mod registry;
mod serialize;
mod session;
mod show;
mod state;

/// What `module!` would define if this could be a module.
struct LocalModule;

impl kernel::ModuleMetadata for LocalModule {
    const NAME: &'static kernel::str::CStr = c"luo";
    const THIS_MODULE: kernel::ThisModule = ffi::BUILT_IN;
}

/// What every line of the log begins with.
const __LOG_PREFIX: &[u8] = b"luo\0";
