// SPDX-License-Identifier: MIT OR Apache-2.0

//! The agent with real sockets and real clients, on a fake kernel and under a fake service manager.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod attackers;
mod host;
mod owners;
mod sessions;
mod updates;
