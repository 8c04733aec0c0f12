// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names of sessions, and the sessions that have them.

use anyhow::{Context, Result, ensure};
use liblu::IncomingSession;
use liveupdate_uapi::{Command, CreateSession, RetrieveSession, SESSION_NAME_LENGTH};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::shown::check_name;
use super::stage::{
    Stage, check_descriptor, create, device, dup, fails, finish, not_applicable, retrieve,
    try_create, try_retrieve,
};
use super::{Kernel, Scenario, TWO_UPDATES};
use crate::abi;

/// Names of unusual bytes that a session may have.
const ODD: [&[u8]; 5] =
    [b" ", b"a\nb\tc", b"\x01\x7f\x80\xff", "Grüße, 世界".as_bytes(), b"..//.."];

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("a_name_is_1_to_63_bytes_with_a_nul", name_errors),
    Scenario::here("two_outgoing_sessions_cannot_have_one_name", exist),
    Scenario::here("get_name_returns_all_of_the_name", get_name),
    Scenario::here("an_unknown_session_is_enoent", unknown),
    Scenario::across("names_of_63_and_of_odd_bytes_cross", odd_before, odd_after),
    Scenario::across("a_session_has_one_holder", holder_before, holder_after),
    Scenario::across(
        "what_is_never_finished_is_gone_with_the_next_update",
        gone_before,
        gone_after,
    ),
    Scenario::across("incoming_and_outgoing_sessions_may_share_a_name", share_before, share_after),
];

fn name_errors(_: &mut Stage<'_>) -> Result<()> {
    let device = device()?;
    for name in [[0; SESSION_NAME_LENGTH], [b'x'; SESSION_NAME_LENGTH]] {
        let argument = CreateSession::new(name);
        let result = abi::raw(&device, CreateSession::OPCODE, argument.as_bytes());
        fails("a bad name", result.map(|_| ()), Errno::INVAL)?;
    }
    drop(device);
    create([b'x'; 63]).context("63 bytes")?;
    create("x").context("1 byte")?;
    Ok(())
}

fn exist(_: &mut Stage<'_>) -> Result<()> {
    let session = create("exist")?;
    fails("the same name", try_create("exist"), Errno::EXIST)?;
    let longer = create("exists")?;
    drop(session);
    create("exist").context("after the first was closed")?;
    drop(longer);
    Ok(())
}

fn get_name(_: &mut Stage<'_>) -> Result<()> {
    let long: Vec<u8> = (0..63).map(|at| b'A' + at % 26).collect();
    for name in ODD.iter().copied().chain([&long[..]]) {
        let session = create(name)?;
        check_name(&session, name)?;
        let there = session.name().context("its name")?;
        ensure!(there.as_bytes() == name, "liblu says {there:?}");
    }
    Ok(())
}

fn unknown(_: &mut Stage<'_>) -> Result<()> {
    fails("no such session", try_retrieve("nobody"), Errno::NOENT)?;
    let device = device()?;
    for name in [[0; SESSION_NAME_LENGTH], [b'x'; SESSION_NAME_LENGTH]] {
        let argument = RetrieveSession::new(name);
        let result = abi::raw(&device, RetrieveSession::OPCODE, argument.as_bytes());
        fails("no name at all", result.map(|_| ()), Errno::NOENT)?;
    }
    Ok(())
}

fn odd_before(stage: &mut Stage<'_>) -> Result<()> {
    for name in ODD {
        stage.keep(create(name)?);
    }
    stage.keep(create([b'6'; 63])?);
    Ok(())
}

fn odd_after(_: &mut Stage<'_>) -> Result<()> {
    for name in ODD.iter().copied().chain([&[b'6'; 63][..]]) {
        let session = retrieve(name)?;
        check_name(&session, name)?;
        let there = session.name().context("its name")?;
        ensure!(there.as_bytes() == name, "liblu says {there:?}");
        finish(session)?;
    }
    Ok(())
}

fn holder_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.keep(create("holder")?);
    Ok(())
}

fn holder_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("holder")?;
    check_descriptor(&session, "holder")?;
    fails("while it is held", try_retrieve("holder"), Errno::INVAL)?;
    let copy = IncomingSession::from_fd(dup(&session)?, &"holder".parse()?)?;
    drop(session.into_fd());
    fails("while a copy holds it", try_retrieve("holder"), Errno::INVAL)?;
    let finished = finish(copy)?;
    // C keeps the name until the descriptor is closed. Rust has released the name.
    let errno = stage.kernel.pick(Errno::INVAL, Errno::NOENT);
    fails("after FINISH", try_retrieve("holder"), errno)?;
    drop(finished);
    fails("after FINISH and close", try_retrieve("holder"), Errno::NOENT)
}

fn share_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.keep(create("share")?);
    Ok(())
}

fn share_after(_: &mut Stage<'_>) -> Result<()> {
    let outgoing = create("share").context("beside an incoming session")?;
    let incoming = retrieve("share")?;
    fails("RETRIEVE_FD on the outgoing", abi::retrieve_fd(&outgoing, 1), Errno::INVAL)?;
    fails("RETRIEVE_FD on the incoming", incoming.retrieve(1.into()), Errno::NOENT)?;
    finish(incoming).map(drop)
}

/// A session that is never finished. It has no files: FLBs that its files depend on would not be
/// finished either.
fn gone_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.keep(create(format!("gone-{}", stage.hop))?);
    Ok(())
}

fn gone_after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::Rust {
        // C would finish it.
        drop(retrieve(format!("gone-{}", stage.hop - 1))?);
        drop(retrieve(format!("gone-{}", stage.hop - 1))?);
    }
    for earlier in 1..stage.hop - 1 {
        let result = try_retrieve(format!("gone-{earlier}"));
        fails("a session of an earlier update", result, Errno::NOENT)?;
    }
    if stage.hop == 2 {
        return not_applicable(TWO_UPDATES);
    }
    Ok(())
}
