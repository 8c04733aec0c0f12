// SPDX-License-Identifier: MIT OR Apache-2.0

//! The agent of live updates.
//!
//! [`owner`] and [`label`] say whose session is meant, and which. [`policy`] says who may take part in
//! updates, and how. [`update`] is the state machine of an update. [`custody`] says who holds which session,
//! and [`registry`] remembers it over restarts. [`target`] reads the image of the next kernel, and says
//! whether that kernel can take over what this one hands over.

#![forbid(unsafe_code)]

pub mod agent;
pub mod custody;
pub mod label;
pub mod owner;
pub mod policy;
pub mod polled;
pub mod process;
pub mod registry;
pub mod server;
pub mod system;
pub mod target;
pub mod update;
pub mod varlink;
