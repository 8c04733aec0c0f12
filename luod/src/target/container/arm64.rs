// SPDX-License-Identifier: MIT OR Apache-2.0

//! The arm64 Image: `Documentation/arch/arm64/booting.rst`.
//!
//! Its header has the size in memory, with what is not in the file. Only the sections of its header for
//! EFI say how long the file is.

use super::super::layer::Layer;
use super::super::unread::Unread;
use super::pe::Pe;

/// Whether `bytes` are the whole Image.
pub(in super::super) fn check(bytes: &[u8]) -> Result<(), Unread> {
    if !bytes.starts_with(b"MZ") {
        return Err(Unread::SizeUnknown);
    }
    Pe::parse(bytes, Layer::Arm64Image).map(drop)
}
