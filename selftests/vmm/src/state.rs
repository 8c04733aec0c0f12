// SPDX-License-Identifier: MIT OR Apache-2.0

//! The state of a guest outside of its memory: all that KVM has of it, and its devices.

#![expect(
    unsafe_code,
    clippy::unsafe_derive_deserialize,
    reason = "XSAVE has no fixed size, and the TSC is an instruction; KVM checks a state that it gets"
)]

use anyhow::{Context, Result, ensure};
use kvm_bindings::{
    CpuId, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    KVM_MAX_CPUID_ENTRIES, Msrs, Xsave, kvm_clock_data, kvm_debugregs, kvm_irqchip,
    kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_pit_state2, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave, kvm_xsave2,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use serde::{Deserialize, Serialize};
use vmm_sys_util::fam::FamStruct;

use crate::config::Config;
use crate::devices::DevicesState;

/// The version of [`State`]: raise it with each change of it.
pub(crate) const VERSION: u8 = 1;

/// The state of a guest that stands still.
#[derive(Deserialize, Serialize)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) vcpus: Vec<VcpuState>,
    pub(crate) chips: Chips,
    pub(crate) clock: Clock,
    pub(crate) devices: DevicesState,
}

/// The interrupt controllers and the timer, which all virtual CPUs share.
#[derive(Deserialize, Serialize)]
pub(crate) struct Chips {
    irqchips: Vec<kvm_irqchip>,
    pit: kvm_pit_state2,
}

/// The time at which the guest was stopped, by the guest and by the host.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(crate) struct Clock {
    /// The guest's, in nanoseconds: kvm-clock.
    guest: u64,
    /// The time stamp counter of the host. It goes on during a kexec.
    tsc: u64,
    tsc_khz: u32,
}

/// The state of a virtual CPU.
#[derive(Deserialize, Serialize)]
pub(crate) struct VcpuState {
    cpuid: CpuId,
    mp_state: kvm_mp_state,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: Xsave,
    xcrs: kvm_xcrs,
    debugregs: kvm_debugregs,
    lapic: kvm_lapic_state,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
}

/// The guest's time stamp counter. It is restored last but one, with what it has missed.
const MSR_TSC: u32 = 0x10;

/// The deadline of the local APIC's timer: it means something only if the APIC is in that mode, so the APIC
/// comes before.
const MSR_TSC_DEADLINE: u32 = 0x6e0;

impl Chips {
    pub(crate) fn save(vm: &VmFd) -> Result<Self> {
        let chip = |chip_id| {
            let mut chip = kvm_irqchip { chip_id, ..kvm_irqchip::default() };
            vm.get_irqchip(&mut chip).context("read an interrupt controller")?;
            Ok(chip)
        };
        let ids = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];
        let irqchips = ids.map(chip).into_iter().collect::<Result<_>>()?;
        Ok(Self { irqchips, pit: vm.get_pit2().context("read the timer")? })
    }

    pub(crate) fn restore(&self, vm: &VmFd) -> Result<()> {
        for chip in &self.irqchips {
            vm.set_irqchip(chip).context("set an interrupt controller")?;
        }
        vm.set_pit2(&self.pit).context("set the timer")
    }
}

impl Clock {
    pub(crate) fn save(vm: &VmFd, vcpu: &VcpuFd) -> Result<Self> {
        let guest = vm.get_clock().context("read the clock")?.clock;
        let tsc_khz = vcpu.get_tsc_khz().context("read the frequency of the TSC")?;
        Ok(Self { guest, tsc: tsc(), tsc_khz })
    }

    /// The ticks since the guest was stopped. The machine is the same, so its counter has never stopped, and
    /// its frequency is that of then: another number is another calibration.
    fn missed(self) -> u64 {
        tsc().saturating_sub(self.tsc)
    }

    /// Sets the guest's clock: it has gone on meanwhile. This comes before the first run.
    pub(crate) fn restore(self, vm: &VmFd) -> Result<()> {
        let missed = u128::from(self.missed()) * 1_000_000 / u128::from(self.tsc_khz.max(1));
        let clock = self.guest + u64::try_from(missed).context("the time that was missed")?;
        // Without flags, since KVM takes the number as it is then.
        vm.set_clock(&kvm_clock_data { clock, ..kvm_clock_data::default() })
            .context("set the clock")
    }
}

