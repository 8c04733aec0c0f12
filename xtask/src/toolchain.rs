// SPDX-License-Identifier: MIT OR Apache-2.0

//! The toolchain root: a Debian folder that holds every tool that kernels and guests need.

mod apt;
mod bootstrap;
mod enter;
mod host;
mod make;

pub(crate) use apt::Apt;
pub(crate) use bootstrap::{Bootstrap, MIRROR, host_settings};
pub(crate) use enter::{Ids, Root};
pub(crate) use host::needs;
pub(crate) use make::{existing, prepare, room, sweep};
