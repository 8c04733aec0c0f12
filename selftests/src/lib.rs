// SPDX-License-Identifier: MIT OR Apache-2.0

//! The formats that host and guest of `cargo xtask vm-test` share, and the work of the guest.
//!
//! The host writes a [`plan::Plan`] onto the payload disk; a player in the guest, PID 1 or a unit of
//! systemd, carries it out, hop by hop, and writes KTAP to its second serial port, with
//! [`event::Event`]s as diagnostic lines.

pub mod abi;
pub mod agent;
pub mod control;
pub mod event;
pub mod free_memory;
pub mod guests;
pub mod kernel_log;
pub mod luctl;
pub mod measure;
pub mod mounts;
pub mod payload;
pub mod plan;
pub mod position;
pub mod program;
pub mod scenario;
pub mod systemd;
#[path = "../../kernel/liveupdate/test/abi.rs"]
pub mod test_device;
pub mod vmm;
pub mod witness;
