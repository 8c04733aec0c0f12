// SPDX-License-Identifier: MIT OR Apache-2.0

//! Kernels that are booted with other parameters, on a machine of their own.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use liblu::{Error, Unavailable};
use rustix::io::Errno;

use super::Scenario;
use super::stage::{
    Log, Stage, check_callbacks, fails, failure, finish, live_update, memfd, retrieve, test_device,
    test_file,
};
use super::trace::{Trace, check_event};
use crate::{abi, test_device};

/// What is done before a kernel that is booted with other parameters, and in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Both halves.
    pub scenario: Scenario,
    /// How the command line of the second kernel is different.
    pub parameters: Parameters,
    /// C has no such parameter, or cannot be asked to survive this.
    pub is_rust_only: bool,
}

/// A difference of command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// It has these too.
    With(&'static str),
    /// It does not have this one.
    Without(&'static str),
}

impl Parameters {
    /// The command line that is different from `cmdline` in this.
    pub fn apply(self, cmdline: &str) -> String {
        match self {
            Self::With(more) => format!("{cmdline} {more}").trim_end().to_owned(),
            Self::Without(less) => {
                let rest = cmdline.split_ascii_whitespace().filter(|word| *word != less);
                rest.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// All of them, in the order in which machines play them.
pub const ALL: &[Boot] = &[
    // First, and so first on its machine: later there is also what earlier kernels have left in memory.
    Boot {
        scenario: Scenario::across("a_damaged_handover_is_eio_if_told_to_go_on", damage, damaged),
        parameters: Parameters::With("liveupdate_restore=continue"),
        is_rust_only: true,
    },
    Boot {
        scenario: Scenario::across("a_kernel_with_luo_off_ignores_what_it_gets", some, off),
        parameters: Parameters::With("liveupdate=off"),
        is_rust_only: false,
    },
    Boot {
        scenario: Scenario::across("a_kernel_without_kho_has_no_luo", some, off),
        parameters: Parameters::With("kho=off"),
        is_rust_only: false,
    },
    Boot {
        scenario: Scenario::across("luo_is_off_if_nobody_asks_for_it", some, off),
        parameters: Parameters::Without("liveupdate=on"),
        is_rust_only: false,
    },
    Boot {
        scenario: Scenario::across("a_tracepoint_says_how_long_the_first_open_took", some, traced),
        parameters: Parameters::With("trace_event=liveupdate:luo_deserialize"),
        is_rust_only: true,
    },
    Boot {
        scenario: Scenario::across("a_missing_handler_is_eio_for_ever", with_handler, no_handler),
        parameters: Parameters::With("luo_test.handler=0"),
        is_rust_only: false,
    },
    Boot {
        scenario: Scenario::across(
            "an_object_that_nobody_asked_for_is_finished",
            with_handler,
            nobody_asked,
        ),
        parameters: Parameters::With(""),
        // C has not counted its users then, and warns.
        is_rust_only: true,
    },
    Boot {
        scenario: Scenario::across(
            "a_file_may_depend_on_an_object_that_did_not_come",
            without_object,
            no_object,
        ),
        parameters: Parameters::With(""),
        // C warns.
        is_rust_only: true,
    },
    Boot {
        scenario: Scenario::across(
            "an_object_that_failed_fails_for_ever",
            with_handler,
            object_fails,
        ),
        parameters: Parameters::With(""),
        // C has not counted its users then, and warns.
        is_rust_only: true,
    },
];

/// A session with a memfd.
fn some(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("boot", memfd("x")?)
}

fn off(_: &mut Stage<'_>) -> Result<()> {
    let node = Path::new(liveupdate_uapi::DEVICE);
    ensure!(!node.exists(), "{} is there", node.display());
    let why = live_update().check();
    ensure!(
        matches!(why, Err(Error::Unavailable(Unavailable::NotEnabled | Unavailable::KhoOff))),
        "liblu says {why:?}"
    );
    // Nobody can register, so nobody has an object.
    let asked = abi::number(test_device()?, test_device::OUTGOING_OBJECT, 0);
    fails("an object", asked, Errno::OPNOTSUPP)?;
    let handler = abi::number(test_device()?, test_device::HANDLER, 1);
    fails("a handler", handler, Errno::OPNOTSUPP)
}

fn traced(_: &mut Stage<'_>) -> Result<()> {
    let trace = Trace::seen()?;
    ensure!(trace.is_empty(), "before the first open: {trace:?}");
    for _ in 0..2 {
        live_update().check().context("open the device")?;
    }
    // The first open alone.
    let trace = Trace::seen()?;
    let [event] = &trace[..] else { bail!("the events are {trace:?}") };
    check_event(event, "deserialize: sessions=1 ", 0)
}

/// A session with a file for tests.
fn with_handler(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("boot", test_file(1, 0)?)
}

fn no_handler(_: &mut Stage<'_>) -> Result<()> {
    let mut log = Log::begin()?;
    open_is_eio()?;
    let said = log.lines("")?;
    let named = said.iter().any(|line| line.contains("luo-test-v1"));
    ensure!(named, "the log does not name the handler: {said:?}");
    open_is_eio()
}

fn open_is_eio() -> Result<()> {
    let errno = abi::open().err().and_then(|error| error.raw_os_error());
    ensure!(errno == Some(Errno::IO.raw_os_error()), "the device says {errno:?}, not EIO");
    let said = live_update().check();
    ensure!(matches!(said, Err(Error::Damaged)), "liblu says {said:?}");
    Ok(())
}

/// Writes another format into the root, as a kernel of the future might.
fn damage(stage: &mut Stage<'_>) -> Result<()> {
    some(stage)?;
    let memory = File::options().read(true).write(true).open("/dev/mem").context("/dev/mem")?;
    let roots = find_roots(&memory, stage.hop)?;
    let [root] = roots[..] else {
        bail!("{} pages look like the root: {roots:x?}", roots.len());
    };
    memory.write_all_at(b"luo-v6", root).context("write memory")
}

/// What the root of the live update that ends hop `hop` begins with, until it is written.
fn root(hop: usize) -> Result<[u8; 24]> {
    let mut root = [0; 24];
    root[..6].copy_from_slice(b"luo-v5");
    let number = u64::try_from(hop).context("the hop")?;
    root[8..16].copy_from_slice(&number.to_ne_bytes());
    Ok(root)
}

/// Pages that begin like the root. KHO's tree, which has its address, is in debugfs only as it was
/// before the root was added.
fn find_roots(memory: &File, hop: usize) -> Result<Vec<u64>> {
    const PAGE: u64 = 4096;
    let root = root(hop)?;
    let ranges = fs::read_to_string("/proc/iomem").context("read /proc/iomem")?;
    let mut roots = Vec::new();
    for range in ranges.lines().filter_map(|line| line.strip_suffix(" : System RAM")) {
        let number = |text: &str| u64::from_str_radix(text.trim(), 16).context("/proc/iomem");
        let (first, last) = range.split_once('-').context("/proc/iomem")?;
        // Whole pages: the kernel warns if somebody asks for half of one.
        let (first, end) = (number(first)?.next_multiple_of(PAGE), number(last)? + 1);
        let end = (end - end % PAGE).max(first);
        roots.extend(abi::find_pages(memory, first, end, 4096, &root).context("map memory")?);
    }
    Ok(roots)
}

fn damaged(_: &mut Stage<'_>) -> Result<()> {
    open_is_eio()?;
    open_is_eio()?;
    let said = Log::from_the_beginning()?.lines("luo: ")?;
    let named = said.iter().any(|line| line.contains("luo-v6"));
    ensure!(named, "the log does not say what is wrong: {said:?}");
    let incoming = "/sys/kernel/debug/liveupdate/incoming";
    let shown = fs::read_to_string(incoming).with_context(|| format!("read {incoming}"))?;
    ensure!(shown.starts_with("damaged"), "{incoming} says {shown}");
    Ok(())
}

fn nobody_asked(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("boot")?;
    let mut log = Log::begin()?;
    let _finished = finish(session)?;
    let object = format!("object finish {:#x}", test_device::OBJECT);
    check_callbacks(&mut log, &["finish 1 not-tried", "object retrieve", &object])
}

/// A session with a file for tests that depends on no object of ours.
fn without_object(stage: &mut Stage<'_>) -> Result<()> {
    abi::number(test_device()?, test_device::DEPENDENCE, 0).context("unregister the object")?;
    stage.hand_over("boot", test_file(1, 0)?)
}

fn no_object(_: &mut Stage<'_>) -> Result<()> {
    let asked = abi::number(test_device()?, test_device::INCOMING_OBJECT, 0);
    fails("an object that did not come", asked, Errno::NOENT)?;
    let session = retrieve("boot")?;
    let mut log = Log::begin()?;
    let _finished = finish(session)?;
    check_callbacks(&mut log, &["finish 1 not-tried"])
}

fn object_fails(_: &mut Stage<'_>) -> Result<()> {
    let device = test_device()?;
    abi::number(&device, test_device::OBJECT_FAILS, 0).context("tell it")?;
    let mut log = Log::begin()?;
    for _ in 0..2 {
        let asked = abi::number(&device, test_device::INCOMING_OBJECT, 0);
        fails("the object", asked, failure())?;
    }
    check_callbacks(&mut log, &["object retrieve"])?;
    // The file can be finished all the same.
    let session = retrieve("boot")?;
    let _finished = finish(session)?;
    check_callbacks(&mut log, &["finish 1 not-tried"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_has_more_or_less() {
        assert_eq!(Parameters::With("c=d").apply("a b=c"), "a b=c c=d");
        assert_eq!(Parameters::With("").apply("a"), "a");
        assert_eq!(Parameters::Without("b=c").apply("a b=c b=cd"), "a b=cd");
    }
}
