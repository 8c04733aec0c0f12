// SPDX-License-Identifier: MIT OR Apache-2.0

//! Small images.

mod elf;
mod pack;
mod pe;

pub(crate) use elf::{elf, elf_with, elf32};
pub(crate) use pack::{PACKINGS, pack};
pub(crate) use pe::{arm64_image, bare_arm64_image, efi_program, zboot};

use luod::target::Packing;

/// What a kernel of 7.3 has in memory, with strings as in real images.
pub(crate) fn memory() -> Vec<u8> {
    memory_with(
        b"is invalid: %d\n\0kho-v4\0in\0H\xB8luo-v5\0\0H\x89\xFF\xFFmemfd-v2\0\0\0\0liveupdate\0",
    )
}

/// The same without LUO.
pub(crate) fn memory_with(strings: &[u8]) -> Vec<u8> {
    let mut memory = b"\0Linux version 7.3.4-test (a@b) (rustc 1.95) #1 SMP\n\0".to_vec();
    memory.extend(strings);
    // Enough of what cannot be packed, so that a stream has more than its headers.
    let mut number = 1_u32;
    memory.extend((0..600).map(|_| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        number.to_be_bytes()[0] | 0x80
    }));
    memory.push(0);
    memory
}

/// A configuration as it lies in a kernel.
pub(crate) fn config(text: &str) -> Vec<u8> {
    [b"IKCFG_ST", &pack(Packing::Gzip, text.as_bytes())[..], b"IKCFG_ED"].concat()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The number of bytes as the formats have it.
fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

/// A bzImage with a kernel that is packed.
pub(crate) fn bzimage(packing: Packing, kernel: &[u8]) -> Vec<u8> {
    let mut payload = pack(packing, kernel);
    if packing != Packing::Gzip {
        payload.extend(size(kernel).to_le_bytes());
    }
    bzimage_of(&payload)
}

/// A bzImage with any payload, within code of 48 bytes before and some behind it.
pub(crate) fn bzimage_of(payload: &[u8]) -> Vec<u8> {
    let mut system = [&[0x90; 48][..], payload].concat();
    system.resize(system.len().next_multiple_of(16) + 32, 0x90);
    let mut image = vec![0; 3 * 512];
    put(&mut image, 0, b"MZ");
    image[0x1F1] = 2;
    put(&mut image, 0x1F4, &(size(&system) / 16).to_le_bytes());
    put(&mut image, 0x1FE, &[0x55, 0xAA]);
    put(&mut image, 0x202, b"HdrS\x0F\x02");
    put(&mut image, 0x20E, &0x200_u16.to_le_bytes());
    image[0x236] = 1;
    put(&mut image, 0x248, &48_u32.to_le_bytes());
    put(&mut image, 0x24C, &size(payload).to_le_bytes());
    put(&mut image, 0x400, b"7.3.4-setup (a@b) #1\0");
    image.extend(system);
    image
}

/// A UKI around a kernel.
pub(crate) fn uki(kernel: &[u8]) -> Vec<u8> {
    efi_program(&[
        (b".text", b"code"),
        (b".osrel", b"ID=debian\n"),
        (b".cmdline", b"liveupdate=on quiet\0"),
        (b".uname", b"7.3.4-uname"),
        (b".linux", kernel),
    ])
}
