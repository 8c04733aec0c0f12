// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bounds for what an image may cost.

const MIB: usize = 1 << 20;

/// Bounds for the reader of images. The default suits every kernel that is built today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub file: usize,
    /// Bytes that all streams of the image give when they are unpacked. No dictionary of a stream is
    /// larger. At most four times as many are in memory at once: a buffer that grows, and a dictionary.
    /// Beside them decoders have up to 16 MiB of their own.
    pub unpacked: usize,
    /// Layers around each other.
    pub layers: usize,
    /// Different strings that look like formats.
    pub strings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file: 1024 * MIB, unpacked: 512 * MIB, layers: 8, strings: 16 * 1024 }
    }
}
