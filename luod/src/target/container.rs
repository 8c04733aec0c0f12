// SPDX-License-Identifier: MIT OR Apache-2.0

//! The headers of images: where in the bytes the next layer is.

pub(super) mod arm64;
pub(super) mod bzimage;
pub(super) mod elf;
pub(super) mod pe;
pub(super) mod uki;
pub(super) mod zboot;

use std::ops::Range;

/// The little-endian number at `at`.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

/// The little-endian number at `at`.
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// The range of `length` bytes from `start`, if it lies in `bytes`.
fn range(bytes: &[u8], start: u64, length: u64) -> Option<Range<usize>> {
    let start = usize::try_from(start).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}

/// The text at the beginning of `bytes`, to its NUL or its end.
fn text(bytes: &[u8]) -> String {
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned()
}
