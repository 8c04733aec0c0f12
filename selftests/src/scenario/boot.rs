// SPDX-License-Identifier: MIT OR Apache-2.0

//! Kernels that are booted with other parameters, on a machine of their own.

pub(super) mod damage;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use liblu::Unavailable;
use rustix::io::Errno;

use super::registration::check_off;
use super::stage::{
    Log, Stage, check_callbacks, check_memfd, fails, failure, finish, live_update, memfd, retrieve,
    test_device, test_file, try_create,
};
use super::trace::{Trace, check_event};
use super::{Scenario, kho, module};
use crate::{abi, test_device};

/// A scenario whose second kernel is booted with other parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The scenario, with both halves.
    pub scenario: Scenario,
    /// The difference in the command line of the second kernel.
    pub parameters: Parameters,
    /// Only for Rust: C has no such parameter, or would not survive the scenario.
    pub is_rust_only: bool,
    /// The first on its machine: the scenario counts live updates or sessions, or searches for
    /// pages of which earlier kernels leave some behind.
    pub is_first: bool,
}

/// A difference of command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// The command line has these parameters too.
    With(&'static str),
    /// The command line does not have this parameter.
    Without(&'static str),
}

impl Parameters {
    /// `cmdline` with this difference.
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

/// All such scenarios, in the order in which machines play them.
pub const ALL: &[Boot] = &[
    Boot {
        scenario: Scenario::across(
            "a_damaged_handover_is_eio_if_told_to_go_on",
            damage::root_before,
            damage::root_after,
        ),
        parameters: Parameters::With("liveupdate_restore=continue"),
        is_rust_only: true,
        is_first: true,
    },
    Boot {
        scenario: Scenario::across("a_kernel_with_luo_off_ignores_what_it_gets", some, off),
        parameters: Parameters::With("liveupdate=off"),
        is_rust_only: false,
        is_first: false,
    },
    Boot {
        scenario: Scenario::across("a_kernel_without_kho_has_no_luo", some, off),
        parameters: Parameters::With("kho=off"),
        is_rust_only: false,
        is_first: false,
    },
    Boot {
        scenario: Scenario::across(
            "a_damaged_chain_of_sessions_is_eio_if_told_to_go_on",
            damage::chain_before,
            damage::chain_after,
        ),
        parameters: Parameters::With("liveupdate_restore=continue"),
        is_rust_only: true,
        is_first: true,
    },
    Boot {
        scenario: Scenario::across("luo_is_off_if_nobody_asks_for_it", some, off),
        parameters: Parameters::Without("liveupdate=on"),
        is_rust_only: false,
        is_first: false,
    },
    Boot {
        scenario: Scenario::across("a_tracepoint_says_how_long_the_first_open_took", some, traced),
        parameters: Parameters::With("trace_event=liveupdate:luo_deserialize"),
        is_rust_only: true,
        is_first: false,
    },
    Boot {
        scenario: Scenario::across(
            "a_damaged_page_of_flbs_is_eio_if_told_to_go_on",
            damage::flbs_before,
            damage::flbs_after,
        ),
        parameters: Parameters::With("liveupdate_restore=continue"),
        is_rust_only: true,
        is_first: true,
    },
    Boot {
        scenario: Scenario::across(
            "a_module_that_is_loaded_too_late_is_eio_for_ever",
            module::boot_before,
            module::boot_late,
        ),
        parameters: Parameters::With(""),
        is_rust_only: false,
        is_first: false,
    },
    Boot {
        scenario: Scenario::across(
            "an_object_that_nobody_asked_for_is_finished",
            with_handler,
            nobody_asked,
        ),
        parameters: Parameters::With(""),
        // At this time C has not counted the users of the FLB yet, and warns.
        is_rust_only: true,
        is_first: false,
    },
    Boot {
        scenario: Scenario::across(
            "an_empty_last_block_of_sessions_is_accepted",
            full_before,
            full_after,
        ),
        parameters: Parameters::With(""),
        // C refuses the block that C has written itself, and panics.
        is_rust_only: true,
        is_first: true,
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
        is_first: false,
    },
    Boot {
        scenario: Scenario::across(
            "an_object_that_failed_fails_for_ever",
            with_handler,
            object_fails,
        ),
        parameters: Parameters::With(""),
        // At this time C has not counted the users of the FLB yet, and warns.
        is_rust_only: true,
        is_first: false,
    },
    Boot {
        scenario: Scenario::across("kho_shows_no_root_that_was_freed", some, kho::root_freed),
        parameters: Parameters::With(""),
        is_rust_only: false,
        is_first: false,
    },
    Boot {
        scenario: Scenario::across(
            "memory_that_was_not_preserved_is_no_root",
            kho::forge,
            kho::forged,
        ),
        parameters: Parameters::With("liveupdate_restore=continue"),
        // C reads the memory nevertheless, and warns.
        is_rust_only: true,
        is_first: false,
    },
];

/// A session with a memfd.
pub(super) fn some(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("boot", memfd("x")?)
}

fn off(_: &mut Stage<'_>) -> Result<()> {
    let node = Path::new(liveupdate_uapi::DEVICE);
    ensure!(!node.exists(), "{} is there", node.display());
    let why = live_update().check().err();
    let why = why.as_ref().and_then(liblu::Error::unavailable);
    ensure!(
        matches!(why, Some(Unavailable::NotEnabled | Unavailable::KhoOff)),
        "liblu says {why:?}"
    );
    // No FLB can be registered, so there is none.
    let asked = abi::number(test_device()?, test_device::OUTGOING_OBJECT, 0);
    fails("an FLB", asked, Errno::OPNOTSUPP)?;
    let handler = abi::number(test_device()?, test_device::HANDLER, 1);
    fails("a handler", handler, Errno::OPNOTSUPP)?;
    check_off()
}

fn traced(_: &mut Stage<'_>) -> Result<()> {
    let trace = Trace::seen()?;
    ensure!(trace.is_empty(), "before the first open: {trace:?}");
    for _ in 0..2 {
        live_update().check().context("open the device")?;
    }
    // Only the first open.
    let trace = Trace::seen()?;
    let [event] = &trace[..] else { bail!("the events are {trace:?}") };
    check_event(event, "deserialize: sessions=1 ", 0)
}

/// A session with a file for tests.
fn with_handler(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("boot", test_file(1, 0)?)
}

fn nobody_asked(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("boot")?;
    let mut log = Log::begin()?;
    let _finished = finish(session)?;
    let object = format!("object finish {:#x}", test_device::OBJECT);
    check_callbacks(&mut log, &["finish 1 not-tried", "object retrieve", &object])
}

/// A session with a file for tests that does not depend on the FLB for tests.
fn without_object(stage: &mut Stage<'_>) -> Result<()> {
    abi::number(test_device()?, test_device::DEPENDENCE, 0).context("unregister the FLB")?;
    stage.hand_over("boot", test_file(1, 0)?)
}

fn no_object(_: &mut Stage<'_>) -> Result<()> {
    let asked = abi::number(test_device()?, test_device::INCOMING_OBJECT, 0);
    fails("an FLB that did not come", asked, Errno::NOENT)?;
    let session = retrieve("boot")?;
    let mut log = Log::begin()?;
    let _finished = finish(session)?;
    check_callbacks(&mut log, &["finish 1 not-tried"])
}

fn object_fails(_: &mut Stage<'_>) -> Result<()> {
    let device = test_device()?;
    abi::number(&device, test_device::OBJECT_FAILS, 0).context("tell the test device")?;
    let mut log = Log::begin()?;
    for _ in 0..2 {
        let asked = abi::number(&device, test_device::INCOMING_OBJECT, 0);
        fails("the FLB", asked, failure())?;
    }
    check_callbacks(&mut log, &["object retrieve"])?;
    // The file can be finished nevertheless.
    let session = retrieve("boot")?;
    let _finished = finish(session)?;
    check_callbacks(&mut log, &["finish 1 not-tried"])
}

/// Sessions that fill their block to the last entry.
const FULL: u32 = 51;

/// The C implementation makes room for one more session before it looks for its name, and hands
/// over the block without an entry.
fn full_before(stage: &mut Stage<'_>) -> Result<()> {
    for number in 0..FULL {
        stage.hand_over(format!("full-{number}"), memfd(&number.to_string())?)?;
    }
    fails("a name that is taken", try_create("full-0"), Errno::EXIST)
}

fn full_after(_: &mut Stage<'_>) -> Result<()> {
    for number in 0..FULL {
        let session = retrieve(format!("full-{number}"))?;
        let file = session.retrieve(1.into()).context("RETRIEVE_FD")?;
        check_memfd(&file, &number.to_string())?;
        finish(session)?;
    }
    Ok(())
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
