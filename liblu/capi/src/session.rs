// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions.

use std::ffi::{CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use liblu::{
    Backoff, FromFdError, IncomingSession, LiveUpdate, OutgoingSession, SessionName, Token,
};

use crate::border::{self, Failure, Outcome, enter, handle, place};

/// A session for the next kernel. Its files are unpreserved when the last descriptor of it is closed.
pub struct LibluOutgoing(pub(crate) OutgoingSession);

/// A session of the previous kernel.
pub struct LibluIncoming(pub(crate) IncomingSession);

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
    };
    let session = session.map_err(|error| {
        // C still has the other one, so closing the copy destroys nothing.
        let (copy, error) = error.into_parts();
        drop(copy);
        error
    })?;
    // SAFETY: The caller gives it up, and the session has a copy.
    drop(unsafe { border::taken(fd) });
    Ok(session)
}

pub(crate) fn token(number: u64) -> Outcome<Token> {
    Token::new(number).ok_or_else(|| Failure::argument("the 256 highest tokens are reserved"))
}

/// Whether there are live updates here, and this process may open the device: 0, or why not. A program
/// that gets sessions from an agent may have -EACCES here and take part all the same.
///
/// -ENODEV: there are no live updates; the words say what is missing. -EACCES: the device is for
/// others. -EBUSY: another process has had the device for as long as `liblu_set_wait()` says. -EIO: the
/// kernel could not read the handover of the previous kernel.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_check() -> c_int {
    enter(|| Ok(device().check().map(|()| 0)?))
}

static WAIT: AtomicU32 = AtomicU32::new(10_000);

/// Says how long calls of this process wait for the device while another process has it: so many
/// milliseconds at most, 0 not at all. Without this, it is ten seconds.
#[unsafe(no_mangle)]
pub extern "C" fn liblu_set_wait(milliseconds: u32) {
    WAIT.store(milliseconds, Ordering::Relaxed);
}

/// The device, waited for as was said.
pub(crate) fn device() -> LiveUpdate {
    let total = Duration::from_millis(WAIT.load(Ordering::Relaxed).into());
    LiveUpdate::new().with_backoff(Backoff { total, ..Backoff::default() })
}

/// Creates a session for the next kernel. Give it back with `liblu_outgoing_close()`.
///
/// -EEXIST: there is one of this name. -EBUSY, -ENODEV, -EACCES, -EIO: as `liblu_check()`. -EINVAL,
/// -ENAMETOOLONG: the name is empty or has more than 63 bytes. -ESHUTDOWN: reboot(2) has begun. Or the
/// error of the kernel, -EMFILE, -ENFILE, -ENOMEM and -ENOSPC among them.
///
/// # Safety
///
/// `name` must be NUL-terminated, and `session` valid for a write.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_create(
    name: *const c_char,
    session: Option<&mut MaybeUninit<Option<Box<LibluOutgoing>>>>,
) -> c_int {
    enter(|| {
        let session = place(session)?;
        // SAFETY: The caller promises the same.
        let created = device().create(&unsafe { self::name(name) }?)?;
        *session = Some(Box::new(LibluOutgoing(created)));
        Ok(0)
    })
}

/// Takes over a session of the previous kernel. Give it back with `liblu_incoming_finish()`,
/// `liblu_incoming_into_fd()` or `liblu_incoming_close()`.
///
/// -ENOENT: none of this name came, or it is finished: a cold start. -EALREADY: another descriptor of it is
/// open. The rest as `liblu_create()`, but for -EEXIST.
///
/// # Safety
///
/// `name` must be NUL-terminated, and `session` valid for a write.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_retrieve(
    name: *const c_char,
    session: Option<&mut MaybeUninit<Option<Box<LibluIncoming>>>>,
) -> c_int {
    enter(|| {
        let session = place(session)?;
        // SAFETY: The caller promises the same.
        let retrieved = device().retrieve(&unsafe { self::name(name) }?)?;
        *session = Some(Box::new(LibluIncoming(retrieved)));
        Ok(0)
    })
}

