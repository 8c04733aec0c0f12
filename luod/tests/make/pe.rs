// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs for EFI.

use super::{put, size};

/// Alignment of sections in the file.
const ALIGN: usize = 512;
/// Bytes before the first section.
const HEADERS: usize = 2 * ALIGN;

/// A program with these sections.
pub(crate) fn efi_program(sections: &[(&[u8], &[u8])]) -> Vec<u8> {
    program(&[], sections)
}

/// An EFI zboot image of arm64 around a packed stream.
pub(crate) fn zboot(payload: &[u8], method: &[u8]) -> Vec<u8> {
    let mut head = vec![0; 64];
    put(&mut head, 4, b"zimg");
    let offset = u32::try_from(HEADERS + ALIGN + 16).unwrap();
    put(&mut head, 8, &offset.to_le_bytes());
    put(&mut head, 12, &size(payload).to_le_bytes());
    put(&mut head, 24, method);
    let data = [&[0; 16][..], payload, &[0; 4]].concat();
    program(&head, &[(b".text", b"code"), (b".data", &data)])
}

/// An Image with this memory behind its header.
pub(crate) fn arm64_image(memory: &[u8]) -> Vec<u8> {
    let mut head = vec![0; 64];
    put(&mut head, 0x38, b"ARM\x64");
    program(&head, &[(b".text", memory)])
}

/// An Image without a header for EFI.
pub(crate) fn bare_arm64_image(memory: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 64];
    put(&mut image, 0x38, b"ARM\x64");
    image.extend(memory);
    image
}

/// A PE file for arm64, with more than `MZ` in the first header.
fn program(head: &[u8], sections: &[(&[u8], &[u8])]) -> Vec<u8> {
    const OPTIONAL: usize = 112 + 16 * 8;
    let mut file = vec![0; HEADERS];
    put(&mut file, 0, head);
    put(&mut file, 0, b"MZ");
    put(&mut file, 0x3C, &[64]);
    put(&mut file, 64, b"PE\0\0\x64\xAA");
    put(&mut file, 70, &[u8::try_from(sections.len()).unwrap()]);
    put(&mut file, 84, &[u8::try_from(OPTIONAL).unwrap()]);
    put(&mut file, 88, &[0x0B, 0x02]);
    // Alignments in memory and file, and the number of directories.
    put(&mut file, 88 + 32, &4096_u32.to_le_bytes());
    put(&mut file, 88 + 36, &[0, 2]);
    put(&mut file, 88 + 108, &[16]);
    for (index, (name, content)) in sections.iter().enumerate() {
        let header = 88 + OPTIONAL + index * 40;
        let start = size(&file);
        put(&mut file, header, name);
        put(&mut file, header + 8, &size(content).to_le_bytes());
        put(&mut file, header + 12, &(4096 * (1 + u32::try_from(index).unwrap())).to_le_bytes());
        file.extend(*content);
        file.resize(file.len().next_multiple_of(ALIGN), 0);
        let length = size(&file) - start;
        put(&mut file, header + 16, &length.to_le_bytes());
        put(&mut file, header + 20, &start.to_le_bytes());
    }
    file
}
