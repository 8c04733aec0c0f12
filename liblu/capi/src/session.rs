// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use liblu::{
    Backoff, FromFdError, IncomingSession, LiveUpdate, OutgoingSession, SessionName, Token,
};

use crate::border::{self, Failure, Outcome, enter, handle, place};

/// A session for the next kernel. Its files are unpreserved when the last descriptor of it is closed.
pub struct LuOutgoing(pub(crate) OutgoingSession);

/// A session of the last kernel.
pub struct LuIncoming(pub(crate) IncomingSession);

/// The session's name, of C.
///
/// # Safety
///
/// `name` must be null or NUL-terminated.
unsafe fn name(name: *const c_char) -> Outcome<SessionName> {
    // SAFETY: The caller promises the same.
    Ok(SessionName::new(unsafe { border::bytes(name, "the name") }?)?)
}

/// A session of a descriptor that C gives up if this succeeds; a null name is not checked.
///
/// # Safety
///
/// `fd` must be open and nobody else's; `name` must be null or NUL-terminated.
unsafe fn taken<S: TryFrom<OwnedFd, Error = FromFdError>>(
    fd: c_int,
    name: *const c_char,
    of_name: impl FnOnce(OwnedFd, &SessionName) -> Result<S, FromFdError>,
) -> Outcome<S> {
    // SAFETY: The caller promises that it is open during the call.
    let copy = unsafe { border::copy(fd) }?;
    let session = if name.is_null() {
        S::try_from(copy)
    } else {
        // SAFETY: The caller promises the same.
        of_name(copy, &unsafe { self::name(name) }?)
    }?;
    // SAFETY: The caller gives it up, and the session has a copy.
    drop(unsafe { border::taken(fd) });
    Ok(session)
}

pub(crate) fn token(number: u64) -> Outcome<Token> {
    Token::new(number).ok_or_else(|| Failure::argument("the 256 highest tokens are reserved"))
}

/// Whether there are live updates here, and this process may open the device: 0, or why not. Who gets
/// sessions from an agent may have -EACCES here and take part all the same.
///
/// -ENODEV: there are no live updates; the words say what is missing. -EACCES: the device is for
/// others. -EBUSY: another process has had the device for as long as `lu_set_wait()` says. -EIO: the
/// kernel could not read what the last one handed over.
#[unsafe(no_mangle)]
pub extern "C" fn lu_check() -> c_int {
    enter(|| Ok(device().check().map(|()| 0)?))
}

static WAIT: AtomicU32 = AtomicU32::new(10_000);

/// Says how long calls of this process wait for the device while another process has it: so many
/// milliseconds at most, 0 not at all. Without this, it is ten seconds.
#[unsafe(no_mangle)]
pub extern "C" fn lu_set_wait(milliseconds: u32) {
    WAIT.store(milliseconds, Ordering::Relaxed);
}

/// The device, waited for as was said.
pub(crate) fn device() -> LiveUpdate {
    let total = Duration::from_millis(WAIT.load(Ordering::Relaxed).into());
    LiveUpdate::new().with_backoff(Backoff { total, ..Backoff::default() })
}

/// Creates a session for the next kernel. Give it back with `lu_outgoing_close()`.
///
/// -EEXIST: there is one of this name. -EBUSY, -ENODEV, -EACCES, -EIO: as `lu_check()`. -EINVAL,
/// -ENAMETOOLONG: the name is empty or has more than 63 bytes. Or what the kernel says, -EMFILE, -ENFILE,
/// -ENOMEM and -ENOSPC among it.
///
/// # Safety
///
/// `name` must be NUL-terminated, and `session` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_create(
    name: *const c_char,
    session: Option<&mut MaybeUninit<Option<Box<LuOutgoing>>>>,
) -> c_int {
    enter(|| {
        let session = place(session)?;
        // SAFETY: The caller promises the same.
        let created = device().create(&unsafe { self::name(name) }?)?;
        *session = Some(Box::new(LuOutgoing(created)));
        Ok(0)
    })
}

/// Takes over a session of the last kernel. Give it back with `lu_incoming_finish()`,
/// `lu_incoming_into_custody()`, or, to give up what has not been retrieved, `lu_incoming_close()`.
///
/// -ENOENT: none of this name came, or it is finished: a start from nothing. -EALREADY: somebody else
/// holds it. The rest as `lu_create()`, but -EEXIST.
///
/// # Safety
///
/// `name` must be NUL-terminated, and `session` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_retrieve(
    name: *const c_char,
    session: Option<&mut MaybeUninit<Option<Box<LuIncoming>>>>,
) -> c_int {
    enter(|| {
        let session = place(session)?;
        // SAFETY: The caller promises the same.
        let retrieved = device().retrieve(&unsafe { self::name(name) }?)?;
        *session = Some(Box::new(LuIncoming(retrieved)));
        Ok(0)
    })
}

