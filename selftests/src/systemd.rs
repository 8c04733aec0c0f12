// SPDX-License-Identifier: MIT OR Apache-2.0

//! What systemd does for services over a kexec: the units of the suite `systemd`, and their rules.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::scenario::Side;

/// A rule, and the unit whose program checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The rule as a sentence, with underscores; unique.
    pub name: &'static str,
    /// The unit, in `selftests/systemd`.
    pub unit: &'static str,
}

/// All rules, in the order in which they are checked.
///
/// The holder comes last: from then on it has the device.
pub const RULES: [Rule; 4] = [
    Rule { name: "systemd_counts_kexecs", unit: "vmtest-count.service" },
    Rule { name: "the_fd_store_crosses_systemctl_kexec", unit: "vmtest-store.service" },
    Rule { name: "a_session_of_luosession_comes_back", unit: "vmtest-session.service" },
    Rule { name: "a_stray_holder_of_the_device_costs_nothing", unit: "vmtest-holder.service" },
];

/// The rules of the suite `agent`, in the order in which they are checked.
///
/// luod is killed first: after a kexec before anybody has claimed anything, and before one while sessions of
/// all kinds are open.
pub const AGENT_RULES: [Rule; 7] = [
    Rule { name: "luod_may_be_killed", unit: "vmtest-killed.service" },
    Rule { name: "services_and_users_keep_their_memory", unit: "vmtest-guests.service" },
    Rule { name: "luctl_keeps_a_file_and_runs_a_program", unit: "vmtest-luctl.service" },
    Rule { name: "the_quick_start_works_word_by_word", unit: "vmtest-quick-start.service" },
    Rule { name: "mishaps_cost_nothing", unit: "vmtest-mishaps.service" },
    Rule { name: "luod_is_frugal", unit: "vmtest-frugal.service" },
    Rule { name: "every_method_can_be_called_by_varlinkctl", unit: "vmtest-varlink.service" },
];

/// The rules of the suite `vm`, in the order in which they are checked.
pub const VM_RULES: [Rule; 6] = [
    Rule { name: "a_guest_of_qemu_does_not_notice", unit: "vmtest-qemu.service" },
    Rule { name: "a_guest_of_our_vmm_does_not_notice", unit: "vmtest-vmm.service" },
    Rule { name: "a_guest_of_cloud_hypervisor_does_not_notice", unit: "vmtest-ch.service" },
    Rule { name: "a_guest_with_1_gib_does_not_notice", unit: "vmtest-large.service" },
    Rule { name: "a_guest_stays_paused_or_reboots_on", unit: "vmtest-odd.service" },
    Rule { name: "the_quick_start_for_qemu_works_word_by_word", unit: "vmtest-qemu-page.service" },
];

/// The file that tells a unit whether it runs `before` or `after` the kexec.
pub const SIDE_FILE: &str = "/run/vmtest.side";

/// Whether this runs before or after the kexec.
///
/// # Errors
///
/// If the file is missing, or says something else.
pub fn side() -> Result<Side> {
    let text = fs::read_to_string(SIDE_FILE).with_context(|| format!("read {SIDE_FILE}"))?;
    match text.trim() {
        "before" => Ok(Side::Before),
        "after" => Ok(Side::After),
        other => bail!("{SIDE_FILE} says `{other}`"),
    }
}

/// Where programs of the suite lie in the guest.
pub const PROGRAMS: &str = "/usr/lib/vmtest";

/// Name of a kernel without live updates, in that folder.
pub const STOCK: &str = "stock-kernel";
