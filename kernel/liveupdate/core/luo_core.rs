// SPDX-License-Identifier: GPL-2.0

//! The pure part of the Live Update Orchestrator: formats, rules and decisions.
//!
//! Nothing here allocates, sleeps, or knows of the kernel: slices go in, decisions come out. The
//! same files are compiled by Kbuild and by cargo, so that their tests run as KUnit in a kernel and
//! under `cargo test`, Miri and fuzzers on a host.
//!
//! Modules import only those above them in this list:
//!
//! - [`damage`]: why a handover cannot be used.
//! - [`name`]: names of sessions, handlers and file-lifecycle-bound state (FLB).
//! - [`token`]: the names of files, and how files are found by them.
//! - [`wire`]: the format of the handover, bit for bit.
//! - [`chain`]: chains of blocks, read without trust and written without allocation.
//! - [`handover`]: the whole handover, read without trust.
//! - [`refs`]: which user is the first and which the last.
//! - [`lifecycle`]: the state of a retrieval.
//! - [`memfd`]: the format of a memfd, and its folios by runs.
//! - [`command`]: how much of an extensible command is read, checked and answered.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod chain;
pub mod command;
pub mod damage;
pub mod handover;
#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers, and a test may panic"
)]
mod host_pages;
pub mod lifecycle;
pub mod memfd;
pub mod name;
pub mod refs;
pub mod token;
pub mod wire;
