// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions by label, wherever they come from.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};

use liblu::{Agent, Claim, Claimed, Provider};

use crate::border::{self, Outcome, deadline, enter, handle, place};
use crate::handover::LibluHandover;
use crate::manifest::LibluManifest;
use crate::session::{LibluOutgoing, device};

/// A source of sessions: an agent, the service manager, or the device.
pub struct LibluProvider(pub(crate) Provider);

/// A session of the previous kernel that was claimed by its label.
pub struct LibluClaimed(Claimed);

/// Finds the source of sessions: the agent if there is one, the sessions that the service manager has
/// passed to this process, and the device if there is no agent. Give it back with
/// `liblu_provider_free()`.
///
/// -EPROTO: the service manager has passed its descriptors wrongly.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_provider_find(
    provider: Option<&mut MaybeUninit<Option<Box<LibluProvider>>>>,
) -> c_int {
    enter(|| {
        let place = place(provider)?;
        *place = Some(Box::new(LibluProvider(Provider::find()?)));
        Ok(0)
    })
}

/// The agent alone, with the socket at `path`, or where it is on every system if that is null.
///
/// # Safety
///
/// `path` must be null or NUL-terminated.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_provider_agent(
    path: *const c_char,
    provider: Option<&mut MaybeUninit<Option<Box<LibluProvider>>>>,
) -> c_int {
    enter(|| {
        let place = place(provider)?;
        let agent = if path.is_null() {
            Agent::new()
        } else {
            // SAFETY: The caller promises the same.
            Agent::at(unsafe { border::text(path, "the path") }?)
        };
        *place = Some(Box::new(LibluProvider(Provider::agent(agent))));
        Ok(0)
    })
}

/// The sessions that the service manager has passed to this process, alone.
///
/// -EOPNOTSUPP: it has passed none.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_provider_fd_store(
    provider: Option<&mut MaybeUninit<Option<Box<LibluProvider>>>>,
) -> c_int {
    enter(|| {
        let place = place(provider)?;
        *place = Some(Box::new(LibluProvider(Provider::fd_store()?)));
        Ok(0)
    })
}

/// The device alone, which takes root.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_provider_device(
    provider: Option<&mut MaybeUninit<Option<Box<LibluProvider>>>>,
) -> c_int {
    enter(|| {
        *place(provider)? = Some(Box::new(LibluProvider(Provider::device(device()))));
        Ok(0)
    })
}

/// Gives a source back.
#[unsafe(no_mangle)]
pub extern "C" fn liblu_provider_free(provider: Option<Box<LibluProvider>>) {
    enter(|| {
        drop(provider);
        Ok(0)
    });
}

/// Claims the session of this label from the previous kernel: 1 if it came, and `*session` is it; 0 for a
/// cold start. A negative number is never a cold start: it is not known whether the session came. It waits
/// for `timeout` milliseconds at most, or for ever if that is negative.
///
/// Give the session back with `liblu_claimed_finish()`, or with `liblu_claimed_close()`, which destroys
/// nothing.
///
/// -ENODEV: there may be live updates here, but it cannot be said. -EHOSTDOWN: the agent cannot be reached. -EPERM: its policy says no. -EACCES: the device is for others.
/// -EALREADY: another process holds the session. -EBUSY: another process has the device. -EIO: the kernel
/// could not read the handover. -ESHUTDOWN: reboot(2) has begun. -ETIMEDOUT, -ECONNRESET, -EPROTO.
///
/// # Safety
///
/// `label` must be NUL-terminated.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_claim(
    provider: Option<&LibluProvider>,
    label: *const c_char,
    timeout: c_int,
    session: Option<&mut MaybeUninit<Option<Box<LibluClaimed>>>>,
) -> c_int {
    enter(|| {
        let place = place(session)?;
        // SAFETY: The caller promises the same.
        let label = unsafe { border::text(label, "the label") }?;
        match handle(provider)?.0.claim(label, deadline(timeout))? {
            Claim::ColdStart => Ok(0),
            Claim::Session(session) => {
                *place = Some(Box::new(LibluClaimed(session)));
                Ok(1)
            }
        }
    })
}

/// Opens the session of this label for the next kernel. Give it back with `liblu_handover_close()`. A session
/// that an earlier run of the program has left to an agent is given up for it.
///
/// -EEXIST: another process has it open, or an earlier run has left files in it and the service must be
/// started again; the words say which. The rest as `liblu_claim()`.
///
/// # Safety
///
/// `label` must be NUL-terminated.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_open(
    provider: Option<&LibluProvider>,
    label: *const c_char,
    timeout: c_int,
    handover: Option<&mut MaybeUninit<Option<Box<LibluHandover>>>>,
) -> c_int {
    enter(|| {
        let place = place(handover)?;
        // SAFETY: The caller promises the same.
        let label = unsafe { border::text(label, "the label") }?;
        let opened = handle(provider)?.0.open(label, deadline(timeout))?;
        *place = Some(LibluHandover::new(opened));
        Ok(0)
    })
}

/// Retrieves the file with this label: a new descriptor each time.
///
/// -ENOENT: there is no such file. -ENODATA: the file could not be restored, and never will be; the words
/// say why. -EMFILE, -ENOMEM: no descriptor or memory; ask again. -ENOMSG: the session has no manifest.
/// -ESTALE: its owner never said that it was ready. -EBADMSG: its manifest is damaged. -EPROTONOSUPPORT: a
/// later version wrote the manifest. -ESHUTDOWN: reboot(2) has begun.
///
/// # Safety
///
/// `label` must be NUL-terminated.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_claimed_retrieve(
    session: Option<&LibluClaimed>,
    label: *const c_char,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let label = unsafe { border::text(label, "the label") }?;
        Ok(handle(session)?.0.retrieve(label)?.into_raw_fd())
    })
}