/// Reads the time stamp counter.
fn tsc() -> u64 {
    // SAFETY: Every x86-64 has the instruction, and Linux lets programs use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

impl VcpuState {
    /// Reads the state of a virtual CPU that stands still.
    pub(crate) fn save(kvm: &Kvm, vm: &VmFd, vcpu: &VcpuFd) -> Result<Self> {
        // First, for it moves pending events to where the others show them.
        let mp_state = vcpu.get_mp_state().context("read MP_STATE")?;
        let state = Self {
            mp_state,
            cpuid: vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).context("read CPUID")?,
            regs: vcpu.get_regs().context("read registers")?,
            sregs: vcpu.get_sregs().context("read system registers")?,
            xsave: xsave(vm, vcpu)?,
            xcrs: vcpu.get_xcrs().context("read XCRs")?,
            debugregs: vcpu.get_debug_regs().context("read debug registers")?,
            lapic: vcpu.get_lapic().context("read the APIC")?,
            msrs: msrs(kvm, vcpu)?,
            events: vcpu.get_vcpu_events().context("read events")?,
        };
        // The guest's watchdogs learn that it was stopped. One without kvm-clock cannot be told.
        let _ = vcpu.kvmclock_ctrl();
        Ok(state)
    }

    /// Gives this state to a new virtual CPU.
    pub(crate) fn restore(&self, vcpu: &VcpuFd, clock: Clock) -> Result<()> {
        vcpu.set_cpuid2(&self.cpuid).context("set CPUID")?;
        vcpu.set_mp_state(self.mp_state).context("set MP_STATE")?;
        vcpu.set_regs(&self.regs).context("set registers")?;
        vcpu.set_sregs(&self.sregs).context("set system registers")?;
        // SAFETY: It has the size that this kernel's KVM says (see `xsave`), or another kernel's on the same
        // processor; no feature is enabled by arch_prctl(2).
        unsafe { vcpu.set_xsave2(&self.xsave) }.context("set XSAVE")?;
        vcpu.set_xcrs(&self.xcrs).context("set XCRs")?;
        vcpu.set_debug_regs(&self.debugregs).context("set debug registers")?;
        vcpu.set_lapic(&self.lapic).context("set the APIC")?;
        let missed = clock.missed();
        let mut msrs = self.msrs.clone();
        // All virtual CPUs had one counter, or nearly: KVM makes them equal if they are set to what it expects.
        msrs.iter_mut().filter(|msr| msr.index == MSR_TSC).for_each(|msr| msr.data += missed);
        msrs.sort_by_key(|msr| match msr.index {
            MSR_TSC => 1,
            MSR_TSC_DEADLINE => 2,
            _ => 0,
        });
        let msrs = Msrs::from_entries(&msrs).context("the number of MSRs")?;
        let count = vcpu.set_msrs(&msrs).context("set MSRs")?;
        let refused = msrs.as_slice().get(count).map(|msr| (msr.index, msr.data));
        ensure!(refused.is_none(), "KVM refuses an MSR: {refused:x?}");
        vcpu.set_vcpu_events(&self.events).context("set events")
    }
}

/// Reads the floating point and vector state.
fn xsave(vm: &VmFd, vcpu: &VcpuFd) -> Result<Xsave> {
    let size = usize::try_from(vm.check_extension_int(Cap::Xsave2)).context("the size of XSAVE")?;
    let more = size.saturating_sub(size_of::<kvm_xsave>());
    let entry = size_of::<<kvm_xsave2 as FamStruct>::Entry>();
    let mut xsave = Xsave::new(more.div_ceil(entry)).context("the size of XSAVE")?;
    // SAFETY: It has the size that KVM says, and no feature is enabled by arch_prctl(2).
    unsafe { vcpu.get_xsave2(&mut xsave) }.context("read XSAVE")?;
    Ok(xsave)
}

/// Reads all model-specific registers that this virtual CPU has, of those that KVM says are to be saved.
fn msrs(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>> {
    let list = kvm.get_msr_index_list().context("the list of MSRs")?;
    let entry = |index: &u32| kvm_msr_entry { index: *index, ..kvm_msr_entry::default() };
    let mut wanted: Vec<_> = list.as_slice().iter().map(entry).collect();
    let mut there = Vec::with_capacity(wanted.len());
    while !wanted.is_empty() {
        let mut msrs = Msrs::from_entries(&wanted).context("the number of MSRs")?;
        let count = vcpu.get_msrs(&mut msrs).context("read MSRs")?;
        there.extend(msrs.as_slice().iter().take(count));
        // The next one is of a feature that the guest does not have.
        wanted.drain(..(count + 1).min(wanted.len()));
    }
    Ok(there)
}
