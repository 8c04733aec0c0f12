// SPDX-License-Identifier: GPL-2.0

//! The format of a memfd in the handover: `memfd-v2`.
//!
//! Bit-compatible with Linux 7.3: `include/linux/kho/abi/memfd.h`, and `struct kho_vmalloc` of
//! `include/linux/kho/abi/kexec_handover.h` for the table of folios.
//!
//! - [`wire`]: the structures, and what is checked of each alone.
//! - [`table`]: the pages of the table, read without trust.
//! - [`run`]: adjacent folios, which are restored together, and the folios that are made of them.

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
