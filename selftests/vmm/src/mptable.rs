// SPDX-License-Identifier: MIT OR Apache-2.0

//! The processors and interrupts of the guest, in the table that came before ACPI
//! (Intel, MultiProcessor Specification 1.4).

use anyhow::{Context, Result};
use vm_memory::{Bytes as _, GuestAddress};

use crate::memory::GuestMemory;

/// Where the chips of every PC are.
const LOCAL_APIC: u32 = 0xfee0_0000;
const IO_APIC: u32 = 0xfec0_0000;

/// The only bus, ISA.
const BUS: u8 = 0;

/// Interrupts of the bus.
const INTERRUPTS: u8 = 16;

/// Writes the table to `place`, which is in the last KiB of low memory: the kernel looks for it there.
pub(crate) fn write(memory: &GuestMemory, place: u64, vcpus: u8) -> Result<()> {
    let pointer_size = 16;
    let table = u32::try_from(place + pointer_size).context("the place of the MP table")?;

    let mut pointer = Vec::from(*b"_MP_");
    pointer.extend(table.to_le_bytes());
    // Length in units of 16 bytes, version 1.4, checksum, and no default configuration.
    pointer.extend([1, 4, 0, 0, 0, 0, 0, 0]);
    set_checksum(&mut pointer, 10);

    let entries = entries(vcpus);
    let bytes: Vec<u8> = entries.concat();
    let length = u16::try_from(44 + bytes.len()).context("the length of the MP table")?;
    let mut header = Vec::from(*b"PCMP");
    header.extend(length.to_le_bytes());
    header.extend([4, 0]);
    header.extend(b"LIBLU   VMM         ");
    // No table of the vendor's.
    header.extend([0; 6]);
    header.extend(u16::try_from(entries.len()).context("the MP table")?.to_le_bytes());
    header.extend(LOCAL_APIC.to_le_bytes());
    header.extend([0; 4]);
    header.extend(bytes);
    set_checksum(&mut header, 7);

    let all = [pointer, header].concat();
    memory.write_slice(&all, GuestAddress(place)).context("write the MP table")
}

/// Sets the byte at `place` so that the sum of all is 0.
fn set_checksum(bytes: &mut [u8], place: usize) {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(checksum) = bytes.get_mut(place) {
        *checksum = sum.wrapping_neg();
    }
}

/// Processors, the bus, the I/O APIC, and where interrupts go.
fn entries(vcpus: u8) -> Vec<Vec<u8>> {
    const VERSION: u8 = 0x14;
    const ENABLED: u8 = 1;
    const BOOT: u8 = 2;
    const ALL_APICS: u8 = 0xff;
    let io_apic = vcpus;
    let mut entries = Vec::new();
    for number in 0..vcpus {
        let flags = if number == 0 { ENABLED | BOOT } else { ENABLED };
        let mut entry = vec![0, number, VERSION, flags];
        // Stepping, family and features: the kernel asks the processor.
        entry.extend([0; 16]);
        entries.push(entry);
    }
    entries.push([&[1, BUS][..], b"ISA   "].concat());
    entries.push([&[2, io_apic, VERSION, ENABLED][..], &IO_APIC.to_le_bytes()].concat());
    for pin in 0..INTERRUPTS {
        entries.push(vec![3, 0, 0, 0, BUS, pin, io_apic, pin]);
    }
    // The old controller, and the NMI, at the local APICs.
    entries.push(vec![4, 3, 0, 0, BUS, 0, ALL_APICS, 0]);
    entries.push(vec![4, 1, 0, 0, BUS, 0, ALL_APICS, 1]);
    entries
}
