// SPDX-License-Identifier: MIT OR Apache-2.0

//! ELF files as the linker makes them, as far as a loader looks.

use super::{put, size};

/// vmlinux of x86-64 with this memory.
pub(crate) fn elf(memory: &[u8]) -> Vec<u8> {
    elf_with(memory, &[], None)
}

/// vmlinux with bytes that are not loaded, and with a section `.liveupdate_features`.
pub(crate) fn elf_with(memory: &[u8], not_loaded: &[u8], features: Option<&[u8]>) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.shstrtab\0.liveupdate_features\0.debug\0.bss\0";
    let mut file = vec![0; 64 + 56];
    put(&mut file, 0, b"\x7FELF\x02\x01\x01");
    put(&mut file, 16, &[2, 0, 62, 0, 1]);
    put(&mut file, 32, &[64]);
    put(&mut file, 52, &[64, 0, 56, 0, 1, 0, 64, 0]);

    let mut sections = vec![[0; 64]];
    let mut section = |name: u8, kind: u8, content: &[u8], file: &mut Vec<u8>| {
        let mut header = [0; 64];
        header[0] = name;
        header[4] = kind;
        header[24..28].copy_from_slice(&size(file).to_le_bytes());
        header[32..36].copy_from_slice(&size(content).to_le_bytes());
        if kind == 8 {
            // `.bss` is in memory only, with any size.
            header[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        }
        file.extend(content);
        sections.push(header);
    };
    let offset = size(&file);
    file.extend(memory);
    let segment = 64;
    put(&mut file, segment, &[1, 0, 0, 0, 5]);
    put(&mut file, segment + 8, &offset.to_le_bytes());
    put(&mut file, segment + 32, &size(memory).to_le_bytes());
    section(1, 3, NAMES, &mut file);
    if let Some(features) = features {
        section(11, 1, features, &mut file);
    }
    section(32, 1, not_loaded, &mut file);
    section(39, 8, &[], &mut file);
    let table = size(&file);
    put(&mut file, 40, &table.to_le_bytes());
    put(&mut file, 60, &[u8::try_from(sections.len()).unwrap(), 0, 1]);
    file.extend(sections.concat());
    file
}

/// vmlinux of 32-bit x86 with this memory and no sections.
pub(crate) fn elf32(memory: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 52 + 32];
    put(&mut file, 0, b"\x7FELF\x01\x01\x01");
    put(&mut file, 16, &[2, 0, 3, 0, 1]);
    put(&mut file, 28, &[52]);
    put(&mut file, 40, &[52, 0, 32, 0, 1]);
    put(&mut file, 52, &[1, 0, 0, 0, 84]);
    put(&mut file, 52 + 16, &size(memory).to_le_bytes());
    file.extend(memory);
    file
}
