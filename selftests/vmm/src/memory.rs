// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of the guest: memfds, mapped shared.

#![expect(unsafe_code, reason = "memory is given to KVM, and madvise(2)")]

use std::fs::File;

use anyhow::{Context, Result};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{Advice, madvise};
use vm_memory::{
    Address as _, FileOffset, GuestAddress, GuestMemoryBackend as _, GuestMemoryRegion as _,
};

use crate::config::{Config, Kind};

pub(crate) type GuestMemory = vm_memory::GuestMemoryMmap;

/// Makes the memory of a new guest.
pub(crate) fn create(config: &Config) -> Result<GuestMemory> {
    let ranges = config.layout().into_iter().map(|(start, region)| {
        let memfd = memfd_create("guest", MemfdFlags::CLOEXEC).context("memfd_create")?;
        ftruncate(&memfd, region.size).context("set the size of memory")?;
        let size = usize::try_from(region.size).context("the size of memory")?;
        Ok((GuestAddress(start), size, Some(FileOffset::new(File::from(memfd), 0))))
    });
    let ranges = ranges.collect::<Result<Vec<_>>>()?;
    GuestMemory::from_ranges_with_files(ranges).context("map the memory of the guest")
}

/// Asks for huge pages where the guest has them. What came from the previous kernel may have them already, but
/// the wish is that of a mapping, and does not come along.
pub(crate) fn advise(config: &Config, memory: &GuestMemory) -> Result<()> {
    for (start, _) in config.layout().into_iter().filter(|(_, it)| it.kind == Kind::Huge) {
        let mapping = memory.find_region(GuestAddress(start)).context("a region is missing")?;
        let (begin, advice) = (mapping.as_ptr().cast(), Advice::LinuxHugepage);
        // SAFETY: The mapping lives as long as `memory`. The advice changes no byte of it.
        unsafe { madvise(begin, mapping.size(), advice) }.context("ask for huge pages")?;
    }
    Ok(())
}

/// Checks that memory that came is that of this machine.
pub(crate) fn check(config: &Config, memory: &GuestMemory) -> Result<()> {
    let there = memory.iter().map(|it| (it.start_addr().raw_value(), it.len()));
    let wanted = config.layout().into_iter().map(|(start, region)| (start, region.size));
    anyhow::ensure!(there.eq(wanted), "the memory that came is not that of this guest");
    Ok(())
}

/// Gives the memory to the guest.
///
/// The caller keeps `memory` until `vm` and all its virtual CPUs are gone.
pub(crate) fn map(vm: &VmFd, memory: &GuestMemory) -> Result<()> {
    for (slot, region) in (0..).zip(memory.iter()) {
        let region = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
            flags: 0,
        };
        // SAFETY: The slots are distinct, and each is a mapping of exactly this size, which lives longer than the
        // guest (see above). All users of it expect it to change at any time.
        unsafe { vm.set_user_memory_region(region) }.context("give memory to the guest")?;
    }
    Ok(())
}
