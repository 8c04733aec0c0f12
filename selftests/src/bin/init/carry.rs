// SPDX-License-Identifier: MIT OR Apache-2.0

//! PID 1's own session: in every hop it hands a file to the next and checks the last one's.
//!
//! It gives every update the same timeline, whatever tests run, and sees to it that no chain of
//! hops passes without a handover.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use selftests::abi;
use selftests::event::Event;
use serde::{Deserialize, Serialize};

use crate::system::Guest;

/// Name of the session, and token of its only file.
const SESSION: &str = "vm-test";
const TOKEN: u64 = 0x7069_6431;

/// What one hop tells the next.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct State {
    /// The hop that wrote it.
    hop: usize,
    /// All hops so far, as their labels.
    path: Vec<String>,
}

impl State {
    fn of(guest: &Guest) -> Self {
        let path = guest.plan.hops.iter().take(guest.number).map(|hop| hop.label.clone());
        Self { hop: guest.number, path: path.collect() }
    }
}

/// Retrieves, checks and finishes what the last hop gave; in the first hop there must be nothing.
pub(crate) fn take(guest: &Guest) -> Result<()> {
    let device = abi::open().context("open /dev/liveupdate")?;
    guest.control.event(&Event::DeviceOpened);
    let session = abi::retrieve(&device, SESSION);
    if guest.number == 1 {
        ensure!(
            matches!(session, Err(rustix::io::Errno::NOENT)),
            "a fresh kernel answered {session:?} to RETRIEVE_SESSION, not ENOENT"
        );
        return Ok(());
    }

    let session = session.context("RETRIEVE_SESSION")?;
    let file = abi::retrieve_fd(&session, TOKEN).context("RETRIEVE_FD")?;
    let mut file = File::from(file);
    file.rewind().context("rewind the memfd")?;
    let mut json = String::new();
    file.read_to_string(&mut json).context("read the memfd")?;
    guest.control.event(&Event::Retrieved);

    let state: State = serde_json::from_str(json.trim_end_matches('\0'))
        .with_context(|| format!("understand the state of the last hop: {json:?}"))?;
    let mut expected = State::of(guest);
    expected.hop -= 1;
    expected.path.pop();
    ensure!(state == expected, "the last hop left {state:?}, expected {expected:?}");

    abi::finish(&session).context("FINISH")?;
    guest.control.event(&Event::Finished);
    Ok(())
}

/// Preserves the state for the next hop, which lasts as long as the session is held.
pub(crate) fn give(guest: &Guest) -> Result<OwnedFd> {
    let device = abi::open().context("open /dev/liveupdate")?;
    let session = abi::create(&device, SESSION).context("CREATE_SESSION")?;
    let file = memfd_create(SESSION, MemfdFlags::CLOEXEC).context("memfd_create")?;
    let mut file = File::from(file);
    serde_json::to_writer(&mut file, &State::of(guest)).context("write the state")?;
    file.flush().context("write the state")?;
    abi::preserve_fd(&session, &file, TOKEN).context("PRESERVE_FD")?;
    Ok(session)
}
