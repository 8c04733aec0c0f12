// SPDX-License-Identifier: MIT OR Apache-2.0

//! vmlinux: the parts of an ELF file that the kernel has in memory.

use std::ops::Range;

use object::Endianness;
use object::elf::{ELFCLASS32, FileClass};
use object::elf::{EM_386, EM_AARCH64, EM_X86_64, FileHeader32, FileHeader64, PT_LOAD, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};

use super::super::facts::Architecture;
use super::super::layer::Layer;
use super::super::unread::Unread;
use super::range;

/// Section that upstream discusses.
const FEATURES: &[u8] = b".liveupdate_features\0";

/// Place of the class, 32 or 64 bits (`EI_CLASS`).
const CLASS: usize = 4;

/// What an ELF file has of a kernel.
#[derive(Debug)]
pub(in super::super) struct Elf {
    pub(in super::super) architecture: Architecture,
    /// The bytes that are loaded: sorted, and none of them twice.
    pub(in super::super) loaded: Vec<Range<usize>>,
    /// The section `.liveupdate_features`.
    pub(in super::super) features: Option<Range<usize>>,
}

const CUT_OFF: Unread = Unread::CutOff(Layer::Elf);

impl Elf {
    pub(in super::super) fn parse(bytes: &[u8]) -> Result<Self, Unread> {
        if bytes.get(CLASS).copied().map(FileClass) == Some(ELFCLASS32) {
            Self::parse_class::<FileHeader32<Endianness>>(bytes)
        } else {
            Self::parse_class::<FileHeader64<Endianness>>(bytes)
        }
    }

    fn parse_class<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Self, Unread> {
        let damaged = |what| move |_| Unread::Damaged(Layer::Elf, what);
        let header = H::parse(bytes).map_err(damaged("its header is none of ELF"))?;
        let endian = header.endian().map_err(damaged("its header is none of ELF"))?;
        let segments = header.program_headers(endian, bytes).map_err(|_| CUT_OFF)?;
        let mut loaded = Vec::new();
        for segment in segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD) {
            let (start, length) = segment.file_range(endian);
            loaded.push(range(bytes, start, length).ok_or(CUT_OFF)?);
        }
        if loaded.is_empty() {
            return Err(Unread::Damaged(Layer::Elf, "it has nothing to load, so it does not boot"));
        }
        Ok(Self {
            architecture: match header.e_machine(endian) {
                EM_X86_64 => Architecture::X86_64,
                EM_386 => Architecture::X86,
                EM_AARCH64 => Architecture::Arm64,
                other => Architecture::Other(other.0),
            },
            loaded: merged(loaded),
            features: features(header, endian, bytes)?,
        })
    }
}

/// The same bytes in ranges that are sorted and do not touch. Segments may overlap without number, and
/// their bytes are read once.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The section of features, after all sections are found to lie in the file. Names are compared in
/// place: a table of names may be as large as the file.
fn features<H: FileHeader<Endian = Endianness>>(
    header: &H,
    endian: Endianness,
    bytes: &[u8],
) -> Result<Option<Range<usize>>, Unread> {
    let sections = header.section_headers(endian, bytes).map_err(|_| CUT_OFF)?;
    let mut places = Vec::with_capacity(sections.len());
    for section in sections {
        let empty = section.sh_type(endian) == SHT_NOBITS;
        let (start, length) = (section.sh_offset(endian).into(), section.sh_size(endian).into());
        places.push(if empty { Some(0..0) } else { range(bytes, start, length) }.ok_or(CUT_OFF)?);
    }
    let Ok(names) = header.shstrndx(endian, bytes).map(|index| index as usize) else {
        return Ok(None);
    };
    let Some(names) = places.get(names).map(|place| &bytes[place.clone()]) else { return Ok(None) };
    let index = sections.iter().position(|section| {
        let name = names.get(section.sh_name(endian) as usize..);
        name.is_some_and(|name| name.starts_with(FEATURES))
    });
    Ok(index.map(|index| places[index].clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_are_one() {
        assert_eq!(merged(vec![5..9, 0..4, 1..2, 8..12, 12..13]), [0..4, 5..13]);
        assert_eq!(merged(vec![0..0, 0..10, 0..10, 20..21]), [0..10, 20..21]);
    }
}
