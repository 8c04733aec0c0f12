// SPDX-License-Identifier: MIT OR Apache-2.0

//! Packed streams.

mod lz4;

use std::io::Read;

use lzma_rust2::{LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder;

use super::layer::Packing;
use super::unread::Unread;

/// Bytes of a stream, and no more of them than `room`, of which [`Unread::TooLarge`] tells `limit`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) left: usize,
    pub(super) limit: usize,
}

/// Unpacks the stream at the beginning of `bytes`. What follows it is ignored, as the kernel does.
/// `size` is what the image says of the size, if it does.
pub(super) fn unpack(
    packing: Packing,
    bytes: &[u8],
    size: Option<u32>,
    room: Room,
) -> Result<Vec<u8>, Unread> {
    let broken = |error: &dyn ToString| Unread::Stream(packing, error.to_string());
    // Larger dictionaries than this are refused, whatever they are needed for.
    let kib = u32::try_from(room.limit / 1024).unwrap_or(u32::MAX - 1);
    let unpacked = match packing {
        Packing::Gzip => drain(packing, &mut flate2::bufread::GzDecoder::new(bytes), room)?,
        Packing::Xz => drain(packing, &mut XzReader::new_mem_limit(bytes, false, kib), room)?,
        Packing::Lzma => {
            let mut reader =
                LzmaReader::new_mem_limit(bytes, kib, None).map_err(|error| broken(&error))?;
            reader.set_relaxed_end_condition(false);
            drain(packing, &mut reader, room)?
        }
        Packing::Bzip2 => drain(packing, &mut bzip2::bufread::BzDecoder::new(bytes), room)?,
        Packing::Zstd => zstd(bytes, room)?,
        Packing::Lz4 => lz4::frame(bytes, room)?,
        Packing::Lz4Legacy => lz4::legacy(bytes, size.is_some(), room)?,
        Packing::Lzo => return Err(Unread::Unsupported(packing)),
    };
    match size {
        // The kernel has 32 bits for it.
        #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32, as kbuild writes it")]
        Some(said) if said != unpacked.len() as u32 => {
            Err(Unread::Size { packing, got: unpacked.len(), said })
        }
        _ => Ok(unpacked),
    }
}

/// All that `reader` gives, if there is room.
fn drain(packing: Packing, reader: &mut dyn Read, room: Room) -> Result<Vec<u8>, Unread> {
    let mut unpacked = Vec::new();
    // One byte more than there is room for shows that there are too many.
    let most = (room.left as u64).saturating_add(1);
    match reader.take(most).read_to_end(&mut unpacked) {
        Ok(length) if length > room.left => Err(Unread::TooLarge(room.limit)),
        Ok(_) => Ok(unpacked),
        Err(error) => Err(Unread::Stream(packing, error.to_string())),
    }
}

fn zstd(bytes: &[u8], room: Room) -> Result<Vec<u8>, Unread> {
    let broken = |text: String| Unread::Stream(Packing::Zstd, text);
    // The kernel's makefiles ask for a window of 128 MiB, more than decoders take by default.
    let mut decoder = StreamingDecoder::new_with_max_window_size(bytes, room.limit as u64)
        .map_err(|error| broken(error.to_string()))?;
    let unpacked = drain(Packing::Zstd, &mut decoder, room)?;
    let frame = decoder.into_frame_decoder();
    match frame.get_checksum_from_data() {
        Some(said) if frame.get_calculated_checksum() != Some(said) => {
            Err(broken("its checksum is wrong".to_owned()))
        }
        _ => Ok(unpacked),
    }
}
