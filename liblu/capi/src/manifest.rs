// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a session holds, by label.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, IntoRawFd};

use liblu::{Entry, Manifest};

use crate::border::{self, Failure, Outcome, enter, handle, place};
use crate::session::{LuIncoming, LuOutgoing};

/// A record of what a session holds, kept in the session itself.
pub struct LuManifest(Manifest);

/// A record of nothing. Give it back with `lu_manifest_free()`.
///
/// # Safety
///
/// `manifest` must be valid for a write.
#[unsafe(no_mangle)]
pub extern "C" fn lu_manifest_new(
    manifest: Option<&mut MaybeUninit<Option<Box<LuManifest>>>>,
) -> c_int {
    enter(|| {
        *place(manifest)? = Some(Box::new(LuManifest(Manifest::new())));
        Ok(0)
    })
}

/// A file as C describes it: its label, the file and the caller's bytes.
///
/// # Safety
///
/// `label` must be null or NUL-terminated, and valid for `'a`; `fd` negative, or open for `'a`; `state`
/// null, or valid for `'a` with `state_size` bytes.
unsafe fn described<'a>(
    label: *const c_char,
    fd: c_int,
    state: *const c_void,
    state_size: usize,
) -> Outcome<(&'a str, BorrowedFd<'a>, &'a [u8])> {
    // SAFETY: The caller promises the same.
    let label = unsafe { border::text(label, "the label") }?;
    // SAFETY: The caller promises the same.
    let state = unsafe { border::array(state.cast::<u8>(), state_size) };
    // SAFETY: The caller promises the same.
    let file = unsafe { border::borrowed(fd) }?;
    Ok((label, file, state))
}

/// Preserves a file and writes down what it is, with `state_size` bytes of the caller's own. `*token`,
/// unless `token` is null, is what the kernel calls it: one more than the highest in the record so far,
/// from 1.
///
/// A call that failed leaves record and session as they were.
///
/// -EEXIST: the label is taken; or the token is, by a file that was preserved without the record, and
/// `lu_manifest_preserve_as()` chooses another. -EINVAL: the label is empty, has more than 255 bytes
/// or is not UTF-8. -E2BIG: the whole record would have more than 16 MiB, in which a byte of state
/// takes one and a third. The rest as `lu_outgoing_preserve()`.
///
/// # Safety
///
/// `label` must be NUL-terminated; `fd` open; `state` valid for `state_size` bytes, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_manifest_preserve(
    manifest: Option<&mut LuManifest>,
    session: Option<&LuOutgoing>,
    label: *const c_char,
    fd: c_int,
    state: *const c_void,
    state_size: usize,
    token: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let (label, file, state) = unsafe { described(label, fd, state, state_size) }?;
        let given = handle(manifest)?.0.preserve(&handle(session)?.0, label, file, state)?;
        if let Some(token) = token {
            token.write(given.get());
        }
        Ok(0)
    })
}

/// As `lu_manifest_preserve()`, under a token of the caller's choice: for a session that has files
/// which are not in the record. Later calls of `lu_manifest_preserve()` go on from the highest.
///
/// -EINVAL: the token is one of the 256 highest, which are reserved. The rest as
/// `lu_manifest_preserve()`.
///
/// # Safety
///
/// `label` must be NUL-terminated; `fd` open; `state` valid for `state_size` bytes, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_manifest_preserve_as(
    manifest: Option<&mut LuManifest>,
    session: Option<&LuOutgoing>,
    token: u64,
    label: *const c_char,
    fd: c_int,
    state: *const c_void,
    state_size: usize,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let (label, file, state) = unsafe { described(label, fd, state, state_size) }?;
        let (manifest, session) = (handle(manifest)?, handle(session)?);
        let token = crate::session::token(token)?;
        manifest.0.preserve_as(&session.0, token, label, file, state)?;
        Ok(0)
    })
}

/// Writes the record into the session, once: the last thing to do before the update. It is a memfd of
/// its own, under a reserved token, and one of the session's files. What is preserved later is not in
/// it. Files of the session that were preserved with `lu_outgoing_preserve()` are not in it either.
///
/// -EEXIST: the session has a record. -ENOMEM: there is no memory for it. The rest as
/// `lu_outgoing_preserve()`.
#[unsafe(no_mangle)]
pub extern "C" fn lu_manifest_seal(
    manifest: Option<&LuManifest>,
    session: Option<&LuOutgoing>,
) -> c_int {
    enter(|| Ok(handle(manifest)?.0.seal(&handle(session)?.0).map(|()| 0)?))
}

