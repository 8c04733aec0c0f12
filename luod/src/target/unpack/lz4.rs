// SPDX-License-Identifier: MIT OR Apache-2.0

//! Both kinds of lz4 streams.

use std::io::{self, Read};

use lz4_flex::block::decompress_into;
use lz4_flex::frame::FrameDecoder;

use super::super::layer::Packing;
use super::super::unread::Unread;
use super::{Room, drain};

/// A stream in the frames of the tool. `FrameDecoder` takes an end of the input between two blocks for
/// the end of the frame, so it is given an error there.
pub(super) fn frame(bytes: &[u8], room: Room) -> Result<Vec<u8>, Unread> {
    struct Unending<'a>(&'a [u8]);

    impl Read for Unending<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 if !buffer.is_empty() => {
                    Err(io::Error::new(io::ErrorKind::InvalidData, "it ends within a frame"))
                }
                length => Ok(length),
            }
        }
    }

    drain(Packing::Lz4, &mut FrameDecoder::new(Unending(bytes)), room)
}

/// Bytes in each block of a legacy stream but the last.
const BLOCK: usize = 8 << 20;
/// The longest that a packed block gets, if nothing in it can be packed (`LZ4_compressBound`).
const LONGEST: usize = BLOCK + BLOCK / 255 + 16;

/// A stream of `lz4 -l`: blocks with their lengths before them, and no mark at the end. A last block
/// that is full may have others behind it, so it is taken for the end only if the size of the whole is
/// checked later on (`sized`).
pub(super) fn legacy(bytes: &[u8], sized: bool, room: Room) -> Result<Vec<u8>, Unread> {
    let broken = |text: &str| Unread::Stream(Packing::Lz4Legacy, text.to_owned());
    let cut_off = || broken("it ends within a block");
    let (_magic, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let mut unpacked: Vec<u8> = Vec::new();
    let mut block = vec![0; BLOCK];
    let mut last = 0;
    while !rest.is_empty() {
        if last != BLOCK && !unpacked.is_empty() {
            return Err(broken("a block in the middle is not full"));
        }
        let (length, behind) = rest.split_first_chunk().ok_or_else(cut_off)?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > LONGEST {
            return Err(broken("a block is too long"));
        }
        let (packed, behind) = behind.split_at_checked(length).ok_or_else(cut_off)?;
        last = decompress_into(packed, &mut block).map_err(|error| broken(&error.to_string()))?;
        if last > room.left - unpacked.len() {
            return Err(Unread::TooLarge(room.limit));
        }
        unpacked.extend_from_slice(&block[..last]);
        rest = behind;
    }
    if !sized && (last == BLOCK || unpacked.is_empty()) {
        return Err(broken("it may be cut off after a block"));
    }
    Ok(unpacked)
}
