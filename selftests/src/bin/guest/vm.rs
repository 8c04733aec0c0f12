// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest that survives updates.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use liblu::{Claim, Event, Handover, Participant, Provider, Ready};
use rustix::fs::{MemfdFlags, memfd_create};
use selftests::agent::next;
use selftests::guests::{LABELS, result_file};
use selftests::position::hop_number;

use crate::mishap::{self, Place, crash, crash_finished};

/// The label of the memfd in each of them.
const RAM: &str = "ram";

/// The label of a second one.
const MORE: &str = "more";

/// Runs for ever. The result of the start is in a file, and the service manager is told.
pub(crate) fn run(name: &str) -> Result<()> {
    let hop = hop_number()?;
    let provider = Provider::find().context("find luod")?;
    let mut restored = 0;
    for label in LABELS {
        restored += usize::from(claim(&provider, name, label, hop - 1)?);
    }
    let mut sessions = Vec::new();
    for label in LABELS {
        let handover = provider.open(label, soon()).with_context(|| format!("open {label}"))?;
        let memory = memory_of(&text(name, label, hop))?;
        handover.preserve(RAM, &memory).context("preserve the memory")?;
        handover.preserve(MORE, &memory_of("more")?).context("preserve more memory")?;
        sessions.push(Session::Open(handover));
    }
    let mut participant = Some(provider.participate(&LABELS, soon()).context("take part")?);
    std::fs::write(result_file(name), format!("{restored} sessions restored in hop {hop}\n"))
        .context("write the result")?;
    // Without a service manager nobody waits for it.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    loop {
        let Some(there) = &mut participant else {
            std::thread::sleep(Duration::from_millis(50));
            participant = provider.participate(&LABELS, soon()).ok();
            continue;
        };
        match next(there) {
            Ok(event) => handle(name, there, &event, &mut sessions)?,
            // luod was started again: it has kept the sessions.
            Err(_) => participant = None,
        }
    }
}

/// The session of a label for the next kernel.
enum Session {
    Open(Handover),
    Ready(Ready),
}

/// Whether a session came from the previous kernel; its memory must be as it was.
fn claim(provider: &Provider, name: &str, label: &str, hop: usize) -> Result<bool> {
    let claim = provider.claim(label, soon()).with_context(|| format!("claim {label}"))?;
    let Claim::Session(claimed) = claim else { return Ok(false) };
    crash(name, Place::Claimed);
    claimed.retrieve(MORE).context("retrieve more memory")?;
    crash(name, Place::Between);
    let memory = claimed.retrieve(RAM).context("retrieve the memory")?;
    crash(name, Place::Retrieved);
    let expected = text(name, label, hop);
    let there = read(&memory)?;
    ensure!(there == expected, "the memory says `{there}`, not `{expected}`");
    let state = String::from_utf8_lossy(claimed.state(RAM).context("the state")?).into_owned();
    ensure!(state == format!("paused in hop {hop}"), "the state is `{state}`");
    let claimed = crash_finished(name, claimed)?;
    claimed.finish(soon()).map_err(liblu::Error::from).context("finish")?;
    Ok(true)
}

fn handle(
    name: &str,
    participant: &Participant,
    event: &Event,
    sessions: &mut Vec<Session>,
) -> Result<()> {
    match event {
        Event::Prepare { generation, .. } => {
            if mishap::answer(name, participant, *generation)? {
                return Ok(());
            }
            let state = format!("paused in hop {}", hop_number()?);
            let mut ready = Vec::new();
            for session in std::mem::take(sessions) {
                ready.push(match session {
                    Session::Open(handover) => {
                        handover.set_state(RAM, state.as_bytes()).context("set the state")?;
                        Session::Ready(handover.ready().map_err(liblu::Error::from)?)
                    }
                    ready @ Session::Ready(_) => ready,
                });
            }
            *sessions = ready;
            participant.ready(*generation, soon()).context("say that it is ready")
        }
        Event::Abort { .. } => {
            for session in std::mem::take(sessions) {
                sessions.push(match session {
                    Session::Ready(ready) => {
                        Session::Open(ready.abort().map_err(liblu::Error::from)?)
                    }
                    open @ Session::Open(_) => open,
                });
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn text(name: &str, label: &str, hop: usize) -> String {
    format!("{label} of {name} in hop {hop}")
}

fn memory_of(text: &str) -> Result<OwnedFd> {
    let mut file = File::from(memfd_create("ram", MemfdFlags::CLOEXEC).context("memfd_create")?);
    file.write_all(text.as_bytes()).context("write the memory")?;
    Ok(file.into())
}

fn read(memory: &OwnedFd) -> Result<String> {
    let mut file = File::from(memory.as_fd().try_clone_to_owned().context("duplicate")?);
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).context("read the memory")?;
    if text.is_empty() {
        bail!("the memory is empty");
    }
    Ok(text)
}

/// A deadline that is reached only if something is wrong.
#[expect(clippy::unnecessary_wraps, reason = "deadlines are optional")]
fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_mins(1))
}
