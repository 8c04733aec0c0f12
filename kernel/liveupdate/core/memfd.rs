// SPDX-License-Identifier: GPL-2.0

//! The formats of a memfd in the handover: `memfd-v2`, and `memfd-v3` for those who ask for it.
//!
//! `memfd-v2` is bit-compatible with Linux 7.3: `include/linux/kho/abi/memfd.h`, and
//! `struct kho_vmalloc` of `include/linux/kho/abi/kexec_handover.h` for the table of folios.
//!
//! - [`wire`]: the structures, and what is checked of each alone.
//! - [`table`]: the pages of the table, read without trust.
//! - [`extent`]: the entries of `memfd-v3`.
//! - [`run`]: adjacent folios, which are restored together, and the folios that are made of them.

pub mod extent;
pub mod run;
pub mod table;
pub mod wire;

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "small numbers, and a test may panic"
)]
mod host_tests;
