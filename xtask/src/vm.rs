// SPDX-License-Identifier: MIT OR Apache-2.0

//! The virtual machine: starting QEMU, listening to it, knowing when something is wrong.

mod accel;
mod defect;
pub(crate) mod kernel_log;
pub(crate) mod ktap;
mod monitor;
mod qemu;
mod run;
mod watch;

pub(crate) use accel::{Accel, Answer, Choice, decide, known};
pub(crate) use defect::Defect;
pub(crate) use qemu::{Clock, INITRAMFS, KERNEL, Machine, PAYLOAD, SCRATCH};
pub(crate) use run::{Limits, run};
#[cfg(test)]
pub(crate) use watch::Watch;
pub(crate) use watch::{HopRecord, Port, Record};
