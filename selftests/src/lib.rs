// SPDX-License-Identifier: MIT OR Apache-2.0

//! What host and guest of `cargo xtask vm-test` agree on, and what the guest does.
//!
//! The host writes a [`plan::Plan`] onto the payload disk; the guest's PID 1 carries it out, hop by
//! hop, and speaks KTAP on its second serial port, with [`event::Event`]s as diagnostic lines.

#![deny(unsafe_code)]

pub mod abi;
pub mod event;
pub mod measure;
pub mod payload;
pub mod plan;
pub mod scenario;
#[path = "../../kernel/liveupdate/test/abi.rs"]
pub mod test_device;