/// Retrieves the file with this token, for files without a label. The rest as
/// `liblu_claimed_retrieve()`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_claimed_retrieve_token(
    session: Option<&LibluClaimed>,
    token: u64,
) -> c_int {
    enter(|| {
        let token = crate::session::token(token)?;
        Ok(handle(session)?.0.session().retrieve(token)?.into_raw_fd())
    })
}

/// The manifest of a session. Give it back with `liblu_manifest_free()`.
///
/// As `liblu_claimed_retrieve()`, but for -ENOENT.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_claimed_manifest(
    session: Option<&LibluClaimed>,
    manifest: Option<&mut MaybeUninit<Option<Box<LibluManifest>>>>,
) -> c_int {
    enter(|| {
        let place = place(manifest)?;
        let manifest = handle(session)?.0.manifest()?.clone();
        *place = Some(Box::new(LibluManifest(manifest)));
        Ok(0)
    })
}

/// Says that all that is needed was retrieved: the kernel gives up the rest, and custody ends. Returns 0, or
/// 1 if the custodian could not be told: `liblu_error()` says why, and `liblu_restored()` tells it once more.
/// `*session` is gone and null in both cases. Unless `next` is null, `*next` is the same session for the next update, or null
/// where a finished session is of no use: see `liblu_incoming_finish()`. If this fails, `*session` is as
/// it was.
///
/// -EBUSY: a file cannot be finished yet. -EINVAL: another process has finished it. -ENODATA: a file could
/// not be restored, and this kernel would be hurt: keep the session open until the next boot (6.19 to
/// 6.19.8). -ESHUTDOWN: reboot(2) has begun.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_claimed_finish(
    session: Option<&mut Option<Box<LibluClaimed>>>,
    timeout: c_int,
    next: Option<&mut MaybeUninit<Option<Box<LibluOutgoing>>>>,
) -> c_int {
    enter(|| {
        let next = next.map(|next| next.write(None));
        let place = handle(session)?;
        let LibluClaimed(session) = *handle(place.take())?;
        match session.finish(deadline(timeout)) {
            Ok(finished) => {
                if let Some(next) = next {
                    *next = finished.next.map(|outgoing| Box::new(LibluOutgoing(outgoing)));
                }
                match finished.custody {
                    Ok(()) => Ok(0),
                    Err(error) => {
                        border::say(&error.to_string());
                        Ok(1)
                    }
                }
            }
            Err(failed) => {
                let (session, error) = failed.into_parts();
                *place = Some(Box::new(LibluClaimed(session)));
                Err(error.into())
            }
        }
    })
}

/// Tells the custodian once more that the session of this label from the previous kernel is finished. That
/// there is no such session is no error.
///
/// -EHOSTDOWN, -ETIMEDOUT, -ECONNRESET: the agent cannot be told. -EOPNOTSUPP: there is no service manager
/// to be told.
///
/// # Safety
///
/// `label` must be NUL-terminated.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_restored(
    provider: Option<&LibluProvider>,
    label: *const c_char,
    timeout: c_int,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let label = unsafe { border::text(label, "the label") }?;
        handle(provider)?.0.restored(label, deadline(timeout))?;
        Ok(0)
    })
}

/// Gives up the session of this label for the next kernel: custodians close theirs. The kernel undoes
/// everything when the program has closed its own, too. That there is no such session is no error.
///
/// As `liblu_restored()`.
///
/// # Safety
///
/// `label` must be NUL-terminated.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_discard(
    provider: Option<&LibluProvider>,
    label: *const c_char,
    timeout: c_int,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let label = unsafe { border::text(label, "the label") }?;
        handle(provider)?.0.discard(label, deadline(timeout))?;
        Ok(0)
    })
}

/// Turns a session into its bare descriptor, for another custodian. On C kernels, closing the last one
/// destroys the files that were not retrieved.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_claimed_into_fd(session: Option<Box<LibluClaimed>>) -> c_int {
    enter(|| Ok(handle(session)?.0.into_fd().into_raw_fd()))
}

/// The descriptor of a session, which stays the session's.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_claimed_fd(session: Option<&LibluClaimed>) -> c_int {
    enter(|| Ok(claimed_fd(handle(session)?)))
}

fn claimed_fd(session: &LibluClaimed) -> c_int {
    session.0.session().as_fd().as_raw_fd()
}

/// Closes an unfinished session. Nothing is destroyed: the custodian holds it, or, where closing would
/// destroy files, the descriptor stays open until the process ends (see `liblu_set_loss_hook()`).
#[unsafe(no_mangle)]
pub extern "C" fn liblu_claimed_close(session: Option<Box<LibluClaimed>>) {
    enter(|| {
        drop(session);
        Ok(0)
    });
}

/// Labels that C has passed.
///
/// # Safety
///
/// `labels` must be valid for `'a` with `count` pointers to NUL-terminated text.
pub(crate) unsafe fn labels<'a>(
    labels: *const *const c_char,
    count: usize,
) -> Outcome<Vec<&'a str>> {
    // SAFETY: The caller promises the same.
    let labels = unsafe { border::array(labels, count) }?;
    // SAFETY: The caller promises the same.
    labels.iter().map(|label| unsafe { border::text(*label, "a label") }).collect()
}
