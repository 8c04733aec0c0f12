// SPDX-License-Identifier: MIT OR Apache-2.0

//! Many sessions and many files.

use anyhow::{Context, Result};
use liblu::Token;

use super::Scenario;
use super::stage::{Stage, check_memfd, create, finish, memfd, retrieve};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("ten_thousand_sessions_cross", sessions_before, sessions_after),
    Scenario::across("ten_thousand_files_in_one_session_cross", files_before, files_after),
];

const MANY: usize = 10_000;

fn name(number: usize) -> String {
    format!("one-of-many-{number:05}")
}

fn sessions_before(stage: &mut Stage<'_>) -> Result<()> {
    for number in 0..stage.many(MANY) {
        stage.keep(create(name(number))?);
    }
    Ok(())
}

fn sessions_after(stage: &mut Stage<'_>) -> Result<()> {
    for number in 0..stage.many(MANY) {
        finish(retrieve(name(number))?).with_context(|| format!("number {number}"))?;
    }
    Ok(())
}

fn token(number: usize) -> Result<Token> {
    Ok(u32::try_from(number).context("token")?.into())
}

fn files_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("many-files")?;
    for number in 0..stage.many(MANY) {
        session
            .preserve(token(number)?, memfd(&number.to_string())?)
            .with_context(|| format!("PRESERVE_FD number {number}"))?;
    }
    stage.keep(session);
    Ok(())
}

fn files_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("many-files")?;
    for number in (0..stage.many(MANY)).rev() {
        let file = session
            .retrieve(token(number)?)
            .with_context(|| format!("RETRIEVE_FD number {number}"))?;
        check_memfd(file, &number.to_string())?;
    }
    finish(session).map(drop)
}
