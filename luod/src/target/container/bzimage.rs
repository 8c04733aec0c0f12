// SPDX-License-Identifier: MIT OR Apache-2.0

//! bzImage: `Documentation/arch/x86/boot.rst`.

use std::ops::Range;

use super::super::facts::Architecture;
use super::super::layer::{Layer, Packing};
use super::super::unread::Unread;
use super::{range, text, u16_at, u32_at};

// Offsets of the setup header.
const SETUP_SECTORS: usize = 0x1F1;
const SYSTEM_SIZE: usize = 0x1F4;
const PROTOCOL: usize = 0x206;
const KERNEL_VERSION: usize = 0x20E;
const LOAD_FLAGS: usize = 0x236;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24C;

const SECTOR: usize = 512;
/// The first protocol with a payload in its header.
const WITH_PAYLOAD: u16 = 0x208;
/// The first protocol that says how the kernel may be entered.
const WITH_LOAD_FLAGS: u16 = 0x20C;
/// The kernel can be entered in 64-bit mode.
const KERNEL_64: u16 = 1;

/// What the headers of a bzImage say.
#[derive(Debug)]
pub(in super::super) struct BzImage {
    pub(in super::super) architecture: Architecture,
    pub(in super::super) release: Option<String>,
    /// The packed kernel.
    pub(in super::super) payload: Range<usize>,
    /// The size of the kernel when it is unpacked, which kbuild puts behind each payload.
    pub(in super::super) unpacked: u32,
}

impl BzImage {
    pub(in super::super) fn parse(bytes: &[u8]) -> Result<Self, Unread> {
        let cut_off = Unread::CutOff(Layer::BzImage);
        let word = |at| u32_at(bytes, at).ok_or(cut_off.clone());
        let protocol = u16_at(bytes, PROTOCOL).ok_or(cut_off.clone())?;
        if protocol < WITH_PAYLOAD {
            return Err(Unread::OldProtocol(protocol));
        }
        // 0 means 4, as before the field was there.
        let sectors = match bytes.get(SETUP_SECTORS) {
            None => return Err(cut_off),
            Some(0) => 4,
            Some(&sectors) => usize::from(sectors),
        };
        let setup = (sectors + 1) * SECTOR;
        // In paragraphs of 16 bytes.
        let system = u64::from(word(SYSTEM_SIZE)?) * 16;
        let system = range(bytes, setup as u64, system).ok_or(cut_off.clone())?;
        let payload = range(
            &bytes[..system.end],
            setup as u64 + u64::from(word(PAYLOAD_OFFSET)?),
            u64::from(word(PAYLOAD_LENGTH)?),
        )
        .ok_or(Unread::Damaged(Layer::BzImage, "its payload lies beyond its end"))?;
        let Some((packed, size)) = bytes[payload.clone()].split_last_chunk() else {
            return Err(Unread::Damaged(Layer::BzImage, "its payload is too small"));
        };
        // gzip ends with the size by itself. Behind all others kbuild appends it.
        let end = match Layer::of(packed) {
            Ok(Layer::Packed(Packing::Gzip)) => payload.end,
            Ok(Layer::Packed(_)) => payload.start + packed.len(),
            _ => return Err(Unread::Damaged(Layer::BzImage, "its payload is no packed stream")),
        };
        Ok(Self {
            architecture: architecture(bytes, protocol),
            release: release(bytes, setup),
            payload: payload.start..end,
            unpacked: u32::from_le_bytes(*size),
        })
    }
}

fn architecture(bytes: &[u8], protocol: u16) -> Architecture {
    let flags = u16_at(bytes, LOAD_FLAGS).filter(|_| protocol >= WITH_LOAD_FLAGS);
    if flags.is_some_and(|flags| flags & KERNEL_64 != 0) {
        Architecture::X86_64
    } else {
        Architecture::X86
    }
}

/// The first word of the version string, which lies within the setup.
fn release(bytes: &[u8], setup: usize) -> Option<String> {
    let at = usize::from(u16_at(bytes, KERNEL_VERSION).filter(|&at| at != 0)?) + 0x200;
    let text = text(bytes.get(at..setup)?);
    text.split_ascii_whitespace().next().map(str::to_owned)
}
