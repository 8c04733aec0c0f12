// SPDX-License-Identifier: MIT OR Apache-2.0

//! The result of a `vm-test`; every report is made from this.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// All that one command found out about a list of hops.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Outcome {
    /// The kernels booted one after the other: `["c", "c"]`.
    pub(crate) chain: Vec<String>,
    /// `release` or `debug`.
    pub(crate) profile: String,
    /// `tcg` or `kvm`.
    pub(crate) accel: String,
    /// Version of the kernel source.
    pub(crate) linux: String,
    /// When it began, in seconds since 1970.
    pub(crate) started: u64,
    /// How long all of it took, builds included.
    #[serde(rename = "elapsed_ms", serialize_with = "millis")]
    pub(crate) elapsed: Duration,
    /// Tests, in the order in which they are shown.
    pub(crate) tests: Vec<TestOutcome>,
    /// Live updates, in order.
    pub(crate) updates: Vec<Update>,
    /// The troubles outside any single test.
    pub(crate) troubles: Vec<Trouble>,
    /// Machines that were run again; their first runs count for nothing.
    pub(crate) retries: Vec<Retry>,
    /// Whole logs, one for each virtual machine.
    pub(crate) logs: Vec<PathBuf>,
}

/// One test in all hops in which it ran.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TestOutcome {
    /// `upstream` or `scenarios`.
    pub(crate) suite: String,
    /// Its name.
    pub(crate) name: String,
    /// A verdict for each hop in which the test has one, by ascending hop.
    pub(crate) cells: Vec<Cell>,
}

/// The verdict of one test in one hop.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    /// Number of the hop, from 1.
    pub(crate) hop: usize,
    /// How it went.
    pub(crate) verdict: Verdict,
    /// Why, when it did not pass or makes no sense: a sentence, perhaps with lines of output below.
    pub(crate) detail: Option<String>,
    /// How long it took in the guest, if known.
    #[serde(rename = "elapsed_ms", serialize_with = "opt_millis")]
    pub(crate) elapsed: Option<Duration>,
    /// Subtests that passed.
    pub(crate) subtests: usize,
}

/// How a test went in a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// All that the test does in this hop is right.
    Passed,
    /// The half before the kexec is right; the next hop has the verdict.
    Prepared,
    /// The test makes no sense in this hop, and has checked nothing that it is named for.
    NotApplicable,
    /// Something is wrong.
    Failed,
    /// The guest said nothing about it, which is as bad as a failure.
    Missing,
}

impl Verdict {
    /// Whether the run may still succeed.
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::Passed | Self::Prepared | Self::NotApplicable)
    }
}

/// The timeline of one live update.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Update {
    /// Number of the hop that was left, from 1.
    pub(crate) hop: usize,
    /// Kernel that was left: `c` or `rust`.
    pub(crate) from: String,
    /// Kernel that was entered.
    pub(crate) to: String,
    /// The command by which it was entered, if the guest has not called `reboot(2)` itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<&'static str>,
    /// Moments after the reboot call, in order.
    pub(crate) marks: Vec<Mark>,
}

/// A moment of a live update.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Mark {
    /// The event: `new kernel's first line`.
    pub(crate) name: String,
    /// How long after the reboot call.
    #[serde(rename = "ms", serialize_with = "millis")]
    pub(crate) after: Duration,
}

/// Something that ended a virtual machine, or that its kernel complained about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Trouble {
    /// Number of the hop in which it happened, from 1; 0 before the first kernel spoke.
    pub(crate) hop: usize,
    /// The trouble, as a sentence: `kernel panic in hop 2 (c): ...`.
    pub(crate) what: String,
    /// The part of the log that matters.
    pub(crate) excerpt: Vec<String>,
    /// Where the whole log lies.
    pub(crate) log: PathBuf,
}

/// A machine that was run again: a known defect of QEMU had ended it, and nothing else was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Retry {
    /// Name of the machine.
    pub(crate) machine: String,
    /// The fault of QEMU, in words.
    pub(crate) defect: &'static str,
    /// The report about it, an address.
    pub(crate) report: &'static str,
    /// Where the whole log of the first run lies.
    pub(crate) log: PathBuf,
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, defect, report, log } = self;
        let log = log.display();
        write!(f, "machine {machine} was run again: a defect of QEMU: {defect} ({report}); {log}")
    }
}

impl Outcome {
    /// Whether everything passed: every test has a good verdict, and nothing else went wrong.
    pub(crate) fn passed(&self) -> bool {
        self.troubles.is_empty()
            && self.tests.iter().all(|test| test.passed() || test.is_not_applicable())
            && self.tests.iter().any(TestOutcome::passed)
    }
}

impl TestOutcome {
    /// Whether it passed in every hop, with at least one verdict.
    pub(crate) fn passed(&self) -> bool {
        self.cells.iter().any(|cell| cell.verdict == Verdict::Passed)
            && self.cells.iter().all(|cell| cell.verdict.is_good())
    }

    /// Whether it has no verdict but that it makes no sense.
    pub(crate) fn is_not_applicable(&self) -> bool {
        let is = |cell: &Cell| cell.verdict == Verdict::NotApplicable;
        self.cells.last().is_some_and(is)
            && self.cells.iter().all(|cell| is(cell) || cell.verdict == Verdict::Prepared)
    }
}

fn millis<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3)
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn opt_millis<S: serde::Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => millis(time, to),
        None => to.serialize_none(),
    }
}
