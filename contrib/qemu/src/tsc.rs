// SPDX-License-Identifier: MIT OR Apache-2.0

//! The time stamp counter of guests with KVM.
//!
//! Each kernel measures its frequency anew, and finds another number. A guest knows the number of the kernel that
//! booted it. KVM hides a difference if the processor can scale the counter, and ignores it up to a limit
//! (`kvm.tsc_tolerance_ppm=`, 250 parts in a million); beyond that, the clock of the guest jumps.

use std::fs;

use anyhow::{Context, Result, ensure};
use kvm_ioctls::Kvm;

/// Calibrations of one machine were seen to differ by 260 parts in a million, so this is enough.
const ENOUGH_PPM: u64 = 1000;

/// The frequency in kHz, as this kernel has measured it.
pub(crate) fn khz() -> Result<u32> {
    let kvm = Kvm::new().context("open /dev/kvm")?;
    let vm = kvm.create_vm().context("make a virtual machine")?;
    let vcpu = vm.create_vcpu(0).context("make a virtual CPU")?;
    vcpu.get_tsc_khz().context("read the frequency of the TSC")
}

/// Checks that guests with KVM will not notice that the next kernel measures anew.
pub(crate) fn check() -> Result<()> {
    let scales = ["kvm_amd", "kvm_intel"].iter().any(|module| {
        let path = format!("/sys/module/{module}/parameters/tsc_scaling");
        fs::read_to_string(path).is_ok_and(|text| matches!(text.trim(), "Y" | "1"))
    });
    if scales || has_flag("tsc_scaling") {
        return Ok(());
    }
    let tolerance = tolerance()?;
    ensure!(
        tolerance >= ENOUGH_PPM,
        "the processor cannot scale its time stamp counter, and KVM tolerates only {tolerance} ppm: the clock of the \
         guest could jump in the next kernel, which measures the counter anew. Boot with \
         kvm.tsc_tolerance_ppm=5000, this kernel and the next one"
    );
    Ok(())
}

/// Parts in a million that KVM ignores.
fn tolerance() -> Result<u64> {
    let path = "/sys/module/kvm/parameters/tsc_tolerance_ppm";
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    text.trim().parse().with_context(|| format!("understand {path}"))
}

/// Whether the processor has this feature.
fn has_flag(name: &str) -> bool {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("flags"));
    line.is_some_and(|line| line.split_whitespace().any(|flag| flag == name))
}

/// How far two measurements are apart, in parts in a million.
pub(crate) fn difference_ppm(one: u32, other: u32) -> u64 {
    u64::from(one.abs_diff(other)) * 1_000_000 / u64::from(one.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_in_parts_in_a_million() {
        assert_eq!(difference_ppm(2_000_000, 2_000_520), 260);
        assert_eq!(difference_ppm(2_000_000, 2_000_000), 0);
    }
}
