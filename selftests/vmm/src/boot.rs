// SPDX-License-Identifier: MIT OR Apache-2.0

//! A new guest: the kernel in its memory, and its first virtual CPU as Linux wants it
//! (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").

use std::fs::File;

use anyhow::{Context, Result, ensure};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::{Kvm, VcpuFd};
use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator as _, BootParams};
use linux_loader::loader::bootparam::boot_params;
use linux_loader::loader::{BzImage, Cmdline, KernelLoader as _, load_cmdline};
use vm_memory::{Address as _, Bytes as _, GuestAddress};

use crate::config::{Arguments, Config, Kind};
use crate::memory::GuestMemory;
use crate::mptable;

// Low memory of the guest. All of it is free once the kernel runs, but for the MP table.
const GDT: GuestAddress = GuestAddress(0x500);
const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
const STACK: u64 = 0x8ff0;
const PML4: GuestAddress = GuestAddress(0x9000);
const PDPT: GuestAddress = GuestAddress(0xa000);
const PD: GuestAddress = GuestAddress(0xb000);
const CMDLINE: GuestAddress = GuestAddress(0x20000);
const LOW_MEMORY_END: u64 = 0x9fc00;
const HIGH_MEMORY: u64 = 1 << 20;

/// Where the kernel unpacks itself.
const KERNEL: GuestAddress = GuestAddress(16 << 20);

/// Its entry in 64-bit mode, behind the one in 32-bit mode.
const ENTRY_64: u64 = 0x200;

/// Types of memory in the map that firmware gives to the kernel.
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;
const E820_PERSISTENT: u32 = 12;

/// Loads the kernel, its initramfs and its command line. Returns where it begins.
pub(crate) fn load(arguments: &Arguments, memory: &GuestMemory) -> Result<u64> {
    let config = &arguments.config;
    let path = arguments.kernel.display();
    let mut image = File::open(&arguments.kernel).with_context(|| format!("open {path}"))?;
    let loaded = BzImage::load(memory, Some(KERNEL), &mut image, Some(GuestAddress(HIGH_MEMORY)));
    let loaded = loaded.with_context(|| format!("load {path}"))?;

    let mut cmdline = Cmdline::new(2048).context("the command line")?;
    cmdline.insert_str(&arguments.cmdline).context("the command line")?;
    load_cmdline(memory, CMDLINE, &cmdline).context("load the command line")?;

    let hdr = loaded.setup_header.context("the kernel has no header")?;
    let mut params = boot_params { hdr, ..boot_params::default() };
    params.hdr.type_of_loader = 0xff;
    params.hdr.cmd_line_ptr = u32::try_from(CMDLINE.raw_value())?;
    let (initrd, size) = load_initrd(arguments, memory)?;
    (params.hdr.ramdisk_image, params.hdr.ramdisk_size) = (initrd, size);
    let map = memory_map(config);
    for (entry, (start, end, kind)) in params.e820_table.iter_mut().zip(&map) {
        (entry.addr, entry.size, entry.r#type) = (*start, end - start, *kind);
    }
    params.e820_entries = u8::try_from(map.len())?;
    let params = BootParams::new(&params, ZERO_PAGE);
    LinuxBootConfigurator::write_bootparams(&params, memory).context("write the zero page")?;

    mptable::write(memory, LOW_MEMORY_END, config.vcpus)?;
    Ok(loaded.kernel_load.raw_value() + ENTRY_64)
}

/// Loads the initramfs to the end of the first region.
fn load_initrd(arguments: &Arguments, memory: &GuestMemory) -> Result<(u32, u32)> {
    let path = arguments.initrd.display();
    let mut file = File::open(&arguments.initrd).with_context(|| format!("open {path}"))?;
    let size = file.metadata().with_context(|| format!("look at {path}"))?.len();
    let first = arguments.config.ram.first().context("a guest needs memory")?;
    ensure!(first.kind != Kind::Reserved, "the first region of memory cannot be reserved");
    let start = first.size.checked_sub(size).map(|start| start & !0xfff);
    let start = start.filter(|start| *start > KERNEL.raw_value());
    let start = start.with_context(|| format!("{path} does not fit into the first region"))?;
    let count = usize::try_from(size)?;
    let place = GuestAddress(start);
    memory
        .read_exact_volatile_from(place, &mut file, count)
        .with_context(|| format!("load {path}"))?;
    Ok((u32::try_from(start)?, u32::try_from(size)?))
}

/// The memory as firmware describes it: start, end, type.
fn memory_map(config: &Config) -> Vec<(u64, u64, u32)> {
    let mut map = vec![(0, LOW_MEMORY_END, E820_RAM), (LOW_MEMORY_END, HIGH_MEMORY, E820_RESERVED)];
    for (start, region) in config.layout() {
        let kind = match region.kind {
            Kind::Normal | Kind::Huge => E820_RAM,
            Kind::Reserved => E820_RESERVED,
            Kind::Disk => E820_PERSISTENT,
        };
        map.push((start.max(HIGH_MEMORY), start + region.size, kind));
    }
    map
}

/// The features of a virtual CPU: all that KVM can give it.
pub(crate) fn cpuid(kvm: &Kvm, number: u8) -> Result<CpuId> {
    let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).context("read CPUID")?;
    let id = u32::from(number);
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            1 => entry.ebx = entry.ebx & 0x00ff_ffff | id << 24,
            0xb | 0x1f => entry.edx = id,
            _ => {}
        }
    }
    Ok(cpuid)
}

