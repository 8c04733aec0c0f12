// SPDX-License-Identifier: MIT OR Apache-2.0

//! The toolchain root: a Debian folder that holds every tool that kernels and guests need.

mod enter;
mod host;
mod make;

pub(crate) use enter::Root;
pub(crate) use host::needs;
pub(crate) use make::{MIRROR, existing, host_settings, prepare, room, sweep};
