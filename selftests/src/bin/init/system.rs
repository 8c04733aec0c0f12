// SPDX-License-Identifier: MIT OR Apache-2.0

//! The guest around PID 1: mounts, the kernel's log, the payload, the end of a hop.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use liblu::kexec::Kernel;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::{RebootCommand, reboot};
use selftests::payload;
use selftests::plan::{HOP_PARAMETER, Hop, INITRAMFS_FILE, PAYLOAD_DEVICE, PLAN_FILE, Plan};
use selftests::scenario::LeavingPart;

use crate::control::Control;

/// Open files that a test may ask for: one for each of its sessions and files.
const FILES: u64 = 1 << 20;

/// `MSECS_MIN_AGE` of `mm/kmemleak.c`.
const KMEMLEAK_AGE: Duration = Duration::from_secs(5);

/// File systems and their mount points. The upstream tests look for debugfs in `/debugfs`.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("devtmpfs", "/dev", "mode=0755"),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("debugfs", "/debugfs", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
];

/// The guest, ready for its hop.
pub(crate) struct Guest {
    /// The port for verdicts and events.
    pub(crate) control: Control,
    /// The plan.
    pub(crate) plan: Plan,
    /// Number of this hop, from 1.
    pub(crate) number: usize,
    /// Files that stay open until the kexec.
    pub(crate) kept: Vec<OwnedFd>,
    /// Parts that run while `reboot(2)` runs.
    pub(crate) leaving: Vec<LeavingPart>,
}

impl Guest {
    /// This hop.
    pub(crate) fn hop(&self) -> Result<&Hop> {
        let hops = self.plan.hops.len();
        let index = self.number.checked_sub(1);
        let hop = index.and_then(|index| self.plan.hops.get(index));
        hop.with_context(|| format!("this is hop {} of a plan with {hops}", self.number))
    }

    /// The next hop, or `None` in the last.
    pub(crate) fn next(&self) -> Option<&Hop> {
        self.plan.hops.get(self.number)
    }
}

/// Mounts what tests need, opens the control port and reads the plan.
pub(crate) fn set_up() -> Result<Guest> {
    for (kind, on, options) in MOUNTS {
        fs::create_dir_all(on).with_context(|| format!("create {on}"))?;
        let options = CString::new(*options).context("mount options")?;
        mount(*kind, *on, *kind, MountFlags::empty(), options.as_c_str())
            .with_context(|| format!("mount {kind} on {on}"))?;
    }
    let control = Control::open()?;
    let files = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    setrlimit(Resource::Nofile, files).context("raise the limit of open files")?;

    let mut json = Vec::new();
    payload::extract(disk()?, PLAN_FILE, &mut json).context("read the plan")?;
    let plan = serde_json::from_slice(&json).context("understand the plan")?;
    let number = parameter(HOP_PARAMETER)?;
    let is_no_number = || format!("{HOP_PARAMETER}={number} is no number");
    Ok(Guest {
        control,
        plan,
        number: number.parse().with_context(is_no_number)?,
        kept: Vec::new(),
        leaving: Vec::new(),
    })
}

/// Loads the kernel of `hop`, number `number`, for [`liblu::kexec::reboot`].
pub(crate) fn load(hop: &Hop, number: usize) -> Result<()> {
    let kernel = unpack(&hop.kernel, "/run/kernel")?;
    let initramfs = unpack(INITRAMFS_FILE, "/run/initramfs")?;
    let cmdline = format!("{} {HOP_PARAMETER}={number}", hop.cmdline);
    let next = Kernel::new(&kernel).initrd(&initramfs).cmdline(cmdline);
    next.load().with_context(|| format!("kexec_file_load of `{}`", hop.kernel))?;
    // The loaded kernel is a copy; the memory is better used by the tests.
    let _ = fs::remove_file("/run/kernel");
    let _ = fs::remove_file("/run/initramfs");
    Ok(())
}

/// Lets kmemleak look for memory that was lost before `since`, if the kernel has kmemleak; its
/// report goes to the kernel's log.
pub(crate) fn scan_for_leaks(since: Instant) -> Result<()> {
    let kmemleak = Path::new("/sys/kernel/debug/kmemleak");
    if !kmemleak.exists() {
        return Ok(());
    }
    // kmemleak trusts nothing that is younger than this, because its pointer may be on a stack.
    std::thread::sleep(KMEMLEAK_AGE.saturating_sub(since.elapsed()));
    // An object is reported by the first scan that finds it twice without a reference.
    for _ in 0..2 {
        fs::write(kmemleak, "scan").context("scan for memory leaks")?;
    }
    for line in fs::read_to_string(kmemleak).context("read memory leaks")?.lines() {
        note(&format!("kmemleak: {line}"));
    }
    Ok(())
}

/// Ends the virtual machine: QEMU runs with `-no-reboot`.
pub(crate) fn switch_off() {
    let _ = reboot(RebootCommand::Restart);
}

/// Says on the console why the guest gives up.
pub(crate) fn complain(what: &str) {
    eprintln!("init: {what}");
    if let Ok(control) = Control::open() {
        control.line(&format!("Bail out! {what}"));
        control.drain();
    }
}

/// Writes a line into the kernel's log, where it is in order with the lines of the kernel.
pub(crate) fn note(text: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = log.write_all(format!("vm-test: {text}\n").as_bytes());
    }
}

/// Copies the payload's `name` to `path` and opens that for reading only.
fn unpack(name: &str, path: &str) -> Result<File> {
    let mut to = File::create(path).with_context(|| format!("create {path}"))?;
    payload::extract(disk()?, name, &mut to).with_context(|| format!("unpack `{name}`"))?;
    drop(to);
    File::open(path).with_context(|| format!("open {path}"))
}

fn disk() -> Result<BufReader<File>> {
    let disk = File::open(PAYLOAD_DEVICE).with_context(|| format!("open {PAYLOAD_DEVICE}"))?;
    Ok(BufReader::with_capacity(1 << 18, disk))
}

/// The value of a parameter on the kernel's command line.
pub(crate) fn parameter(name: &str) -> Result<String> {
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
