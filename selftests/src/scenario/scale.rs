// SPDX-License-Identifier: MIT OR Apache-2.0

//! Many sessions and many files.

use anyhow::{Context, Result, ensure};
use liblu::Token;
use rustix::io::Errno;

use super::memory::text_of;
use super::stage::{
    Stage, check_memfd, create, device, fails, finish, memfd, not_applicable, retrieve,
    try_retrieve,
};
use super::{Kernel, Scenario};
use crate::abi;

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("ten_thousand_sessions_cross", sessions_before, sessions_after),
    Scenario::across("ten_thousand_files_in_one_session_cross", files_before, files_after),
];

pub(super) const LIMITS: &[Scenario] = &[Scenario::across(
    "no_more_sessions_are_created_than_the_next_kernel_reads",
    limit_before,
    limit_after,
)];

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

/// Sessions that `KHO_MAX_BLOCKS` blocks of a page have room for, each of 80 bytes behind a head of 16.
const MOST: usize = 10_000 * ((4096 - 16) / 80);

/// Sessions that are closed again.
const ROOM: usize = 64;

/// A session that says how many are left.
const COUNT: &str = "limit-count";

fn limit_before(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::C {
        return not_applicable("in C, that many sessions take hours");
    }
    let device = device()?;
    let count = abi::create(&device, COUNT).context("CREATE_SESSION")?;
    let mut created = 0;
    let refused = loop {
        match abi::create(&device, format!("limit-{created}")) {
            Ok(session) => stage.keep(session),
            Err(error) => break error,
        }
        created += 1;
        ensure!(created <= MOST, "more sessions are created than the next kernel reads");
    };
    ensure!(refused == Errno::NOSPC, "CREATE_SESSION number {created}: {refused}");
    // There are some of the harness.
    ensure!(created > MOST - 51, "{created} sessions are all, not {MOST}");
    // One goes, and there is room for one.
    drop(stage.kept.pop());
    abi::create(&device, "limit-again").map(|session| stage.keep(session)).context("again")?;
    let refused = abi::create(&device, "one too many").map(drop);
    fails("CREATE_SESSION", refused, Errno::NOSPC)?;
    // The harness has sessions too.
    stage.kept.truncate(stage.kept.len() - ROOM);
    let left = created - ROOM;
    abi::preserve_fd(&count, memfd(&left.to_string())?, 1).context("PRESERVE_FD")?;
    stage.keep(count);
    Ok(())
}

fn limit_after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.last == Some(Kernel::C) {
        return not_applicable("in C, that many sessions take hours");
    }
    let left: usize = text_of(COUNT)?.parse().context("understand the count")?;
    for number in 0..left {
        finish(retrieve(format!("limit-{number}"))?).with_context(|| format!("number {number}"))?;
    }
    fails("one that was closed", try_retrieve(format!("limit-{left}")), Errno::NOENT)
}
