// SPDX-License-Identifier: MIT OR Apache-2.0

//! Taking part in updates.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use liblu::{Event, Participant};

use crate::border::{self, Failure, deadline, enter, handle, place, put};
use crate::provider::{self, LibluProvider};

/// A client that takes part in updates.
pub struct LibluParticipant(Participant);

/// The kind of an event. Later versions may have more.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum LibluEventKind {
    /// An update begins: preserve, pause, and answer before the deadline.
    Prepare = 1,
    /// The update is off: go on.
    Abort = 2,
    /// All are ready, and the kernel is left now. The process may be ended at any time.
    Commit = 3,
}

/// An event of an update.
#[repr(C)]
pub struct LibluEvent {
    /// An `enum liblu_event_kind`.
    pub kind: u32,
    /// Milliseconds up to the deadline, of PREPARE.
    pub deadline: u32,
    /// The number of the update.
    pub generation: u64,
    /// The reason for people, of ABORT, NUL-terminated; what is too long is cut.
    pub reason: [c_char; 256],
}

/// Takes part in updates, for the sessions with these labels. Give it back with
/// `liblu_participant_free()`.
///
/// -EOPNOTSUPP: there is no agent, and only an agent announces updates: under systemd, a service gets
/// SIGTERM. The rest as `liblu_open()`.
///
/// # Safety
///
/// `labels` must be `count` pointers to NUL-terminated text.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_participate(
    provider: Option<&LibluProvider>,
    labels: *const *const c_char,
    count: usize,
    timeout: c_int,
    participant: Option<&mut MaybeUninit<Option<Box<LibluParticipant>>>>,
) -> c_int {
    enter(|| {
        let place = place(participant)?;
        // SAFETY: The caller promises the same.
        let labels = unsafe { provider::labels(labels, count) }?;
        let there = handle(provider)?.0.participate(&labels, deadline(timeout))?;
        *place = Some(Box::new(LibluParticipant(there)));
        Ok(0)
    })
}

/// The descriptor of a participant, for poll(2): it can be read from when there is an event. Do not read
/// from it, and do not close it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_participant_fd(participant: Option<&LibluParticipant>) -> c_int {
    enter(|| Ok(handle(participant)?.0.as_fd().as_raw_fd()))
}

/// The next event: 1, and `*event` is it; or 0, if there is none now. It does not wait.
///
/// -ECONNRESET: the agent has hung up, as when it is restarted: take part again. A client that was ready stands still
/// until that has succeeded, or has failed with another error than -ESHUTDOWN, such as -EHOSTDOWN, for half a minute.
/// After COMMIT it stands still until it has succeeded, however long. -EPROTO: it breaks the protocol.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_participant_next(
    participant: Option<&mut LibluParticipant>,
    event: Option<&mut MaybeUninit<LibluEvent>>,
) -> c_int {
    enter(|| {
        let place = event.ok_or_else(|| Failure::argument("there is no place for the event"))?;
        let Some(event) = handle(participant)?.0.next()? else { return Ok(0) };
        let mut there = LibluEvent { kind: 0, deadline: 0, generation: 0, reason: [0; 256] };
        match event {
            Event::Prepare { generation, deadline } => {
                let left = deadline.saturating_duration_since(Instant::now()).as_millis();
                there.kind = LibluEventKind::Prepare as u32;
                there.deadline = u32::try_from(left).unwrap_or(u32::MAX);
                there.generation = generation;
            }
            Event::Abort { generation, reason } => {
                there.kind = LibluEventKind::Abort as u32;
                there.generation = generation;
                let bytes = reason.bytes().filter(|byte| *byte != 0);
                let room = there.reason.len() - 1;
                for (to, byte) in there.reason.iter_mut().take(room).zip(bytes) {
                    *to = c_char::from_ne_bytes([byte]);
                }
            }
            Event::Commit { generation } => {
                there.kind = LibluEventKind::Commit as u32;
                there.generation = generation;
            }
            // A later library has more.
            _ => return Ok(0),
        }
        put(Some(place), there);
        Ok(1)
    })
}

/// The client is ready for the update. If the update is off meanwhile, this has no effect, and the event comes
/// or has come.
///
/// -ECONNRESET: the agent does not know the participant, as after a restart: take part again. -ENOENT: it does not have
/// the session; refuse, go on, and open it again. -ETIMEDOUT, -EHOSTDOWN: the agent may count on the client, which
/// stands still until it hears more.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_participant_ready(
    participant: Option<&LibluParticipant>,
    generation: u64,
    timeout: c_int,
) -> c_int {
    enter(|| Ok(handle(participant)?.0.ready(generation, deadline(timeout)).map(|()| 0)?))
}

/// The client cannot take part in the update, for this reason. As `liblu_participant_ready()`.
///
/// # Safety
///
/// `reason` must be NUL-terminated.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_participant_refuse(
    participant: Option<&LibluParticipant>,
    generation: u64,
    reason: *const c_char,
    timeout: c_int,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let reason = unsafe { border::text(reason, "the reason") }?;
        handle(participant)?.0.refuse(generation, reason, deadline(timeout))?;
        Ok(0)
    })
}

/// The client needs so many milliseconds from now on. Unless it is null, `*granted` is how many it gets.
///
/// -ECANCELED: that update is not being prepared any more. The rest as `liblu_participant_ready()`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_participant_extend(
    participant: Option<&LibluParticipant>,
    generation: u64,
    milliseconds: u32,
    granted: Option<&mut MaybeUninit<u32>>,
    timeout: c_int,
) -> c_int {
    enter(|| {
        let time = Duration::from_millis(milliseconds.into());
        let left = handle(participant)?.0.extend(generation, time, deadline(timeout))?;
        put(granted, u32::try_from(left.as_millis()).unwrap_or(u32::MAX));
        Ok(0)
    })
}

/// Takes part no longer.
#[unsafe(no_mangle)]
pub extern "C" fn liblu_participant_free(participant: Option<Box<LibluParticipant>>) {
    enter(|| {
        drop(participant);
        Ok(0)
    });
}
