// SPDX-License-Identifier: MIT OR Apache-2.0

//! The virtual machine: KVM's part, memory, devices and virtual CPUs together.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use rustix::event::{EventfdFlags, eventfd};

use crate::boot;
use crate::config::{Arguments, Config};
use crate::devices::Devices;
use crate::memory::{self, GuestMemory};
use crate::state::{Chips, Clock, State, VcpuState};
use crate::vcpu::Vcpus;

/// Where KVM may put three pages of its own on Intel's processors, outside of all memory.
const TSS: usize = 0xfffb_d000;

/// A guest.
pub(crate) struct Vm {
    kvm: Kvm,
    // Before the memory, which outlives both.
    pub(crate) vcpus: Vcpus,
    machine: VmFd,
    pub(crate) memory: GuestMemory,
    pub(crate) config: Config,
    /// Is readable when the guest has ended.
    pub(crate) ended: OwnedFd,
}

/// A virtual machine without virtual CPUs.
fn machine(memory: &GuestMemory) -> Result<(Kvm, VmFd)> {
    let kvm = Kvm::new().context("open /dev/kvm; does this kernel have KVM?")?;
    let vm = kvm.create_vm().context("make a virtual machine")?;
    vm.set_tss_address(TSS).context("place KVM's own pages")?;
    vm.create_irq_chip().context("make interrupt controllers")?;
    let config = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..kvm_pit_config::default() };
    vm.create_pit2(config).context("make the timer")?;
    memory::map(&vm, memory)?;
    Ok((kvm, vm))
}

fn create_vcpu(vm: &VmFd, number: usize) -> Result<VcpuFd> {
    vm.create_vcpu(u64::try_from(number)?).context("make a virtual CPU")
}

impl Vm {
    /// A new guest, which stands still before its first instruction.
    pub(crate) fn boot(arguments: &Arguments) -> Result<Self> {
        let config = arguments.config.clone();
        let memory = memory::create(&config)?;
        memory::advise(&config, &memory)?;
        let (kvm, vm) = machine(&memory)?;
        let entry = boot::load(arguments, &memory)?;
        let mut vcpus = Vec::new();
        for number in 0..config.vcpus {
            let vcpu = create_vcpu(&vm, number.into())?;
            vcpu.set_cpuid2(&boot::cpuid(&kvm, number)?).context("set CPUID")?;
            if number == 0 {
                boot::set_registers(&vcpu, &memory, entry)?;
            }
            vcpus.push(vcpu);
        }
        let devices = Devices::new(&vm, None)?;
        Self::of(kvm, vm, vcpus, devices, memory, config)
    }

    /// A guest that came, which stands still where it was stopped.
    pub(crate) fn restore(state: &State, memory: GuestMemory) -> Result<Self> {
        let config = state.config.clone();
        memory::check(&config, &memory)?;
        memory::advise(&config, &memory)?;
        ensure!(state.vcpus.len() == usize::from(config.vcpus), "virtual CPUs are missing");
        let (kvm, vm) = machine(&memory)?;
        let vcpus = (0..state.vcpus.len()).map(|number| create_vcpu(&vm, number));
        let vcpus = vcpus.collect::<Result<Vec<_>>>()?;
        state.chips.restore(&vm)?;
        state.clock.restore(&vm)?;
        for (number, (vcpu, state_of)) in vcpus.iter().zip(&state.vcpus).enumerate() {
            let restored = state_of.restore(vcpu, state.clock);
            restored.with_context(|| format!("restore virtual CPU {number}"))?;
        }
        let devices = Devices::new(&vm, Some(&state.devices))?;
        Self::of(kvm, vm, vcpus, devices, memory, config)
    }

    fn of(
        kvm: Kvm,
        vm: VmFd,
        vcpus: Vec<VcpuFd>,
        devices: Devices,
        memory: GuestMemory,
        config: Config,
    ) -> Result<Self> {
        let ended =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("eventfd")?;
        let told = ended.try_clone().context("duplicate a descriptor")?;
        let vcpus = Vcpus::new(vcpus, devices, told)?;
        Ok(Self { kvm, vcpus, machine: vm, memory, config, ended })
    }

    /// Reads the state of the guest, which stands still.
    pub(crate) fn save(&self) -> Result<State> {
        let clocks = self.vcpus.save(|vcpu| Clock::save(&self.machine, vcpu))?;
        Ok(State {
            config: self.config.clone(),
            vcpus: self.vcpus.save(|vcpu| VcpuState::save(&self.kvm, &self.machine, vcpu))?,
            chips: Chips::save(&self.machine)?,
            clock: *clocks.first().context("a guest without virtual CPUs")?,
            devices: self.vcpus.devices().save(),
        })
    }
}
