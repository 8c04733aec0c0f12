// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs for EFI: the sections of a PE file, all of which lie in the file.

use std::ops::Range;

use object::LittleEndian as LE;
use object::pe::IMAGE_DIRECTORY_ENTRY_SECURITY;
use object::read::pe::{ImageNtHeaders as _, PeFile64};

use super::super::layer::Layer;
use super::super::unread::Unread;
use super::range;

/// A PE file of 64 bits that is whole.
#[derive(Debug)]
pub(super) struct Pe<'a> {
    bytes: &'a [u8],
    file: PeFile64<'a>,
}

impl<'a> Pe<'a> {
    /// The file, of which `layer` is told in errors.
    pub(super) fn parse(bytes: &'a [u8], layer: Layer) -> Result<Self, Unread> {
        let file = PeFile64::parse(bytes)
            .map_err(|_| Unread::Damaged(layer, "its PE header is none of a 64-bit program"))?;
        for section in file.section_table().iter() {
            let start = section.pointer_to_raw_data.get(LE).into();
            let length = section.size_of_raw_data.get(LE).into();
            range(bytes, start, length).ok_or(Unread::CutOff(layer))?;
        }
        // The signature lies behind the sections. The address of this directory is a place in the file.
        if let Some(directory) = file.data_directory(IMAGE_DIRECTORY_ENTRY_SECURITY) {
            let start = directory.virtual_address.get(LE).into();
            range(bytes, start, directory.size.get(LE).into()).ok_or(Unread::CutOff(layer))?;
        }
        Ok(Self { bytes, file })
    }

    /// The machine that the program runs on.
    pub(super) fn machine(&self) -> object::pe::Machine {
        self.file.nt_headers().file_header().machine.get(LE)
    }

    /// The places of all sections of this name, without the padding to the alignment of files.
    pub(super) fn sections(&self, name: &'static [u8]) -> impl Iterator<Item = Range<usize>> {
        let table = self.file.section_table();
        let named = table.iter().filter(move |section| section.raw_name() == name);
        named.filter_map(|section| {
            let (start, length) = section.pe_file_range();
            range(self.bytes, start.into(), length.into())
        })
    }
}
