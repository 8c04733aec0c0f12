// SPDX-License-Identifier: MIT OR Apache-2.0

//! EFI zboot: `drivers/firmware/efi/libstub/zboot-header.S`.

use std::ops::Range;

use object::pe::{IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_ARM64};

use super::super::facts::Architecture;
use super::super::layer::Layer;
use super::super::unread::Unread;
use super::pe::Pe;
use super::{range, u32_at};

const PAYLOAD_OFFSET: usize = 8;
const PAYLOAD_SIZE: usize = 12;

/// What the header says. How the payload is packed is told by its magic number too.
#[derive(Debug)]
pub(in super::super) struct Zboot {
    pub(in super::super) architecture: Option<Architecture>,
    pub(in super::super) payload: Range<usize>,
}

impl Zboot {
    pub(in super::super) fn parse(bytes: &[u8]) -> Result<Self, Unread> {
        let cut_off = Unread::CutOff(Layer::Zboot);
        let word = |at| u32_at(bytes, at).map(u64::from).ok_or(cut_off.clone());
        let payload =
            range(bytes, word(PAYLOAD_OFFSET)?, word(PAYLOAD_SIZE)?).ok_or(cut_off.clone())?;
        let architecture = match Pe::parse(bytes, Layer::Zboot)?.machine() {
            IMAGE_FILE_MACHINE_ARM64 => Some(Architecture::Arm64),
            IMAGE_FILE_MACHINE_AMD64 => Some(Architecture::X86_64),
            _ => None,
        };
        Ok(Self { architecture, payload })
    }
}
