// SPDX-License-Identifier: MIT OR Apache-2.0

//! A session after FINISH: idle, until the first PRESERVE_FD makes it an outgoing one.
//!
//! On the C implementation, the descriptor cannot be used again, and the name stays taken until it
//! is closed. The commands are raw ones, because liblu decides itself about the use of finished
//! sessions.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::io::Errno;

use super::race::{ROUNDS, both};
use super::shown::{check_fdinfo, check_hidden, check_name};
use super::stage::{
    Log, Stage, check_callbacks, check_memfd, create, dup, fails, failure, memfd, not_applicable,
    retrieve, test_file, try_create, try_retrieve,
};
use super::{Kernel, Scenario, TWO_UPDATES};
use crate::{abi, test_device};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("a_finished_session_is_idle", idle_before, idle_after),
    Scenario::across("an_idle_session_crosses_no_kexec", crosses_before, crosses_after),
    Scenario::across("a_descriptor_serves_any_number_of_updates", reuse_before, reuse_after),
    Scenario::across(
        "an_idle_session_claims_its_name_when_it_preserves",
        claim_before,
        claim_after,
    ),
    Scenario::across(
        "a_first_preserve_that_fails_leaves_a_session_idle",
        fails_before,
        fails_after,
    ),
    Scenario::across("two_threads_may_preserve_first", two_before, two_after),
    Scenario::across("closing_an_idle_session_does_nothing", close_before, close_after),
];

/// Retrieves a session, checks the texts of its memfds under tokens from 1, and finishes it; it
/// stays open.
fn idle(name: &str, texts: &[&str]) -> Result<OwnedFd> {
    let session = retrieve(name)?.into_fd();
    for (token, text) in (1..).zip(texts) {
        check_memfd(abi::retrieve_fd(&session, token).context("RETRIEVE_FD")?, text)?;
    }
    abi::finish(&session).context("FINISH")?;
    Ok(session)
}

/// Checks the answers of an idle session; the scenario itself tries PRESERVE_FD.
fn check_idle(session: &OwnedFd, name: &str) -> Result<()> {
    fails("RETRIEVE_FD after FINISH", abi::retrieve_fd(session, 1), Errno::INVAL)?;
    fails("RETRIEVE_SESSION after FINISH", try_retrieve(name), Errno::NOENT)?;
    check_name(session, name)?;
    check_hidden(name)?;
    check_idle_descriptor(session, name)
}

/// An idle session beside an outgoing one of its name: only the descriptor tells them apart.
fn check_idle_descriptor(session: &OwnedFd, name: &str) -> Result<()> {
    fails("FINISH of an idle session", abi::finish(session), Errno::INVAL)?;
    check_fdinfo(session, &format!("session \"{name}\" state=idle files=0\n"))
}

/// Checks that no outgoing session has the name.
fn check_free(name: &str) -> Result<()> {
    create(name).context("the name of an idle session").map(drop)
}

/// Preserves a new memfd.
fn preserve(session: impl AsFd, token: u64, text: &str) -> Result<()> {
    abi::preserve_fd(session, memfd(text)?, token).context("PRESERVE_FD")
}

/// Why most of this is not for C.
const NEVER_IDLE: &str = "on C, the descriptor of a finished session cannot be used again";

fn idle_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("idle", test_file(1, 0)?)
}

fn idle_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = idle("idle", &[])?;
    if stage.kernel == Kernel::C {
        // On C, the descriptor cannot be used again.
        abi::finish(&session).context("FINISH after FINISH")?;
        fails("RETRIEVE_FD after FINISH", abi::retrieve_fd(&session, 1), Errno::NOENT)?;
        fails("RETRIEVE_SESSION after FINISH", try_retrieve("idle"), Errno::INVAL)?;
        let preserved = abi::preserve_fd(&session, memfd("x")?, 1);
        return fails("PRESERVE_FD after FINISH", preserved, Errno::INVAL);
    }
    check_idle(&session, "idle")?;
    check_free("idle")?;
    check_idle(&dup(&session)?, "idle")
}

fn crosses_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over(format!("idle-of-{}", stage.hop), memfd("x")?)
}

fn crosses_after(stage: &mut Stage<'_>) -> Result<()> {
    for earlier in 1..stage.hop - 1 {
        let came = try_retrieve(format!("idle-of-{earlier}"));
        fails("a session that was idle", came, Errno::NOENT)?;
    }
    let session = idle(&format!("idle-of-{}", stage.hop - 1), &[])?;
    stage.keep(session);
    if stage.hop == 2 {
        return not_applicable(TWO_UPDATES);
    }
    Ok(())
}

/// In each hop: the session that came is finished, and the same descriptor takes the next file.
fn reuse_before(stage: &mut Stage<'_>) -> Result<()> {
    // In later hops, the part after the kexec has kept the session.
    if stage.hop > 1 && stage.kernel == Kernel::Rust {
        return Ok(());
    }
    stage.hand_over("reuse", memfd("by a new session")?)
}

