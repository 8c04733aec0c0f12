// SPDX-License-Identifier: MIT OR Apache-2.0

//! The plan: the steps of the guest in each hop.

use serde::{Deserialize, Serialize};

use crate::measure::Load;
use crate::measure::blackout::Preserved;
use crate::scenario::Side;

/// Name of the plan on the payload disk.
pub const PLAN_FILE: &str = "plan.json";

/// Name of the initramfs on the payload disk.
pub const INITRAMFS_FILE: &str = "initramfs.cpio";

/// Folder of the initramfs with a folder for each implementation, which has the modules of that
/// kernel.
pub const MODULES: &str = "modules";

/// Kernel parameter that tells PID 1 its hop: `vmtest.hop=2`. The first hop is 1.
pub const HOP_PARAMETER: &str = "vmtest.hop";

/// Block device that holds the payload: a newc archive, read without a file system.
pub const PAYLOAD_DEVICE: &str = "/dev/vda";

/// The serial number of a disk that is empty at first, and that may be written to.
pub const SCRATCH_SERIAL: &str = "scratch";

/// The size of that disk in machines with our own PID 1, which is slow there.
pub const SLOW_DISK_BYTES: u32 = 8 << 20;

/// Kernel parameter that names the serial port which carries nothing but KTAP:
/// `vmtest.control=/dev/ttyS1`.
pub const CONTROL_PARAMETER: &str = "vmtest.control";

/// The beginning of the reason of a step that makes no sense in its hop, behind `# SKIP`.
pub const NOT_APPLICABLE: &str = "n/a: ";

/// The line that PID 1 writes into the kernel's log before it calls `reboot(KEXEC)`, with [`CYCLES`].
pub const LEAVING: &str = "leaving";

/// The first line that PID 1 writes into the kernel's log, with [`CYCLES`].
pub const ENTERED: &str = "entered";

/// Before the number of processor cycles since power-on, at the end of a line of the log.
pub const CYCLES: &str = ", cycle ";

/// A chain of kernels, each booted by kexec from the one before, and the steps in each.
///
/// The hops in the middle of a long chain are equal, and stand here once.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    /// The hops, each once.
    distinct: Vec<Hop>,
    /// The chain, as places in `distinct`.
    chain: Vec<usize>,
}

impl Plan {
    /// The number of hops in the chain.
    #[must_use]
    pub fn count(&self) -> usize {
        self.chain.len()
    }

    /// The hop with this number, from 1.
    #[must_use]
    pub fn hop(&self, number: usize) -> Option<&Hop> {
        let place = self.chain.get(number.checked_sub(1)?)?;
        self.distinct.get(*place)
    }

    /// The hops of the chain in order.
    pub fn hops(&self) -> impl DoubleEndedIterator<Item = &Hop> + Clone {
        self.chain.iter().filter_map(|place| self.distinct.get(*place))
    }
}

impl Extend<Hop> for Plan {
    fn extend<T: IntoIterator<Item = Hop>>(&mut self, hops: T) {
        for hop in hops {
            let place = self.distinct.iter().position(|known| *known == hop);
            self.chain.push(place.unwrap_or_else(|| {
                self.distinct.push(hop);
                self.distinct.len() - 1
            }));
        }
    }
}

impl FromIterator<Hop> for Plan {
    fn from_iter<T: IntoIterator<Item = Hop>>(hops: T) -> Self {
        let mut plan = Self::default();
        plan.extend(hops);
        plan
    }
}

/// One kernel of the chain.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Hop {
    /// Which implementation it is, for messages: `c` or `rust`.
    pub label: String,
    /// Name of the kernel image on the payload disk.
    pub kernel: String,
    /// Command line of this kernel, without the hop parameter.
    pub cmdline: String,
    /// Whether PID 1 hands its own session on.
    pub carries: bool,
    /// Whether it has KASAN and the like, which make everything slow.
    pub is_debug: bool,
    /// Steps, in this order.
    pub steps: Vec<Step>,
    /// How it is left for the next one.
    #[serde(default)]
    pub leave: Leave,
}