/// Makes a session of a descriptor that somebody has sent. The descriptor is the session's if this
/// succeeds, and stays the caller's if not. `name` is checked, unless it is null.
///
/// -EINVAL: it is no outgoing session, or has another name, or that is empty. -ENAMETOOLONG: `name` has
/// more than 63 bytes, or the session's is longer than it. -EBADF: it is not open. -EMFILE: there is no
/// descriptor for the copy that is looked at. Or what `/proc` says. Kernels before 7.2 cannot say which
/// direction a session has, nor its name if that has more than 38 bytes: there, whoever sends it must be
/// right.
///
/// # Safety
///
/// `fd` must be open and nobody else's; `name` must be null or NUL-terminated; `session` valid for a
/// write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_outgoing_from_fd(
    fd: c_int,
    name: *const c_char,
    session: Option<&mut MaybeUninit<Option<Box<LuOutgoing>>>>,
) -> c_int {
    enter(|| {
        let session = place(session)?;
        // SAFETY: The caller promises the same.
        let there = unsafe { taken(fd, name, OutgoingSession::from_fd) }?;
        *session = Some(Box::new(LuOutgoing(there)));
        Ok(0)
    })
}

/// Makes a session of a descriptor that somebody has sent. The descriptor is the session's if this
/// succeeds, and stays the caller's if not. `name` is checked, unless it is null.
///
/// -EINVAL: it is no incoming session, or has another name, or that is empty. -ENAMETOOLONG: `name` has
/// more than 63 bytes, or the session's is longer than it. -EBADF: it is not open. -EMFILE: there is no
/// descriptor for the copy that is looked at. Or what `/proc` says. Kernels before 7.2 cannot say which
/// direction a session has, nor its name if that has more than 38 bytes: there, whoever sends it must be
/// right.
///
/// # Safety
///
/// `fd` must be open and nobody else's; `name` must be null or NUL-terminated; `session` valid for a
/// write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_incoming_from_fd(
    fd: c_int,
    name: *const c_char,
    session: Option<&mut MaybeUninit<Option<Box<LuIncoming>>>>,
) -> c_int {
    enter(|| {
        let session = place(session)?;
        // SAFETY: The caller promises the same.
        let there = unsafe { taken(fd, name, IncomingSession::from_fd) }?;
        *session = Some(Box::new(LuIncoming(there)));
        Ok(0)
    })
}

/// Preserves an open file under a token. It stays open, and the caller's.
///
/// -EEXIST: the token is taken. -EBUSY: the file is preserved already, or the kernel is being left.
/// -ENOENT: this kernel cannot preserve such files. -EINVAL: the token is one of the 256 highest, which
/// are reserved. Or what the file's handler says.
///
/// # Safety
///
/// `fd` must be open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_outgoing_preserve(
    session: Option<&LuOutgoing>,
    token: u64,
    fd: c_int,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises that it is open during the call.
        let file = unsafe { border::borrowed(fd) }?;
        handle(session)?.0.preserve(self::token(token)?, file)?;
        Ok(0)
    })
}

/// Retrieves a file: a new descriptor of it each time.
///
/// -ENOENT: no file has the token. -ENODATA: the file could not be restored, and never will be; the
/// words say why. -EMFILE: this process has as many descriptors as it may; try again. -EBUSY: the
/// kernel is being left. -EINVAL: the token is reserved, or somebody else has finished the session.
///
/// From 6.19 to 6.19.8, one more descriptor of the session stays open after -ENODATA until the process
/// ends or calls execve(2), because closing the last one would hurt the kernel. That a file failed is
/// known to this handle only: whoever gets the session next must do no more than keep it open.
#[unsafe(no_mangle)]
pub extern "C" fn lu_incoming_retrieve(session: Option<&LuIncoming>, token: u64) -> c_int {
    enter(|| Ok(handle(session)?.0.retrieve(self::token(token)?)?.into_raw_fd()))
}