fn reuse_after(stage: &mut Stage<'_>) -> Result<()> {
    let reused = stage.hop > 2 && stage.last == Some(Kernel::Rust);
    let text = if reused { "by an idle session" } else { "by a new session" };
    let session = idle("reuse", &[text])?;
    if stage.kernel == Kernel::Rust {
        preserve(&session, 1, "by an idle session")?;
        fails("RETRIEVE_FD on an outgoing session", abi::retrieve_fd(&session, 1), Errno::INVAL)?;
        fails("FINISH of an outgoing session", abi::finish(&session), Errno::INVAL)?;
        stage.keep(session);
    }
    Ok(())
}

fn claim_before(stage: &mut Stage<'_>) -> Result<()> {
    if stage.hop > 1 && stage.kernel == Kernel::Rust {
        // The part after the kexec has kept the session.
        return Ok(());
    }
    let session = create("claim")?;
    preserve(&session, 1, "claimed")?;
    preserve(&session, 2, "later")?;
    stage.keep(session);
    Ok(())
}

fn claim_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = idle("claim", &["claimed", "later"])?;
    if stage.kernel == Kernel::C {
        return not_applicable(NEVER_IDLE);
    }
    // Another session takes the name first.
    let other = create("claim").context("CREATE_SESSION of the name of an idle session")?;
    for _ in 0..2 {
        let preserved = abi::preserve_fd(&session, memfd("x")?, 1);
        fails("PRESERVE_FD while another has the name", preserved, Errno::EXIST)?;
        check_idle_descriptor(&session, "claim")?;
    }
    preserve(&other, 1, "of the other")?;
    drop(other);
    preserve(&session, 1, "claimed").context("when the other is closed")?;
    fails("the name, claimed", try_create("claim"), Errno::EXIST)?;
    preserve(&session, 2, "later")?;
    stage.keep(session);
    Ok(())
}

fn fails_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("idle-fails", memfd("x")?)
}

fn fails_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = idle("idle-fails", &[])?;
    if stage.kernel == Kernel::C {
        return not_applicable(NEVER_IDLE);
    }
    let check = |what: &str, preserved: rustix::io::Result<()>, errno| {
        fails(what, preserved, errno)?;
        check_idle(&session, "idle-fails")?;
        check_free("idle-fails")
    };
    check("no file", abi::preserve_number(&session, -1, 1), Errno::BADF)?;
    let null = fs::File::open("/dev/null").context("open /dev/null")?;
    check("a file without a handler", abi::preserve_fd(&session, &null, 1), Errno::NOENT)?;
    let bad = test_file(181, test_device::PLAIN | test_device::PRESERVE_FAILS)?;
    check("a handler that fails", abi::preserve_fd(&session, &bad, 1), failure())?;
    let (other, taken) = (create("idle-fails-other")?, memfd("y")?);
    other.preserve(1.into(), &taken).context("PRESERVE_FD")?;
    check("a file of another", abi::preserve_fd(&session, &taken, 1), Errno::BUSY)?;
    // None of these commands has changed the idle session.
    preserve(&session, 1, "x")?;
    fails("the name, claimed", try_create("idle-fails"), Errno::EXIST)?;
    drop(session);
    check_free("idle-fails")
}

fn two_before(stage: &mut Stage<'_>) -> Result<()> {
    (0..ROUNDS).try_for_each(|round| {
        let session = create(format!("idle-two-{round}"))?;
        preserve(&session, 1, "one")?;
        preserve(&session, 2, "two")?;
        stage.keep(session);
        Ok(())
    })
}

fn two_after(stage: &mut Stage<'_>) -> Result<()> {
    for round in 0..ROUNDS {
        let name = format!("idle-two-{round}");
        let session = idle(&name, &["one", "two"])?;
        if stage.kernel == Kernel::C {
            continue;
        }
        let (three, four) = (memfd("three")?, memfd("four")?);
        let preserve = |token, file| abi::preserve_fd(&session, file, token);
        let (one, two) = both(round, || preserve(1, &three), || preserve(2, &four))?;
        one.and(two).context("PRESERVE_FD")?;
        fails("the name, claimed", try_create(&name), Errno::EXIST)?;
        drop(session);
        check_free(&name)?;
    }
    if stage.kernel == Kernel::C {
        return not_applicable(NEVER_IDLE);
    }
    Ok(())
}

fn close_before(stage: &mut Stage<'_>) -> Result<()> {
    if stage.hop > 1 && stage.kernel == Kernel::Rust {
        // The part after the kexec has kept the session.
        return Ok(());
    }
    stage.hand_over("idle-close", test_file(182, test_device::PLAIN)?)
}

/// An idle session beside an outgoing one of its name: only the idle one is closed.
fn close_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = idle("idle-close", &[])?;
    if stage.kernel == Kernel::C {
        return not_applicable(NEVER_IDLE);
    }
    stage.hand_over("idle-close", test_file(182, test_device::PLAIN)?)?;
    let mut log = Log::begin()?;
    drop(session);
    check_callbacks(&mut log, &[])?;
    fails("the name of the outgoing session", try_create("idle-close"), Errno::EXIST)
}
