// SPDX-License-Identifier: MIT OR Apache-2.0

//! `LUOSession=`: systemd makes the session, and gives it back after the kexec.

use anyhow::{Context, Result, ensure};
use liblu::{IncomingSession, OutgoingSession, Token};
use selftests::scenario::Side;

use crate::memory::{self, Memory};
use crate::store::{self, Store};

/// The name in the unit; systemd makes another for the kernel of it.
const WORK: &str = "work";

const TOKEN: u32 = 7;

/// After each kexec the unit has the session that it filled before, and it can have a new one with the
/// same name.
pub(crate) fn check(mut store: Store, side: Side, hop: usize) -> Result<()> {
    let session = store.take(WORK)?;
    match side {
        Side::Before => {
            let session = OutgoingSession::try_from(session).context("take the session over")?;
            // The name is not ours to choose, so the file carries it to the next hop.
            let note = note(hop, &session.name().context("GET_NAME")?.to_string());
            let file = Memory::text(&note).write()?;
            session.preserve(Token::from(TOKEN), &file).context("PRESERVE_FD")?;
            // systemd has it, too: the session stays.
            drop(session);
            Ok(())
        }
        Side::After | Side::Here => {
            let session = IncomingSession::try_from(session).context("take the session over")?;
            let file = session.retrieve(Token::from(TOKEN)).context("RETRIEVE_FD")?;
            let there = String::from_utf8_lossy(&memory::read(&file)?).into_owned();
            let expected = note(hop - 1, &session.name().context("GET_NAME")?.to_string());
            ensure!(there == expected, "the file says `{there}`, not `{expected}`");
            session.finish().context("FINISH")?;
            // systemd makes a new one only if it has none.
            store::remove(WORK)
        }
    }
}

fn note(hop: usize, name: &str) -> String {
    format!("session {name} in hop {hop}")
}