/// Says that all that is needed was retrieved. `*session` is gone and null then. Unless `next` is null,
/// `*next` is the same session for the next update, to be given back with `lu_outgoing_close()`. It is
/// idle: it has no name until the first file is preserved in it, which fails with -EEXIST while another
/// outgoing session has that name. It is null on C kernels: `lu_create()` makes a new one. If this fails,
/// `*session` is as it was.
///
/// -EBUSY: a device waits for more of its files, and there is none of those among memfds; or the kernel
/// is being left. -ENODATA: a file could not be restored, and this kernel would be hurt; keep the
/// session open until the next boot (6.19 to 6.19.8), in a process that does no more with it. -EINVAL:
/// somebody else has finished it. Or what the kernel says.
#[unsafe(no_mangle)]
pub extern "C" fn lu_incoming_finish(
    session: Option<&mut Option<Box<LuIncoming>>>,
    next: Option<&mut MaybeUninit<Option<Box<LuOutgoing>>>>,
) -> c_int {
    enter(|| {
        let next = next.map(|next| next.write(None));
        let place = handle(session)?;
        let LuIncoming(session) = *handle(place.take())?;
        match session.finish() {
            Ok(outgoing) => {
                if let Some(next) = next {
                    *next = outgoing.map(|outgoing| Box::new(LuOutgoing(outgoing)));
                }
                Ok(0)
            }
            Err(error) => {
                let failure = Failure::from(error.source);
                *place = Some(Box::new(LuIncoming(error.session)));
                Err(failure)
            }
        }
    })
}

/// The descriptor of a session, which stays the session's.
#[unsafe(no_mangle)]
pub extern "C" fn lu_outgoing_fd(session: Option<&LuOutgoing>) -> c_int {
    enter(|| Ok(handle(session)?.0.as_fd().as_raw_fd()))
}

/// The descriptor of a session, which stays the session's.
#[unsafe(no_mangle)]
pub extern "C" fn lu_incoming_fd(session: Option<&LuIncoming>) -> c_int {
    enter(|| Ok(handle(session)?.0.as_fd().as_raw_fd()))
}

/// Writes the name of a session, NUL-terminated, and returns its length without. 64 bytes are enough.
///
/// -ERANGE: `size` is too small. -ENAMETOOLONG: it has more than 38 bytes, and kernels before 7.2 cannot
/// say it.
///
/// # Safety
///
/// `name` must have room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_outgoing_name(
    session: Option<&LuOutgoing>,
    name: *mut c_char,
    size: usize,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let to = unsafe { border::room(name, size) };
        border::write_text(to, handle(session)?.0.name()?.as_bytes())
    })
}

/// Writes the name of a session, NUL-terminated, and returns its length without. 64 bytes are enough.
///
/// -ERANGE: `size` is too small. -ENAMETOOLONG: it has more than 38 bytes, and kernels before 7.2 cannot
/// say it.
///
/// # Safety
///
/// `name` must have room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_incoming_name(
    session: Option<&LuIncoming>,
    name: *mut c_char,
    size: usize,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let to = unsafe { border::room(name, size) };
        border::write_text(to, handle(session)?.0.name()?.as_bytes())
    })
}

/// Closes a session for the next kernel. If nobody else holds it, its files are unpreserved.
#[unsafe(no_mangle)]
pub extern "C" fn lu_outgoing_close(session: Option<Box<LuOutgoing>>) {
    enter(|| {
        drop(session);
        Ok(0)
    });
}

/// Closes an unfinished session of the last kernel. On C kernels this destroys what was not retrieved
/// if nobody else holds the session, and a line on standard error says so; on Rust kernels it can be
/// retrieved again.
#[unsafe(no_mangle)]
pub extern "C" fn lu_incoming_close(session: Option<Box<LuIncoming>>) {
    enter(|| {
        drop(session);
        Ok(0)
    });
}

/// Turns a session of the last kernel into its bare descriptor, for somebody who keeps it.
#[unsafe(no_mangle)]
pub extern "C" fn lu_incoming_into_custody(session: Option<Box<LuIncoming>>) -> c_int {
    enter(|| Ok(handle(session)?.0.into_custody().into_raw_fd()))
}

/// Writes the name of the session for a label in a namespace, which may be null, NUL-terminated, and
/// returns its length without; 64 bytes are enough. Both are UTF-8, and a namespace has no slash. What
/// is too long for a name is hashed. Without a namespace, the label `a/b` is `b` in the namespace `a`.
///
/// -ERANGE: `size` is too small. -EINVAL: the label, or the namespace, is empty or not UTF-8, or the
/// namespace has a slash.
///
/// # Safety
///
/// `label` and `ns` must be NUL-terminated, `ns` may be null; `name` must have room
/// for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_name_of_label(
    ns: *const c_char,
    label: *const c_char,
    name: *mut c_char,
    size: usize,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let label = unsafe { border::text(label, "the label") }?;
        let made = if ns.is_null() {
            SessionName::of_label(label)?
        } else {
            // SAFETY: The caller promises the same.
            SessionName::in_namespace(unsafe { border::text(ns, "the namespace") }?, label)?
        };
        // SAFETY: The caller promises the same.
        border::write_text(unsafe { border::room(name, size) }, made.as_bytes())
    })
}
