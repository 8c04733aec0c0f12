// SPDX-License-Identifier: MIT OR Apache-2.0

//! Packed streams.

use std::io::{Read as _, Write as _};

use luod::target::Packing;
use lz4_flex::frame::{FrameEncoder, FrameInfo};
use lzma_rust2::{FilterConfig, FilterType, LzmaOptions, LzmaWriter, XzOptions, XzWriter};

/// All that are unpacked.
pub(crate) const PACKINGS: [Packing; 7] = [
    Packing::Gzip,
    Packing::Xz,
    Packing::Zstd,
    Packing::Lz4,
    Packing::Lz4Legacy,
    Packing::Bzip2,
    Packing::Lzma,
];

/// A stream that unpacks to `bytes`.
pub(crate) fn pack(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    match packing {
        Packing::Gzip => {
            let mut reader = flate2::read::GzEncoder::new(bytes, flate2::Compression::best());
            reader.read_to_end(&mut packed).unwrap();
        }
        Packing::Xz => {
            // As the kernel's makefiles do it.
            let mut options = XzOptions::with_preset(0);
            options
                .filters
                .insert(0, FilterConfig { filter_type: FilterType::BcjX86, property: 0 });
            let mut writer = XzWriter::new(&mut packed, options).unwrap();
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Packing::Zstd => {
            packed = ruzstd::encoding::compress_to_vec(
                bytes,
                ruzstd::encoding::CompressionLevel::Fastest,
            );
        }
        Packing::Lz4 => {
            let info = FrameInfo::new().content_checksum(true);
            let mut writer = FrameEncoder::with_frame_info(info, &mut packed);
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Packing::Lz4Legacy => {
            packed.extend(0x184C_2102_u32.to_le_bytes());
            for block in bytes.chunks(8 << 20) {
                let block = lz4_flex::block::compress(block);
                packed.extend(super::size(&block).to_le_bytes());
                packed.extend(block);
            }
        }
        Packing::Bzip2 => {
            let mut reader = bzip2::read::BzEncoder::new(bytes, bzip2::Compression::best());
            reader.read_to_end(&mut packed).unwrap();
        }
        Packing::Lzma => {
            let options = LzmaOptions::with_preset(0);
            let mut writer = LzmaWriter::new_use_header(&mut packed, &options, None).unwrap();
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Packing::Lzo => packed.extend(b"\x89LZO\0\r\n\x1A\n\x10\x40"),
    }
    packed
}
