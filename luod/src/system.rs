// SPDX-License-Identifier: MIT OR Apache-2.0

//! The machine as luod sees it: processes, names, the fd store, and the ways to leave the kernel.

pub mod boot;
pub mod formats;
pub mod logind;
pub mod names;
pub mod notify;
pub mod peer;
pub mod store;
