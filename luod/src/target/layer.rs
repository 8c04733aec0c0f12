// SPDX-License-Identifier: MIT OR Apache-2.0

//! The layers of an image, told by their magic numbers.

use std::fmt;

use super::Unread;

/// One layer of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Unified kernel image: a program for EFI with a kernel in its section `.linux`.
    Uki,
    /// What x86 boots: a setup header, and a packed vmlinux.
    BzImage,
    /// A program for EFI that unpacks the kernel in it (`CONFIG_EFI_ZBOOT`).
    Zboot,
    /// What arm64 boots: the memory of the kernel.
    Arm64Image,
    /// vmlinux.
    Elf,
    /// A packed stream.
    Packed(Packing),
}

/// How a stream is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// lz4, as its tool writes it.
    Lz4,
    /// lz4 as the kernel's makefiles have it (`lz4 -l`).
    Lz4Legacy,
    /// bzip2.
    Bzip2,
    /// lzma, of the time before xz.
    Lzma,
    /// lzop. It is recognised, not unpacked.
    Lzo,
}

impl Packing {
    /// Magic numbers at the beginning of streams.
    const MAGIC: [(&[u8], Self); 8] = [
        (&[0x1F, 0x8B], Self::Gzip),
        (b"\xFD7zXZ\0", Self::Xz),
        (&0xFD2F_B528_u32.to_le_bytes(), Self::Zstd),
        (&0x184D_2204_u32.to_le_bytes(), Self::Lz4),
        (&0x184C_2102_u32.to_le_bytes(), Self::Lz4Legacy),
        (b"BZh", Self::Bzip2),
        // No magic number: the usual properties, and the low half of the dictionary's size.
        (&[0x5D, 0, 0], Self::Lzma),
        (b"\x89LZO\0\r\n\x1A\n", Self::Lzo),
    ];

    fn of(bytes: &[u8]) -> Option<Self> {
        Self::MAGIC.iter().find_map(|&(magic, packing)| bytes.starts_with(magic).then_some(packing))
    }
}

impl Layer {
    /// The outermost layer of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Unread> {
        let has =
            |at: usize, magic: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(magic));
        // The order matters: all that EFI can start begins with `MZ`.
        if has(0x202, b"HdrS") && has(0x1FE, &[0x55, 0xAA]) {
            Ok(Self::BzImage)
        } else if has(0x38, b"ARM\x64") {
            Ok(Self::Arm64Image)
        } else if has(0, b"MZ\0\0zimg") {
            Ok(Self::Zboot)
        } else if has(0, b"MZ") {
            Ok(Self::Uki)
        } else if has(0, b"\x7FELF") {
            Ok(Self::Elf)
        } else {
            Packing::of(bytes).map(Self::Packed).ok_or(Unread::Unrecognised)
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uki => "UKI",
            Self::BzImage => "bzImage",
            Self::Zboot => "EFI zboot",
            Self::Arm64Image => "arm64 Image",
            Self::Elf => "vmlinux",
            Self::Packed(packing) => return packing.fmt(f),
        })
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Lz4Legacy => "lz4 -l",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Lzo => "lzo",
        })
    }
}

/// The layers of an image, the outermost first. For people: `UKI > bzImage > zstd > vmlinux`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers(pub(super) Vec<Layer>);

impl Layers {
    /// The layers, the outermost first.
    pub fn as_slice(&self) -> &[Layer] {
        &self.0
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, layer) in self.0.iter().enumerate() {
            if depth > 0 {
                f.write_str(" > ")?;
            }
            layer.fmt(f)?;
        }
        Ok(())
    }
}
