// SPDX-License-Identifier: GPL-2.0

//! The Live Update Orchestrator (LUO): files that outlive the kernel.
//!
//! A program preserves files in a named *session*; `reboot(LINUX_REBOOT_CMD_KEXEC)` freezes them
//! and hands them over; in the next kernel a program retrieves the session by its name, and the
//! files by the tokens under which they were preserved. *Handlers* know how files are saved and
//! restored; *file-lifecycle-bound state* (FLB) is shared by several files.
//!
//! # Floors
//!
//! A module imports only modules of its own floor that stand before it, and of the floors below:
//!
//! | floor | modules |
//! | --- | --- |
//! | 1 system | [`failure`], [`ffi`] (calls C), [`show`], [`command`], [`block_chain`], [`gate`] |
//! | 2 tables | [`identity`] (which files are held), [`flb`], [`handler`]; together [`tables`] |
//! | 3 files | [`file`], [`file_set`] (files for the next kernel), [`incoming_file`] |
//! | 4 sessions | [`session`]: outgoing and incoming |
//! | 5 registry | [`registry`]: the two sets of sessions |
//! | 6 state | [`state`]: everything there is, and the order of locks |
//! | 7 transitions | [`serialize`], [`deserialize`]: the way out and the way in |
//! | 8 endpoints | [`descriptor`] of a session, [`device`], [`debugfs`] |
//! | 9 boot | [`boot`]: parameters, and the only static that leads to the state |
//! | 10 exports | [`exports`]: the functions that C calls |
//!
//! All formatting is in [`show`]. [`block_chain`] is memory for the next kernel, and the [`gate`]
//! keeps `reboot(2)` and everything else apart. Below all of them are the crates [`luo_core`],
//! formats and rules that need no kernel, and [`liveupdate_uapi`], the user-space ABI.
//!
//! # The way of a session and of a token
//!
//! - Out: CREATE_SESSION comes to [`device`], which asks [`descriptor`] for a file; the session is
//!   made and named in [`registry`]. PRESERVE_FD comes to [`descriptor`]; [`session`] reserves the
//!   token in its [`file_set`], [`file`] finds the handler in [`tables`] and has the file
//!   preserved. `reboot(2)` comes to [`exports`]; [`serialize`] closes the [`gate`], and has each
//!   [`file_set`] freeze its files and write their tokens into a [`block_chain`], then writes the
//!   name of the session into another.
//! - In: [`boot`] has [`deserialize`] find the handover. The first open of the [`device`] reads the
//!   names and tokens into [`registry`] and [`session`]. RETRIEVE_SESSION finds the name there,
//!   RETRIEVE_FD the token in the session, and an [`incoming_file`] asks its handler for the file.
//!
//! [`file`]: mod@file

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
mod descriptor;
mod deserialize;
mod device;
mod exports;
mod failure;
mod ffi;
mod file;
mod file_set;
mod flb;
mod gate;
mod handler;
mod identity;
mod incoming_file;
mod registry;
mod serialize;
mod session;
mod show;
mod state;
mod tables;

/// The module type, which `module!` would define.
struct LocalModule;

impl kernel::ModuleMetadata for LocalModule {
    const NAME: &'static kernel::str::CStr = c"luo";
    const THIS_MODULE: kernel::ThisModule = ffi::BUILT_IN;
}

/// The beginning of each line in the log.
const __LOG_PREFIX: &[u8] = b"luo\0";
