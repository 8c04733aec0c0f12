// SPDX-License-Identifier: MIT OR Apache-2.0

//! Many sessions and many files.

use anyhow::{Context, Result};

use super::Scenario;
use super::stage::{Stage, check_memfd, create, device, memfd, retrieve};
use crate::abi;

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("ten_thousand_sessions_cross", sessions_before, sessions_after),
    Scenario::across("ten_thousand_files_in_one_session_cross", files_before, files_after),
];

const MANY: usize = 10_000;

fn name(number: usize) -> String {
    format!("one-of-many-{number:05}")
}

fn sessions_before(stage: &mut Stage<'_>) -> Result<()> {
    let device = device()?;
    for number in 0..stage.many(MANY) {
        let session = abi::create(&device, name(number));
        stage.keep(session.with_context(|| format!("CREATE_SESSION number {number}"))?);
    }
    Ok(())
}

fn sessions_after(stage: &mut Stage<'_>) -> Result<()> {
    let device = device()?;
    for number in 0..stage.many(MANY) {
        let session = abi::retrieve(&device, name(number))
            .with_context(|| format!("RETRIEVE_SESSION number {number}"))?;
        abi::finish(&session).with_context(|| format!("FINISH number {number}"))?;
    }
    Ok(())
}

fn files_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("many-files")?;
    for number in 0..stage.many(MANY) {
        let token = u64::try_from(number).context("token")?;
        abi::preserve_fd(&session, memfd(&number.to_string())?, token)
            .with_context(|| format!("PRESERVE_FD number {number}"))?;
    }
    stage.keep(session);
    Ok(())
}

fn files_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("many-files")?;
    for number in (0..stage.many(MANY)).rev() {
        let token = u64::try_from(number).context("token")?;
        let file = abi::retrieve_fd(&session, token)
            .with_context(|| format!("RETRIEVE_FD number {number}"))?;
        check_memfd(file, &number.to_string())?;
    }
    abi::finish(&session).context("FINISH")
}
