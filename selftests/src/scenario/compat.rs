// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands of 32-bit programs.
//!
//! The C implementation has none; there, the scenario only checks that they are refused.

use std::fmt::Debug;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, ensure};
use liveupdate_uapi::{
    Command, CreateSession, Finish, GetName, PreserveFd, RetrieveFd, RetrieveSession,
};
use rustix::io::Errno;

use super::stage::{
    Stage, check_descriptor, check_memfd, create, device, fails, finish, memfd, retrieve,
    try_create, try_retrieve,
};
use super::{Kernel, Scenario};
use crate::abi::{compat, session_name};

pub(super) const ALL: &[Scenario] =
    &[Scenario::across("a_32_bit_program_can_send_each_command", before, after)];

const NAME: &str = "compat";

/// Checks that C refuses a command of a 32-bit program.
fn refuses<C: Command + Debug>(on: impl AsFd, mut command: C) -> Result<()> {
    let what = format!("{command:?} of a 32-bit program");
    fails(&what, compat::command(on, &mut command), Errno::NOTTY)
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    let file = memfd(NAME)?;
    let to_create = CreateSession::new(session_name(NAME.as_bytes()).context("name")?);
    let to_preserve = PreserveFd::new(file.as_raw_fd(), 1);
    if stage.kernel == Kernel::C {
        refuses(device()?, to_create)?;
        let session = create(NAME)?;
        refuses(&session, GetName::new())?;
        refuses(&session, to_preserve)?;
        session.preserve(1.into(), &file).context("PRESERVE_FD")?;
        stage.keep(session);
        return Ok(());
    }
    let session = compat::command_to_file(device()?, to_create, |created| created.fd);
    let session = session.context("CREATE_SESSION")?;
    check_descriptor(&session, NAME)?;
    fails("its name", try_create(NAME), Errno::EXIST)?;
    let mut named = GetName::new();
    compat::command(&session, &mut named).context("GET_NAME")?;
    ensure!(Ok(named.name) == session_name(NAME.as_bytes()), "the name is {:?}", named.name);
    let mut to_preserve = to_preserve;
    compat::command(&session, &mut to_preserve).context("PRESERVE_FD")?;
    fails("PRESERVE_FD again", compat::command(&session, &mut to_preserve), Errno::EXIST)?;
    stage.keep(session);
    Ok(())
}

fn after(stage: &mut Stage<'_>) -> Result<()> {
    let to_retrieve = RetrieveSession::new(session_name(NAME.as_bytes()).context("name")?);
    if stage.kernel == Kernel::C {
        refuses(device()?, to_retrieve)?;
        let session = retrieve(NAME)?;
        refuses(&session, RetrieveFd::new(1))?;
        check_memfd(session.retrieve(1.into()).context("RETRIEVE_FD")?, NAME)?;
        refuses(&session, Finish::new())?;
        return finish(session).map(drop);
    }
    let session = compat::command_to_file(device()?, to_retrieve, |retrieved| retrieved.fd);
    let session = session.context("RETRIEVE_SESSION")?;
    check_descriptor(&session, NAME)?;
    let file = compat::command_to_file(&session, RetrieveFd::new(1), |retrieved| retrieved.fd);
    check_memfd(file.context("RETRIEVE_FD")?, NAME)?;
    compat::command(&session, &mut Finish::new()).context("FINISH")?;
    fails("RETRIEVE_SESSION after FINISH", try_retrieve(NAME), Errno::NOENT)
}