/// Makes a session of a descriptor that another process has sent. The descriptor is the session's if this
/// succeeds, and stays the caller's if not. `name` is checked, unless it is null.
///
/// -EINVAL: it is no outgoing session, or has another name, or that is empty. -ENAMETOOLONG: `name` has
/// more than 63 bytes. -EBADF: it is not open. -EMFILE: there is no descriptor for a copy. Kernels before
/// 7.2 cannot say which direction a session has, and need `/proc` to say its name, which they cannot if it
/// has more than 38 bytes: there, the sender must be right.
///
/// # Safety
///
/// `fd` must be open and nobody else's; `name` must be null or NUL-terminated; `session` valid for a
/// write.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_outgoing_from_fd(
    fd: c_int,
    name: *const c_char,
    session: Option<&mut MaybeUninit<Option<Box<LibluOutgoing>>>>,
) -> c_int {
    enter(|| {
        let session = place(session)?;
        // SAFETY: The caller promises the same.
        let there = unsafe { taken(fd, name, OutgoingSession::from_fd) }?;
        *session = Some(Box::new(LibluOutgoing(there)));
        Ok(0)
    })
}

/// Makes a session of a descriptor that another process has sent. The descriptor is the session's if this
/// succeeds, and stays the caller's if not. `name` is checked, unless it is null.
///
/// As `liblu_outgoing_from_fd()`.
///
/// # Safety
///
/// `fd` must be open and nobody else's; `name` must be null or NUL-terminated; `session` valid for a
/// write.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_incoming_from_fd(
    fd: c_int,
    name: *const c_char,
    session: Option<&mut MaybeUninit<Option<Box<LibluIncoming>>>>,
) -> c_int {
    enter(|| {
        let session = place(session)?;
        // SAFETY: The caller promises the same.
        let there = unsafe { taken(fd, name, IncomingSession::from_fd) }?;
        *session = Some(Box::new(LibluIncoming(there)));
        Ok(0)
    })
}

/// Preserves an open file under a token. It stays open, and the caller's.
///
/// -EEXIST: the token is taken. -EBUSY: the file is preserved already. -EOPNOTSUPP: this kernel cannot
/// preserve such files. -EINVAL: the token is one of the 256 highest, which are reserved. -ESHUTDOWN:
/// reboot(2) has begun. Or the error of the file's handler.
///
/// # Safety
///
/// `fd` must be open.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_outgoing_preserve(
    session: Option<&LibluOutgoing>,
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
/// words say why. -EMFILE, -ENOMEM: there is no descriptor or no memory; ask again. -ESHUTDOWN: reboot(2)
/// has begun. -EINVAL: the token is reserved, or another process has finished the session.
///
/// From 6.19 to 6.19.8, one more descriptor of the session stays open after -ENODATA until the process
/// ends or calls execve(2), because closing the last one would hurt the kernel. Only this handle knows that
/// a file failed: the next process that gets the session must do no more than keep it open.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_incoming_retrieve(session: Option<&LibluIncoming>, token: u64) -> c_int {
    enter(|| Ok(handle(session)?.0.retrieve(self::token(token)?)?.into_raw_fd()))
}

