// SPDX-License-Identifier: MIT OR Apache-2.0

//! The plan: the steps of the guest in each hop.

use serde::{Deserialize, Serialize};

use crate::measure::Load;
use crate::scenario::Side;

/// Name of the plan on the payload disk.
pub const PLAN_FILE: &str = "plan.json";

/// Name of the initramfs on the payload disk.
pub const INITRAMFS_FILE: &str = "initramfs.cpio";

/// Kernel parameter that tells PID 1 its hop: `vmtest.hop=2`. The first hop is 1.
pub const HOP_PARAMETER: &str = "vmtest.hop";

/// Block device that holds the payload: a newc archive, read without a file system.
pub const PAYLOAD_DEVICE: &str = "/dev/vda";

/// Kernel parameter that names the serial port which carries nothing but KTAP:
/// `vmtest.control=/dev/ttyS1`.
pub const CONTROL_PARAMETER: &str = "vmtest.control";

/// The beginning of the reason of a step that makes no sense in its hop, behind `# SKIP`.
pub const NOT_APPLICABLE: &str = "n/a: ";

/// The line that PID 1 writes into the kernel's log before it calls `reboot(KEXEC)`.
pub const LEAVING: &str = "leaving";

/// A chain of kernels, each booted by kexec from the one before, and the steps in each.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    /// The kernels in order; at least one.
    pub hops: Vec<Hop>,
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
    /// Run a program of the initramfs: passed if it exits with 0.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
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
