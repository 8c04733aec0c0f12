// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handlers and FLBs that are registered and unregistered with their module.

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;

use super::stage::{
    Log, Stage, ask, check_callbacks, create, fails, not_applicable, number_of, test_file,
};
use super::{Kernel, Scenario};
use crate::test_device;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("a_handler_may_leave_and_come_back", handler),
    Scenario::here("an_object_may_leave_and_come_back", object),
    Scenario::here("a_preserved_file_outlasts_the_registration_of_its_handler", outlasts),
    Scenario::here("a_preserved_object_outlasts_its_registration", object_outlasts),
    Scenario::here("a_registration_that_makes_no_sense_is_refused", refused),
];

/// Registers the handler and the FLB again, also if the test fails.
struct ComeBack;

impl Drop for ComeBack {
    fn drop(&mut self) {
        // A registration that exists already fails; this is expected.
        let _ = ask(test_device::HANDLER, 1);
        let _ = ask(test_device::DEPENDENCE, 1);
        let _ = ask(test_device::PLAIN_HANDLER, 1);
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
fn refused(stage: &mut Stage<'_>) -> Result<()> {
    let invalid = -Errno::INVAL.raw_os_error();
    let name = stage.kernel.pick(0, invalid);
    let mut expected = incomplete(Errno::INVAL);
    for what in ["empty", "endless"] {
        expected.push(format!("{what} name: handler {name}, object {name}"));
    }
    expected.push(format!("too many objects: -{}", Errno::NOSPC.raw_os_error()));
    check_refused(&expected)
}

/// The registrations that were refused while the kernel booted with LUO off.
pub(super) fn check_off() -> Result<()> {
    let off = -Errno::OPNOTSUPP.raw_os_error();
    let mut expected = incomplete(Errno::OPNOTSUPP);
    expected.push(format!("off: handler {off}, object {off}"));
    check_refused(&expected)
}

/// What the log says about handlers that have not all operations.
fn incomplete(errno: Errno) -> Vec<String> {
    let errno = errno.raw_os_error();
    (0..5).map(|missing| format!("operation {missing} is missing: -{errno}")).collect()
}

fn check_refused(expected: &[String]) -> Result<()> {
    let said = Log::from_the_beginning()?.lines("luo_test_refused: ")?;
    ensure!(said == expected, "the kernel says {said:?}, not {expected:?}");
    Ok(())
}

/// Files of a handler that is not registered any more: none can be preserved, and those that are
/// preserved stay so.
fn outlasts(stage: &mut Stage<'_>) -> Result<()> {
    let _come_back = ComeBack;
    let (session, file) = (create("outlasts")?, test_file(1, test_device::PLAIN)?);
    session.preserve(1.into(), &file).context("PRESERVE_FD")?;
    let mut log = Log::begin()?;
    ask(test_device::PLAIN_HANDLER, 0).context("unregister the handler")?;
    check_callbacks(&mut log, &[])?;
    let other = test_file(2, test_device::PLAIN)?;
    fails("without a handler", session.preserve(2.into(), &other), Errno::NOENT)?;
    fails("its token", session.preserve(1.into(), &other), Errno::EXIST)?;
    ensure!(number_of(&file)? == 1, "the file has changed");
    if stage.kernel == Kernel::C {
        // C forgets which FLBs the file depends on: here, all files depend on those of upstream's
        // test, which must be given back.
        ask(test_device::PLAIN_HANDLER, 1).context("register the handler again")?;
    }
    drop(session);
    check_callbacks(&mut log, &["unpreserve 1 true"])?;
    if stage.kernel == Kernel::Rust {
        ask(test_device::PLAIN_HANDLER, 1).context("register the handler again")?;
    }
    let session = create("outlasts")?;
    session.preserve(1.into(), &file).context("PRESERVE_FD")?;
    check_callbacks(&mut log, &["preserve 1"])
}

fn object_outlasts(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::C {
        return not_applicable("on C, the FLB stays preserved for ever");
    }
    for command in [test_device::DEPENDENCE, test_device::HANDLER] {
        let _come_back = ComeBack;
        let session = create("object-outlasts")?;
        let mut log = Log::begin()?;
        session.preserve(1.into(), test_file(1, 0)?).context("PRESERVE_FD")?;
        check_callbacks(&mut log, &["object preserve", "preserve 1"])?;
        ask(command, 0).context("unregister")?;
        check_callbacks(&mut log, &[])?;
        drop(session);
        check_callbacks(&mut log, &["unpreserve 1 true", "object unpreserve true"])?;
    }
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
