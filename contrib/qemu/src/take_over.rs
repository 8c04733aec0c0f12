// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest that comes from the previous kernel.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use liblu::{Claimed, Client, ErrorKind};

use crate::arguments::Guest;
use crate::guest::{MEMORY, STATE, Started};
use crate::note::Note;
use crate::qemu::{Files, Qemu};
use crate::tsc;

/// How long QEMU may take to read the state.
const RECEIVE: Duration = Duration::from_mins(1);

/// What is done last.
const FINISH: &str = "finish the session";

/// How often QEMU is started again for a guest that came.
const ATTEMPTS: u32 = 3;

/// Goes on with a guest that came. Until it runs, nothing is final: after an error, the next start asks again.
///
/// `None` if it has run in this kernel already, and QEMU or lu-qemu has ended since: it is lost, as after any crash.
pub(crate) fn take_over(
    session: Claimed,
    name: &str,
    wanted: &Guest,
    client: &mut Client,
) -> Result<Option<Started>> {
    if let Err(error) = session.manifest()
        && error.kind() == ErrorKind::Incomplete
    {
        eprintln!(
            "lu-qemu: the guest was not stopped before the kernel was left: it is lost, and is started anew"
        );
        client.finish(session).context(FINISH)?;
        return Ok(None);
    }
    eprintln!("lu-qemu: {name} comes from the previous kernel");
    let note = Note::read(session.state(MEMORY).context("read the note of the guest that came")?);
    let note = note.map_err(|error| anyhow::anyhow!("the note of the guest that came: {error}"))?;
    let guest = Guest::new(note.words.clone()).context("the guest that came")?;
    if guest != *wanted {
        // Other devices could not read the state.
        eprintln!(
            "lu-qemu: the guest goes on with the command line that it was started with, `{}`; the new one counts \
             from its next start on",
            note.words.join(" ")
        );
    }
    if guest.has_kvm {
        let khz = tsc::khz()?;
        let ppm = tsc::difference_ppm(note.tsc_khz, khz);
        if tsc::check().is_err() && ppm > 250 {
            eprintln!(
                "lu-qemu: this kernel measures the time stamp counter as {khz} kHz, the previous one as {} kHz: the \
                 clock of the guest may jump; boot with kvm.tsc_tolerance_ppm=5000",
                note.tsc_khz
            );
        }
    }
    // Here, in the control group of the guest, which pays for its memory.
    let retrieve = |label| session.retrieve(label).with_context(|| format!("retrieve the {label}"));
    let files = Files { memory: retrieve(MEMORY)?, state: retrieve(STATE)? };
    if files.is_spent()? {
        eprintln!(
            "lu-qemu: the guest has run in this kernel, and has ended since: it is started anew"
        );
        client.finish(session).context(FINISH)?;
        return Ok(None);
    }
    let mut attempt = 1;
    let mut qemu = loop {
        match start_with_guest(&guest, &files) {
            Ok(qemu) => break qemu,
            // QEMU has changed nothing: the memory is as it was, and so is the state.
            Err(error) if attempt < ATTEMPTS => eprintln!("lu-qemu: attempt {attempt}: {error:#}"),
            Err(error) => {
                let advice = format!(
                    "the guest that came stays where it is, and the next start tries again; its state is of QEMU {}",
                    note.qemu
                );
                return Err(error.context(advice));
            }
        }
        attempt += 1;
    };
    files.spend()?;
    if note.is_running {
        qemu.go_on()?;
    }
    let status = qemu.monitor.status()?;
    client.finish(session).context(FINISH)?;
    eprintln!("lu-qemu: {name} is {status} again");
    Ok(Some(Started { name: name.to_owned(), qemu, files, guest, was_running: note.is_running }))
}

fn start_with_guest(guest: &Guest, files: &Files) -> Result<Qemu> {
    let mut qemu = Qemu::start(guest, files, true)?;
    match qemu.receive(Instant::now() + RECEIVE) {
        Ok(()) => Ok(qemu),
        Err(error) => {
            let _ = qemu.kill();
            Err(error)
        }
    }
}
