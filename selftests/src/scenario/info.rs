// SPDX-License-Identifier: MIT OR Apache-2.0

//! GET_INFO, the private extension that says the state of a session.

use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use liveupdate_uapi::GetInfo;
use rustix::io::Errno;

use super::stage::{Stage, create, device, fails, memfd, retrieve};
use super::{Kernel, Scenario};
use crate::abi;

pub(super) const ALL: &[Scenario] =
    &[Scenario::across("a_session_says_its_state_and_how_it_is_treated", before, after)];

const NAME: &str = "info";

/// Checks the answer of a session. C has no such command.
fn check(stage: &Stage<'_>, session: impl AsFd, expected: u32) -> Result<()> {
    let answer = abi::info_of(session);
    if stage.kernel == Kernel::C {
        return fails("GET_INFO", answer, Errno::INVAL);
    }
    let features = GetInfo::RETRIEVE_AFTER_CLOSE | GetInfo::REUSE_AFTER_FINISH;
    ensure!(answer == Ok((expected, features)), "GET_INFO says {answer:?}, not {expected}");
    Ok(())
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create(NAME)?;
    check(stage, &session, GetInfo::OUTGOING)?;
    session.preserve(1.into(), memfd("x")?).context("PRESERVE_FD")?;
    check(stage, &session, GetInfo::OUTGOING)?;
    stage.keep(session);
    let errno = stage.kernel.pick(Errno::INVAL, Errno::NOTTY);
    fails("GET_INFO on the device", abi::info_of(device()?), errno)
}

fn after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve(NAME)?.into_fd();
    check(stage, &session, GetInfo::INCOMING)?;
    abi::finish(&session).context("FINISH")?;
    check(stage, &session, GetInfo::IDLE)?;
    if stage.kernel == Kernel::Rust {
        abi::preserve_fd(&session, memfd("y")?, 1).context("PRESERVE_FD of an idle session")?;
        check(stage, &session, GetInfo::OUTGOING)?;
    }
    Ok(())
}