/// Reads the record of a session. Give it back with `lu_manifest_free()`.
///
/// -ENOENT: the session has none. -EBADMSG: what it has is none. -EPROTONOSUPPORT: a later version
/// wrote it. -ENOMEM: there is no memory for it. The rest as `lu_incoming_retrieve()`.
#[unsafe(no_mangle)]
pub extern "C" fn lu_manifest_read(
    session: Option<&LuIncoming>,
    manifest: Option<&mut MaybeUninit<Option<Box<LuManifest>>>>,
) -> c_int {
    enter(|| {
        let place = place(manifest)?;
        *place = Some(Box::new(LuManifest(Manifest::of(&handle(session)?.0)?)));
        Ok(0)
    })
}

/// Retrieves the file that is called `label`: a new descriptor.
///
/// -ENOENT: nothing is called so, or the session has no such file. The rest as
/// `lu_incoming_retrieve()`.
///
/// # Safety
///
/// `label` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_manifest_retrieve(
    manifest: Option<&LuManifest>,
    session: Option<&LuIncoming>,
    label: *const c_char,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let label = unsafe { border::text(label, "the label") }?;
        Ok(handle(manifest)?.0.retrieve(&handle(session)?.0, label)?.into_raw_fd())
    })
}

/// How many files the record has.
#[unsafe(no_mangle)]
pub extern "C" fn lu_manifest_count(manifest: Option<&LuManifest>) -> c_int {
    enter(|| {
        let count = handle(manifest)?.0.entries().len();
        c_int::try_from(count).map_err(|_| Failure::room("too many to count"))
    })
}

/// Writes the label of file number `at`, from 0 in the order in which they were preserved,
/// NUL-terminated, and returns its length without. 256 bytes are enough.
///
/// -EINVAL: there are not so many files. -ERANGE: `size` is too small.
///
/// # Safety
///
/// `label` must have room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_manifest_label(
    manifest: Option<&LuManifest>,
    at: usize,
    label: *mut c_char,
    size: usize,
) -> c_int {
    enter(|| {
        let entry = handle(manifest)?.0.entries().get(at);
        let entry = entry.ok_or_else(|| Failure::argument("there are not so many files"))?;
        // SAFETY: The caller promises the same.
        border::write_text(unsafe { border::room(label, size) }, entry.label().as_bytes())
    })
}

/// What the record says about a file; unless they are null, `*token` is what the kernel calls it and
/// `*size` its size in bytes when it was preserved.
///
/// -ENOENT: nothing is called so.
///
/// # Safety
///
/// `label` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_manifest_entry(
    manifest: Option<&LuManifest>,
    label: *const c_char,
    token: Option<&mut MaybeUninit<u64>>,
    size: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let entry = entry(handle(manifest)?, unsafe { border::text(label, "the label") }?)?;
        if let Some(token) = token {
            token.write(entry.token().get());
        }
        if let Some(size) = size {
            size.write(entry.size());
        }
        Ok(0)
    })
}

/// Writes the bytes that were given along with a file, and returns how many there are. With `room` 0
/// it only returns how many.
///
/// -ENOENT: nothing is called so. -ERANGE: `room` is too small.
///
/// # Safety
///
/// `label` must be NUL-terminated; `state` must have room for `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_manifest_state(
    manifest: Option<&LuManifest>,
    label: *const c_char,
    state: *mut c_void,
    room: usize,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let entry = entry(handle(manifest)?, unsafe { border::text(label, "the label") }?)?;
        let bytes = entry.state();
        // SAFETY: The caller promises the same.
        let to = unsafe { border::room(state.cast::<u8>(), room) };
        let too_small = || Failure::room(&format!("{} bytes are needed", bytes.len()));
        if room > 0 {
            let to = to.get_mut(..bytes.len()).ok_or_else(too_small)?;
            border::fill(to, bytes.iter().copied());
        }
        c_int::try_from(bytes.len()).map_err(|_| too_small())
    })
}

/// Gives a record back. Nothing happens to the files.
#[unsafe(no_mangle)]
pub extern "C" fn lu_manifest_free(manifest: Option<Box<LuManifest>>) {
    enter(|| {
        drop(manifest);
        Ok(0)
    });
}

fn entry<'a>(manifest: &'a LuManifest, label: &str) -> Outcome<&'a Entry> {
    let missing = || liblu::ManifestError::NoLabel(label.to_owned()).into();
    manifest.0.entry(label).ok_or_else(missing)
}
