// SPDX-License-Identifier: MIT OR Apache-2.0

//! The tasks of `cargo xtask`, one file each.

pub(crate) mod bench;
pub(crate) mod campaign;
pub(crate) mod clean;
pub(crate) mod demo;
pub(crate) mod dist;
pub(crate) mod doctor;
pub(crate) mod generate;
pub(crate) mod kernel;
pub(crate) mod memblock;
pub(crate) mod msrv;
pub(crate) mod mutant;
pub(crate) mod self_test;
pub(crate) mod series;
pub(crate) mod test;
pub(crate) mod typed;
pub(crate) mod uapi_check;
pub(crate) mod vm_test;