/// Says that all that is needed was retrieved. `*session` is gone and null then. Unless `next` is null,
/// `*next` is the same session for the next update, to be given back with `liblu_outgoing_close()`. It is
/// idle: it has no name until the first file is preserved in it, which fails with -EEXIST while another
/// outgoing session has that name. It is null on C kernels: `liblu_create()` makes a new one. If this fails,
/// `*session` is as it was.
///
/// -EBUSY: a device waits for more of its files, and there is none of those among memfds. -ENODATA: a file
/// could not be restored, and this kernel would be hurt; keep the session open until the next boot (6.19 to
/// 6.19.8), in a process that does no more with it. -EINVAL: another process has finished it. -ESHUTDOWN:
/// reboot(2) has begun. Or the error of the kernel.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_incoming_finish(
    session: Option<&mut Option<Box<LibluIncoming>>>,
    next: Option<&mut MaybeUninit<Option<Box<LibluOutgoing>>>>,
) -> c_int {
    enter(|| {
        let next = next.map(|next| next.write(None));
        let place = handle(session)?;
        let LibluIncoming(session) = *handle(place.take())?;
        match session.finish() {
            Ok(outgoing) => {
                if let Some(next) = next {
                    *next = outgoing.map(|outgoing| Box::new(LibluOutgoing(outgoing)));
                }
                Ok(0)
            }
            Err(failed) => {
                let (session, error) = failed.into_parts();
                *place = Some(Box::new(LibluIncoming(session)));
                Err(error.into())
            }
        }
    })
}

/// The descriptor of a session, which stays the session's.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_outgoing_fd(session: Option<&LibluOutgoing>) -> c_int {
    enter(|| Ok(handle(session)?.0.as_fd().as_raw_fd()))
}

/// The descriptor of a session, which stays the session's.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_incoming_fd(session: Option<&LibluIncoming>) -> c_int {
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
#[must_use]
pub unsafe extern "C" fn liblu_outgoing_name(
    session: Option<&LibluOutgoing>,
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
#[must_use]
pub unsafe extern "C" fn liblu_incoming_name(
    session: Option<&LibluIncoming>,
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
pub extern "C" fn liblu_outgoing_close(session: Option<Box<LibluOutgoing>>) {
    enter(|| {
        drop(session);
        Ok(0)
    });
}

/// Closes an unfinished session of the previous kernel. Nothing is destroyed: on Rust kernels it can be
/// retrieved again; on C kernels, where closing the last descriptor destroys the files that were not
/// retrieved, it stays open until the process ends (see `liblu_set_loss_hook()`).
#[unsafe(no_mangle)]
pub extern "C" fn liblu_incoming_close(session: Option<Box<LibluIncoming>>) {
    enter(|| {
        drop(session);
        Ok(0)
    });
}

/// Turns a session of the previous kernel into its bare descriptor, for a custodian. On C kernels, closing
/// the last one destroys the files that were not retrieved.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_incoming_into_fd(session: Option<Box<LibluIncoming>>) -> c_int {
    enter(|| Ok(handle(session)?.0.into_fd().into_raw_fd()))
}

/// Turns a session for the next kernel into its bare descriptor, for a custodian. Closing the last one
/// undoes everything.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_outgoing_into_fd(session: Option<Box<LibluOutgoing>>) -> c_int {
    enter(|| Ok(handle(session)?.0.into_fd().into_raw_fd()))
}

/// A function that is called with the name of a session, or null if that cannot be read.
pub type LibluLossHook = Option<extern "C" fn(name: *const c_char)>;

static HOOK: RwLock<LibluLossHook> = RwLock::new(None);

fn call_hook(name: Option<&SessionName>) {
    let hook = *HOOK.read().unwrap_or_else(PoisonError::into_inner);
    let name = name.and_then(|name| CString::new(name.as_bytes()).ok());
    if let Some(hook) = hook {
        hook(name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr()));
    }
}

/// Sets the function that is called when an unfinished session is closed where that would destroy its
/// files, so that it stays open until the process ends. Without one, or with null, a line is written to
/// standard error.
#[unsafe(no_mangle)]
pub extern "C" fn liblu_set_loss_hook(hook: LibluLossHook) {
    static DEFAULT: OnceLock<liblu::LossHook> = OnceLock::new();
    *HOOK.write().unwrap_or_else(PoisonError::into_inner) = hook;
    let before = liblu::set_loss_hook(call_hook);
    let default = *DEFAULT.get_or_init(|| before);
    if hook.is_none() {
        liblu::set_loss_hook(default);
    }
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
#[must_use]
pub unsafe extern "C" fn liblu_name_of_label(
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
