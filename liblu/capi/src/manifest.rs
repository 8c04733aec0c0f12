// SPDX-License-Identifier: MIT OR Apache-2.0

//! The list of the files of a session, by label.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;

use liblu::{Entry, Manifest};

use crate::border::{self, Failure, Outcome, enter, handle, place, put};
use crate::session::LibluIncoming;

/// The list of the files of a session, which is kept in the session itself.
pub struct LibluManifest(pub(crate) Manifest);

/// Reads the manifest of a session. Give it back with `liblu_manifest_free()`.
///
/// -ENOMSG: the session has none. -ESTALE: its owner never said that it was ready. -EBADMSG: it is damaged.
/// -EPROTONOSUPPORT: a later version wrote it. -ENOMEM: there is no memory for it. The rest as
/// `liblu_incoming_retrieve()`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_manifest_read(
    session: Option<&LibluIncoming>,
    manifest: Option<&mut MaybeUninit<Option<Box<LibluManifest>>>>,
) -> c_int {
    enter(|| {
        let place = place(manifest)?;
        *place = Some(Box::new(LibluManifest(Manifest::of(&handle(session)?.0)?)));
        Ok(0)
    })
}

/// The number of files.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_manifest_count(manifest: Option<&LibluManifest>) -> c_int {
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
#[must_use]
pub unsafe extern "C" fn liblu_manifest_label(
    manifest: Option<&LibluManifest>,
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

/// What the manifest says about a file: unless they are null, `*token` is its token and `*size` its size in
/// bytes when it was preserved.
///
/// -ENOENT: there is no such file.
///
/// # Safety
///
/// `label` must be NUL-terminated.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_manifest_entry(
    manifest: Option<&LibluManifest>,
    label: *const c_char,
    token: Option<&mut MaybeUninit<u64>>,
    size: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let entry = entry(handle(manifest)?, unsafe { border::text(label, "the label") }?)?;
        put(token, entry.token().get());
        put(size, entry.size());
        Ok(0)
    })
}

/// Writes the kind of a file, NUL-terminated, and returns its length without: `memfd`, `file`, or the
/// beginning of the text of its link, such as `anon_inode:kvm-vm`. 256 bytes are enough.
///
/// -ENOENT: there is no such file. -ERANGE: `size` is too small.
///
/// # Safety
///
/// `label` must be NUL-terminated; `kind` must have room for `size` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_manifest_kind(
    manifest: Option<&LibluManifest>,
    label: *const c_char,
    kind: *mut c_char,
    size: usize,
) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let entry = entry(handle(manifest)?, unsafe { border::text(label, "the label") }?)?;
        // SAFETY: The caller promises the same.
        border::write_text(unsafe { border::room(kind, size) }, entry.kind().as_bytes())
    })
}

/// Writes the state of a file, the client's own bytes, and returns their number. With `room` 0 it only
/// returns the number.
///
/// -ENOENT: there is no such file. -ERANGE: `room` is too small.
///
/// # Safety
///
/// `label` must be NUL-terminated; `state` must have room for `room` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_manifest_state(
    manifest: Option<&LibluManifest>,
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

/// Gives a manifest back. Nothing happens to the files.
#[unsafe(no_mangle)]
pub extern "C" fn liblu_manifest_free(manifest: Option<Box<LibluManifest>>) {
    enter(|| {
        drop(manifest);
        Ok(0)
    });
}

fn entry<'a>(manifest: &'a LibluManifest, label: &str) -> Outcome<&'a Entry> {
    let missing = || Failure::missing(&format!("there is no file called `{label}`"));
    manifest.0.entry(label).ok_or_else(missing)
}
