// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions for the next kernel with their manifests.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use liblu::{Handover, Ready};

use crate::border::{self, Failure, Outcome, enter, handle, place, put};
use crate::session::LibluOutgoing;

/// A session for the next kernel, whose files have labels and states.
pub struct LibluHandover(RwLock<Phase>);

/// Whether the manifest is complete.
enum Phase {
    Open(Handover),
    Ready(Ready),
    /// A panic has left it half-way, and the session is closed.
    Closed,
}

impl LibluHandover {
    pub(crate) fn new(handover: Handover) -> Box<Self> {
        Box::new(Self(RwLock::new(Phase::Open(handover))))
    }

    fn read(&self) -> RwLockReadGuard<'_, Phase> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes to another phase, or stays in this one with an error.
    fn go(&self, to: impl FnOnce(Phase) -> (Phase, Outcome<c_int>)) -> Outcome<c_int> {
        let mut phase = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (next, outcome) = to(std::mem::replace(&mut *phase, Phase::Closed));
        *phase = next;
        outcome
    }
}

/// The handover, if files may still be added.
fn open(phase: &Phase) -> Outcome<&Handover> {
    match phase {
        Phase::Open(handover) => Ok(handover),
        Phase::Ready(_) => Err(Failure::argument("the handover is ready; abort it first")),
        Phase::Closed => Err(Failure::argument("the handover has failed; close it")),
    }
}

/// Makes a handover of a session for the next kernel. `*session` is gone and null then, also if this
/// fails.
///
/// As `liblu_outgoing_preserve()`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_handover_new(
    session: Option<&mut Option<Box<LibluOutgoing>>>,
    handover: Option<&mut MaybeUninit<Option<Box<LibluHandover>>>>,
) -> c_int {
    enter(|| {
        let place = place(handover)?;
        let LibluOutgoing(session) = *handle(handle(session)?.take())?;
        *place = Some(LibluHandover::new(Handover::new(session)?));
        Ok(0)
    })
}

/// Preserves an open file under a label. It stays open, and the caller's. `*token`, unless `token` is
/// null, is its token: one more than the highest so far, from 1. Several threads may call this at once.
///
/// -EEXIST: the label or the token is taken. -EBUSY: the file is preserved already. -EOPNOTSUPP: this
/// kernel cannot preserve such files. -EINVAL: the label is empty, has more than 255 bytes or is not
/// UTF-8; or the handover is ready. -E2BIG: the manifest would have more than 1 MiB. -ESHUTDOWN: reboot(2)
/// has begun. Or the error of the file's handler. Nothing has changed then.
///
/// # Safety
///
/// `label` must be NUL-terminated; `fd` open.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_preserve(
    handover: Option<&LibluHandover>,
    label: *const c_char,
    fd: c_int,
    token: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let label = unsafe { border::text(label, "the label") }?;
        // SAFETY: The caller promises that it is open during the call.
        let file = unsafe { border::borrowed(fd) }?;
        let phase = handle(handover)?.read();
        put(token, open(&phase)?.preserve(label, file)?.get());
        Ok(0)
    })
}

/// As `liblu_preserve()`, under a token of the caller's choice.
///
/// -EEXIST: the token is taken, or one of the 256 highest, which are reserved.
///
/// # Safety
///
/// `label` must be NUL-terminated; `fd` open.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_preserve_as(
    handover: Option<&LibluHandover>,
    token: u64,
    label: *const c_char,
    fd: c_int,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let label = unsafe { border::text(label, "the label") }?;
        // SAFETY: The caller promises that it is open during the call.
        let file = unsafe { border::borrowed(fd) }?;
        let phase = handle(handover)?.read();
        open(&phase)?.preserve_as(crate::session::token(token)?, label, file)?;
        Ok(0)
    })
}

/// Sets the caller's own bytes about a file, in place of those before.
///
/// -ENOENT: there is no such file. -E2BIG: more than 16 KiB, or too many in all: keep bulk state in a
/// memfd. -EINVAL: the handover is ready.
///
/// # Safety
///
/// `label` must be NUL-terminated; `state` valid for `size` bytes, or null.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_set_state(
    handover: Option<&LibluHandover>,
    label: *const c_char,
    state: *const c_void,
    size: usize,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let label = unsafe { border::text(label, "the label") }?;
        // SAFETY: The caller promises the same.
        let state = unsafe { border::array(state.cast::<u8>(), size) }?;
        let phase = handle(handover)?.read();
        open(&phase)?.set_state(label, state)?;
        Ok(0)
    })
}

/// Completes the manifest: the last step before the update. The session must stay open until the kernel is
/// left, by this process or by a custodian.
///
/// -EINVAL: it is ready already. Or the error of the system; nothing has changed then.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_ready(handover: Option<&LibluHandover>) -> c_int {
    enter(|| {
        handle(handover)?.go(|phase| match phase {
            Phase::Open(handover) => match handover.ready() {
                Ok(ready) => (Phase::Ready(ready), Ok(0)),
                Err(failed) => {
                    let (handover, error) = failed.into_parts();
                    (Phase::Open(handover), Err(error.into()))
                }
            },
            other => {
                let failure = Failure::argument("the handover is ready already, or has failed");
                (other, Err(failure))
            }
        })
    })
}

/// The update is off: the files stay preserved for the next one, and the manifest is open again.
///
/// -EINVAL: it is not ready. Or the error of the system; nothing has changed then.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_abort(handover: Option<&LibluHandover>) -> c_int {
    enter(|| {
        handle(handover)?.go(|phase| match phase {
            Phase::Ready(ready) => match ready.abort() {
                Ok(handover) => (Phase::Open(handover), Ok(0)),
                Err(failed) => {
                    let (ready, error) = failed.into_parts();
                    (Phase::Ready(ready), Err(error.into()))
                }
            },
            other => (other, Err(Failure::argument("the handover is not ready"))),
        })
    })
}

/// The descriptor of the session, which stays the handover's.
///
/// -EINVAL: the session is closed.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_handover_fd(handover: Option<&LibluHandover>) -> c_int {
    enter(|| match &*handle(handover)?.read() {
        Phase::Open(handover) => Ok(handover.as_fd().as_raw_fd()),
        Phase::Ready(ready) => Ok(ready.as_fd().as_raw_fd()),
        Phase::Closed => Err(Failure::argument("the session is closed")),
    })
}

/// Turns a handover that is ready into the bare descriptor of its session, for a custodian. Closing the
/// last one undoes everything.
///
/// -EINVAL: it is not ready; the session is closed then.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_handover_into_fd(handover: Option<Box<LibluHandover>>) -> c_int {
    enter(|| match handle(handover)?.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Phase::Ready(ready) => Ok(ready.into_fd().into_raw_fd()),
        _ => Err(Failure::argument("the handover is not ready")),
    })
}

/// Closes the session. If no custodian holds it, its files are unpreserved; `liblu_discard()` tells
/// custodians.
#[unsafe(no_mangle)]
pub extern "C" fn liblu_handover_close(handover: Option<Box<LibluHandover>>) {
    enter(|| {
        drop(handover);
        Ok(0)
    });
}