/// Sets the registers of the first virtual CPU: 64-bit mode, the first GiB mapped to itself.
pub(crate) fn set_registers(vcpu: &VcpuFd, memory: &GuestMemory, entry: u64) -> Result<()> {
    let mut sregs = vcpu.get_sregs().context("read system registers")?;
    set_segments(&mut sregs, memory)?;
    set_paging(&mut sregs, memory)?;
    vcpu.set_sregs(&sregs).context("set system registers")?;
    let regs = kvm_regs {
        rip: entry,
        rsi: ZERO_PAGE.raw_value(),
        rsp: STACK,
        rflags: 2,
        ..kvm_regs::default()
    };
    vcpu.set_regs(&regs).context("set registers")
}

/// Flat segments with the selectors that the protocol demands.
fn set_segments(sregs: &mut kvm_sregs, memory: &GuestMemory) -> Result<()> {
    /// Code and data of ring 0 over all memory; the code is 64-bit.
    const TABLE: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
    for (number, descriptor) in (0..).zip(TABLE) {
        let place = GDT.unchecked_add(8 * number);
        memory.write_obj(descriptor, place).context("write the GDT")?;
    }
    sregs.gdt.base = GDT.raw_value();
    sregs.gdt.limit = u16::try_from(size_of_val(&TABLE) - 1)?;
    sregs.idt.limit = 0;
    let segment =
        kvm_segment { limit: 0xffff_ffff, present: 1, s: 1, g: 1, ..kvm_segment::default() };
    sregs.cs = kvm_segment { selector: 0x10, type_: 0xb, l: 1, ..segment };
    let data = kvm_segment { selector: 0x18, type_: 3, db: 1, ..segment };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    Ok(())
}

/// 4-level paging with pages of 2 MiB.
fn set_paging(sregs: &mut kvm_sregs, memory: &GuestMemory) -> Result<()> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 1 << 7;
    const PROTECTED_PAGED: u64 = 1 | 1 << 31;
    const PAE: u64 = 1 << 5;
    const LONG_ENABLED_ACTIVE: u64 = 1 << 8 | 1 << 10;
    let write = |entry: u64, place: GuestAddress| memory.write_obj(entry, place);
    let all = || {
        write(PDPT.raw_value() | PRESENT_WRITABLE, PML4)?;
        write(PD.raw_value() | PRESENT_WRITABLE, PDPT)?;
        (0..512).try_for_each(|number: u64| {
            write(number << 21 | LARGE | PRESENT_WRITABLE, PD.unchecked_add(8 * number))
        })
    };
    all().context("write page tables")?;
    sregs.cr3 = PML4.raw_value();
    sregs.cr4 |= PAE;
    sregs.cr0 |= PROTECTED_PAGED;
    sregs.efer |= LONG_ENABLED_ACTIVE;
    Ok(())
}
