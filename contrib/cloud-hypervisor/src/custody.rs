// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest in a session of live updates.
//!
//! Its memfds have the labels `memory/0`, `memory/1` and so on, each once; the state of such an entry is the list of its
//! slots. Configuration and state are memfds of their own, `config` and `state`; the state of the entry `state` says
//! whether the guest ran.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context, Result, ensure};
use liblu::{Claimed, Handover};
use rustix::fs::{MemfdFlags, fstat, memfd_create};

use crate::Guest;

const MEMORY: &str = "memory";
const CONFIG: &str = "config";
const STATE: &str = "state";

/// The states of the entry `state`.
const RUNNING: &[u8] = b"running";
const PAUSED: &[u8] = b"paused";

/// Preserves all of a guest.
///
/// # Errors
///
/// If something cannot be preserved; then the session is of no use.
pub fn preserve(handover: &Handover, guest: &Guest) -> Result<()> {
    for (number, (memory, slots)) in files(guest)?.into_iter().enumerate() {
        let label = format!("{MEMORY}/{number}");
        handover.preserve(&label, memory).with_context(|| format!("preserve {label}"))?;
        let slots: Vec<u8> = slots.into_iter().flat_map(u32::to_le_bytes).collect();
        handover.set_state(&label, &slots).with_context(|| format!("describe {label}"))?;
    }
    for (label, content) in [(CONFIG, &guest.config), (STATE, &guest.state)] {
        let file = File::from(memfd_create(label, MemfdFlags::CLOEXEC).context("memfd_create")?);
        file.write_all_at(content, 0).with_context(|| format!("write {label}"))?;
        handover.preserve(label, &file).with_context(|| format!("preserve {label}"))?;
    }
    let state = if guest.is_running { RUNNING } else { PAUSED };
    handover.set_state(STATE, state).context("describe the state")
}

/// The files of a guest, each once, with its slots.
fn files(guest: &Guest) -> Result<Vec<(&OwnedFd, Vec<u32>)>> {
    let mut files: Vec<((u64, u64), &OwnedFd, Vec<u32>)> = Vec::new();
    for (slot, memory) in &guest.memory {
        let stat = fstat(memory.as_fd()).with_context(|| format!("look at slot {slot}"))?;
        let identity = (stat.st_dev, stat.st_ino);
        if let Some((_, _, slots)) = files.iter_mut().find(|(known, _, _)| *known == identity) {
            slots.push(*slot);
        } else {
            files.push((identity, memory, vec![*slot]));
        }
    }
    Ok(files.into_iter().map(|(_, memory, slots)| (memory, slots)).collect())
}

/// What the state begins with once the guest has run: its memory is newer than its state then.
const SPENT: &[u8] = b"SPENT";

/// Notes that the guest runs from here on.
///
/// # Errors
///
/// If the state cannot be written.
pub fn spend(session: &Claimed, guest: &Guest) -> Result<()> {
    let file = File::from(session.retrieve(STATE).context("retrieve the state")?);
    // The file keeps its size.
    let mark = SPENT.get(..guest.state.len()).unwrap_or(SPENT);
    file.write_all_at(mark, 0).context("mark the state")
}

/// Retrieves a guest. `None` if it has run in this kernel already: it cannot run a second time.
///
/// # Errors
///
/// If the session has no guest, or something of it cannot be retrieved. Nothing is lost by the attempt.
pub fn retrieve(session: &Claimed) -> Result<Option<Guest>> {
    let mut guest = Guest::default();
    let manifest = session.manifest().context("the list of files")?;
    for entry in manifest.entries() {
        let label = entry.label();
        if !label.strip_prefix(MEMORY).is_some_and(|rest| rest.starts_with('/')) {
            continue;
        }
        let memory = session.retrieve(label).with_context(|| format!("retrieve {label}"))?;
        let (slots, rest) = entry.state().as_chunks::<4>();
        ensure!(!slots.is_empty() && rest.is_empty(), "{label} has no list of slots");
        for slot in slots {
            let memory = memory.try_clone().context("duplicate a descriptor")?;
            guest.memory.push((u32::from_le_bytes(*slot), memory));
        }
    }
    ensure!(!guest.memory.is_empty(), "the session has no guest of Cloud Hypervisor");
    guest.memory.sort_by_key(|(slot, _)| *slot);
    guest.config = content(session, CONFIG)?;
    guest.state = content(session, STATE)?;
    if SPENT.starts_with(&guest.state) || guest.state.starts_with(SPENT) {
        return Ok(None);
    }
    guest.is_running = match session.state(STATE).context("the state")? {
        RUNNING => true,
        PAUSED => false,
        other => anyhow::bail!("the guest is neither running nor paused: {}", other.escape_ascii()),
    };
    Ok(Some(guest))
}

fn content(session: &Claimed, label: &str) -> Result<Vec<u8>> {
    let file = session.retrieve(label).with_context(|| format!("retrieve {label}"))?;
    let file = File::from(file);
    let size = file.metadata().with_context(|| format!("look at {label}"))?.len();
    let mut content = vec![0; usize::try_from(size).context("the size")?];
    file.read_exact_at(&mut content, 0).with_context(|| format!("read {label}"))?;
    Ok(content)
}