/// How a kernel is left.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leave {
    /// As the player of the guest does it.
    #[default]
    Plain,
    /// By `luctl update`, which uses `systemctl kexec`.
    Update,
    /// By `luctl update --now`.
    UpdateNow,
    /// By `systemctl kexec`, behind luod's back.
    Behind,
    /// By `luctl update`, and luod is killed once all clients are ready.
    Killed,
}

impl Leave {
    /// The command; `None` if the player calls `reboot(2)` itself, or has systemd do it.
    #[must_use]
    pub fn command(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Update | Self::Killed => Some("luctl update"),
            Self::UpdateNow => Some("luctl update --now"),
            Self::Behind => Some("systemctl kexec"),
        }
    }
}

/// A step, which gets exactly one verdict.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Step {
    /// Name, unique in the hop; no white space.
    pub name: String,
    /// The action.
    pub action: Action,
    /// How long it may take, in milliseconds.
    pub limit_ms: u64,
}

/// The action of a step.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Run a program of the guest: passed if it exits with 0.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Start a unit of systemd: passed if it starts, and ends well if it is a oneshot.
    Start {
        /// The unit.
        unit: String,
        /// Before or after the kexec.
        side: Side,
    },
    /// Retrieve and check the file that the hop before preserved; there is none in the first hop.
    Carry,
    /// Play a part of a scenario.
    Scenario {
        /// Its name.
        name: String,
        /// Which part.
        side: Side,
    },
    /// Measure the cost of commands.
    Measure {
        /// The load.
        load: Load,
        /// Before or after the kexec.
        side: Side,
        /// The number of sessions or files.
        count: usize,
    },
    /// Hand all of this over, or take it over, and measure the cost.
    Blackout {
        /// What goes to the next kernel.
        preserved: Preserved,
        /// Before or after the kexec.
        side: Side,
    },
    /// Misbehave on purpose, to test the harness.
    Misbehave(Misbehaviour),
}

/// Ways in which a guest can go wrong.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misbehaviour {
    /// Say `not ok`.
    Fail,
    /// Say `ok # SKIP`.
    Skip,
    /// Say nothing about the step and go on.
    NoVerdict,
    /// Say `ok`, then `not ok`.
    TwoVerdicts,
    /// Hang without a message.
    Hang,
    /// Panic the kernel.
    Panic,
    /// Make the kernel warn.
    Warn,
    /// End PID 1's work early: switch off without the other hops.
    LeaveEarly,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(label: &str) -> Hop {
        let (kernel, cmdline) = (format!("kernel-{label}"), "quiet".into());
        let (carries, is_debug, steps) = (true, false, Vec::new());
        Hop { label: label.into(), kernel, cmdline, carries, is_debug, steps, leave: Leave::Plain }
    }

    #[test]
    fn a_long_plan_is_no_larger_for_its_steps() {
        let of = |count| (0..count).map(|_| hop("rust")).collect::<Plan>();
        let size = |plan: &Plan| serde_json::to_vec(plan).map_or(0, |json| json.len());
        let (short, long) = (of(1), of(1000));
        assert_eq!(long.count(), 1000);
        assert_eq!(long.hop(1000), Some(&hop("rust")));
        assert!(size(&long) < size(&short) + 2 * 1000);
    }

    #[test]
    fn hops_have_numbers_from_one() {
        let plan: Plan = ["c", "rust", "c"].map(hop).into_iter().collect();
        let labels: Vec<_> = plan.hops().map(|hop| hop.label.as_str()).collect();
        assert_eq!(labels, ["c", "rust", "c"]);
        assert_eq!((plan.hop(0), plan.hop(2), plan.hop(4)), (None, Some(&hop("rust")), None));
    }
}
