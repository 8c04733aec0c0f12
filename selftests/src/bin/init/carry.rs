// SPDX-License-Identifier: MIT OR Apache-2.0

//! PID 1's own session: in every hop it checks the file of the previous hop and hands one to the
//! next.
//!
//! It gives every update the same timeline, for any choice of tests, and makes sure that no chain
//! of hops passes without a handover.

use std::fs::File;
use std::io::{Read, Seek, Write};

use anyhow::{Context, Result, ensure};
use liblu::{Backoff, ErrorKind, LiveUpdate, OutgoingSession, SessionName, Token};
use rustix::fs::{MemfdFlags, memfd_create};
use selftests::event::Event;
use selftests::scenario::load_module;
use serde::{Deserialize, Serialize};

use crate::system::Guest;

/// Name of the session, and token of its only file.
const SESSION: &str = "vm-test";
const TOKEN: u32 = 0x7069_6431;

/// The data that one hop hands to the next.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct State {
    /// The hop that wrote it.
    hop: usize,
    /// The label of its kernel.
    kernel: String,
}

impl State {
    fn of(guest: &Guest, hop: usize) -> Result<Self> {
        let kernel =
            guest.position.plan.hop(hop).with_context(|| format!("no hop {hop} in the plan"))?;
        Ok(Self { hop, kernel: kernel.label.clone() })
    }
}

/// The device: when PID 1 needs it, no other process has it open.
fn device() -> LiveUpdate {
    LiveUpdate::new().with_backoff(Backoff::NONE)
}

fn name() -> Result<SessionName> {
    SessionName::new(SESSION).context("the name of the session")
}

/// Retrieves, checks and finishes the session of the previous hop; in the first hop there must be
/// none. Before that, it loads the module of a handler, as a distribution must do.
pub(crate) fn take(guest: &Guest) -> Result<()> {
    load_module()?;
    let device = device();
    device.check().context("open /dev/liveupdate")?;
    guest.position.control.event(&Event::DeviceOpened);
    let session = device.retrieve(&name()?);
    if guest.position.number == 1 {
        ensure!(
            session.as_ref().is_err_and(|error| error.kind() == ErrorKind::NoSession),
            "a fresh kernel answered {session:?} to RETRIEVE_SESSION, not ENOENT"
        );
        return Ok(());
    }

    let session = session.context("RETRIEVE_SESSION")?;
    let file = session.retrieve(Token::from(TOKEN)).context("RETRIEVE_FD")?;
    let mut file = File::from(file);
    file.rewind().context("rewind the memfd")?;
    let mut json = String::new();
    file.read_to_string(&mut json).context("read the memfd")?;
    guest.position.control.event(&Event::Retrieved);

    let state: State = serde_json::from_str(json.trim_end_matches('\0'))
        .with_context(|| format!("understand the state of the last hop: {json:?}"))?;
    let expected = State::of(guest, guest.position.number - 1)?;
    ensure!(state == expected, "the last hop left {state:?}, expected {expected:?}");

    session.finish().context("FINISH")?;
    guest.position.control.event(&Event::Finished);
    Ok(())
}

/// Preserves the state for the next hop, which lasts as long as the session is held.
pub(crate) fn give(guest: &Guest) -> Result<OutgoingSession> {
    let session = device().create(&name()?).context("CREATE_SESSION")?;
    let file = memfd_create(SESSION, MemfdFlags::CLOEXEC).context("memfd_create")?;
    let mut file = File::from(file);
    serde_json::to_writer(&mut file, &State::of(guest, guest.position.number)?)
        .context("write the state")?;
    file.flush().context("write the state")?;
    session.preserve(Token::from(TOKEN), &file).context("PRESERVE_FD")?;
    Ok(session)
}
