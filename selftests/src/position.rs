// SPDX-License-Identifier: MIT OR Apache-2.0

//! The plan, and where in it this kernel stands: what every player of a plan needs.

use std::fs::{self, File};
use std::io::BufReader;

use anyhow::{Context, Result};
use liblu::kexec::Kernel;
use rustix::system::uname;

use crate::control::Control;
use crate::event::Event;
use crate::payload;
use crate::plan::{HOP_PARAMETER, Hop, INITRAMFS_FILE, NOT_APPLICABLE, PAYLOAD_DEVICE, PLAN_FILE};
use crate::plan::{Plan, Step};
use crate::scenario::NotApplicable;

/// How a step went: `Err` holds why not.
pub type Verdict = Result<()>;

/// A player in its hop.
#[derive(Debug)]
pub struct Position {
    /// The port for verdicts and events.
    pub control: Control,
    /// The plan.
    pub plan: Plan,
    /// Number of this hop, from 1.
    pub number: usize,
}

impl Position {
    /// Opens the control port and reads the plan.
    ///
    /// # Errors
    ///
    /// If port, payload or command line are not those that the host gives.
    pub fn find() -> Result<Self> {
        let control = Control::open()?;
        let mut json = Vec::new();
        payload::extract(disk(PAYLOAD_DEVICE)?, PLAN_FILE, &mut json).context("read the plan")?;
        let plan = serde_json::from_slice(&json).context("understand the plan")?;
        let number = hop_number()?;
        Ok(Self { control, plan, number })
    }

    /// This hop.
    ///
    /// # Errors
    ///
    /// If the plan has no hop with this number.
    pub fn hop(&self) -> Result<&Hop> {
        let hop = self.plan.hop(self.number);
        let count = self.plan.count();
        hop.with_context(|| format!("this is hop {} of a plan with {count}", self.number))
    }

    /// The next hop, or `None` in the last.
    #[must_use]
    pub fn next(&self) -> Option<&Hop> {
        self.plan.hop(self.number + 1)
    }

    /// Writes the head of KTAP and the first event, and returns the steps of this hop.
    ///
    /// # Errors
    ///
    /// If the plan has no such hop.
    pub fn begin(&self) -> Result<Vec<Step>> {
        let release = uname().release().to_string_lossy().into_owned();
        self.control.line("KTAP version 1");
        self.control.event(&Event::Init { hop: self.number, release });
        let steps = self.hop()?.steps.clone();
        self.control.line(&format!("1..{}", steps.len()));
        Ok(steps)
    }

    /// Writes the verdict of step `number`, from 1.
    pub fn say(&self, number: usize, step: &Step, verdict: &Verdict) {
        match verdict {
            Ok(()) => self.control.line(&format!("ok {number} {}", step.name)),
            Err(why) if why.is::<NotApplicable>() => {
                let line = format!("ok {number} {} # SKIP {NOT_APPLICABLE}{why}", step.name);
                self.control.line(&line);
            }
            Err(why) => {
                for line in format!("{why:#}").lines() {
                    self.control.line(&format!("# {line}"));
                }
                self.control.line(&format!("not ok {number} {}", step.name));
            }
        }
    }
}

/// Number of this hop, from the kernel's command line.
///
/// # Errors
///
/// If there is none.
pub fn hop_number() -> Result<usize> {
    let number = parameter(HOP_PARAMETER)?;
    number.parse().with_context(|| format!("{HOP_PARAMETER}={number} is no number"))
}

/// Loads the kernel of `hop`, number `number`, for a kexec.
///
/// # Errors
///
/// If it is not on the payload disk, or the kernel refuses it.
pub fn load(hop: &Hop, number: usize) -> Result<()> {
    let kernel = unpack(&hop.kernel, KERNEL)?;
    let initramfs = unpack(INITRAMFS_FILE, INITRAMFS)?;
    let cmdline = cmdline(hop, number);
    let next = Kernel::new(&kernel).initrd(&initramfs).cmdline(cmdline);
    next.load().with_context(|| format!("kexec_file_load of `{}`", hop.kernel))?;
    // The loaded kernel is a copy; the memory is better used by the tests.
    remove_unpacked();
    Ok(())
}

/// Where the next kernel is unpacked.
pub const KERNEL: &str = "/run/kernel";

/// Where its initramfs is unpacked.
pub const INITRAMFS: &str = "/run/initramfs";

/// The command line of hop `number`.
#[must_use]
pub fn cmdline(hop: &Hop, number: usize) -> String {
    format!("{} {HOP_PARAMETER}={number}", hop.cmdline)
}

/// Unpacks the kernel of `hop` and its initramfs, for a program that loads them.
///
/// # Errors
///
/// If they are not on the payload disk.
pub fn unpack_kernel(hop: &Hop) -> Result<()> {
    unpack(&hop.kernel, KERNEL)?;
    unpack(INITRAMFS_FILE, INITRAMFS).map(drop)
}

/// Removes what was unpacked.
pub fn remove_unpacked() {
    let _ = fs::remove_file(KERNEL);
    let _ = fs::remove_file(INITRAMFS);
}

/// Copies the payload's `name` to `path` and opens that for reading only.
fn unpack(name: &str, path: &str) -> Result<File> {
    unpack_from(PAYLOAD_DEVICE, name, path)
}

/// Copies `name` of the archive on a device to `path` and opens that for reading only.
///
/// # Errors
///
/// If it is not there, or cannot be copied.
pub fn unpack_from(device: &str, name: &str, path: &str) -> Result<File> {
    let mut to = File::create(path).with_context(|| format!("create {path}"))?;
    payload::extract(disk(device)?, name, &mut to).with_context(|| format!("unpack `{name}`"))?;
    drop(to);
    File::open(path).with_context(|| format!("open {path}"))
}

fn disk(device: &str) -> Result<BufReader<File>> {
    let disk = File::open(device).with_context(|| format!("open {device}"))?;
    Ok(BufReader::with_capacity(1 << 18, disk))
}

/// The value of a parameter on the kernel's command line.
///
/// # Errors
///
/// If there is no such parameter.
pub fn parameter(name: &str) -> Result<String> {
    let cmdline = fs::read_to_string("/proc/cmdline").context("read /proc/cmdline")?;
    let value = value_of(name, &cmdline);
    value.map(str::to_owned).with_context(|| format!("no {name}= in /proc/cmdline: {cmdline}"))
}

/// The last one counts.
fn value_of<'c>(name: &str, cmdline: &'c str) -> Option<&'c str> {
    let words = cmdline.split_ascii_whitespace();
    words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).next_back()
}

#[cfg(test)]
mod tests {
    use super::value_of;

    #[test]
    fn a_parameter_is_read_from_the_command_line() {
        let cmdline = "console=ttyS0 vmtest.hop=1 vmtest.hop=12 panic=-1\n";
        assert_eq!(value_of("vmtest.hop", cmdline), Some("12"));
        assert_eq!(value_of("vmtest.ho", cmdline), None);
        assert_eq!(value_of("hop", cmdline), None);
        assert_eq!(value_of("vmtest.hop", ""), None);
    }
}
