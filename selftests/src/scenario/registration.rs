// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handlers and FLBs that are registered and unregistered with their module.

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;

use super::Scenario;
use super::stage::{Log, Stage, ask, check_callbacks, create, fails, test_file};
use crate::test_device;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("a_handler_may_leave_and_come_back", handler),
    Scenario::here("an_object_may_leave_and_come_back", object),
    Scenario::here("a_registration_that_makes_no_sense_is_refused", refused),
];

/// Registers the handler and the FLB again, also if the test fails.
struct ComeBack;

impl Drop for ComeBack {
    fn drop(&mut self) {
        // A registration that exists already fails; this is expected.
        let _ = ask(test_device::HANDLER, 1);
        let _ = ask(test_device::DEPENDENCE, 1);
    }
}

fn handler(_: &mut Stage<'_>) -> Result<()> {
    let session = create("handler")?;
    let file = test_file(1, 0)?;
    let _come_back = ComeBack;
    fails("a handler twice", ask(test_device::HANDLER, 1), Errno::EXIST)?;
    ask(test_device::HANDLER, 0).context("unregister the handler")?;
    fails("without a handler", session.preserve(1.into(), &file), Errno::NOENT)?;
    ask(test_device::HANDLER, 1).context("register the handler again")?;

    // The FLB was unregistered with it.
    let mut log = Log::begin()?;
    session.preserve(1.into(), &file).context("PRESERVE_FD")?;
    check_callbacks(&mut log, &["preserve 1"])?;
    drop(session);
    check_callbacks(&mut log, &["unpreserve 1 true"])
}

/// The registrations that were refused while the kernel booted.
fn refused(_: &mut Stage<'_>) -> Result<()> {
    let said = Log::from_the_beginning()?.lines("luo_test_refused: ")?;
    let mut expected: Vec<_> = (0..5)
        .map(|missing| format!("operation {missing} is missing: -{}", Errno::INVAL.raw_os_error()))
        .collect();
    expected.push(format!("too many objects: -{}", Errno::NOSPC.raw_os_error()));
    ensure!(said == expected, "the kernel says {said:?}, not {expected:?}");
    Ok(())
}

fn object(_: &mut Stage<'_>) -> Result<()> {
    let session = create("dependence")?;
    let _come_back = ComeBack;
    fails("an FLB twice", ask(test_device::DEPENDENCE, 1), Errno::EXIST)?;
    ask(test_device::DEPENDENCE, 0).context("unregister the FLB")?;
    let mut log = Log::begin()?;
    session.preserve(1.into(), test_file(1, 0)?).context("PRESERVE_FD")?;
    check_callbacks(&mut log, &["preserve 1"])?;
    drop(session);
    check_callbacks(&mut log, &["unpreserve 1 true"])?;

    ask(test_device::DEPENDENCE, 1).context("register the FLB again")?;
    let session = create("dependence")?;
    session.preserve(1.into(), test_file(2, 0)?).context("PRESERVE_FD")?;
    drop(session);
    let expected = ["object preserve", "preserve 2", "unpreserve 2 true", "object unpreserve true"];
    check_callbacks(&mut log, &expected)
}
