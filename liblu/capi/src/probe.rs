// SPDX-License-Identifier: MIT OR Apache-2.0

//! What this kernel offers.

use std::ffi::{c_char, c_int};

use liblu::{Features, Support};

use crate::border::{self, Failure, Outcome, enter};
use crate::session::device;

/// Whether a kernel can do something.
#[repr(C)]
pub enum LibluSupport {
    /// It cannot.
    No = 0,
    /// It can.
    Yes = 1,
    /// It is not known.
    Unknown = 2,
}

impl From<Support> for LibluSupport {
    fn from(support: Support) -> Self {
        match support {
            Support::No => Self::No,
            Support::Yes => Self::Yes,
            // A later library may know more answers.
            _ => Self::Unknown,
        }
    }
}

/// Something that not all kernels can do. Later versions may know more.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum LibluFeature {
    /// The kernel says the name of a session.
    GetName = 0,
    /// A finished session can be used for the next update.
    ReuseAfterFinish = 1,
    /// A session that was closed unfinished can be retrieved again.
    RetrieveAfterClose = 2,
}

/// Whether this kernel can do something, an `enum liblu_feature`; returns an `enum liblu_support`. If there
/// are no live updates, or none for this process, that is unknown, and no error: `liblu_check()` tells, and
/// with a session that another process has sent, `liblu_probe_session()`.
///
/// -EINVAL: this version does not know the feature.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn liblu_probe(feature: u32) -> c_int {
    enter(|| answer(feature, || liblu::probe_at(&device()).features))
}

/// As `liblu_probe()`, by the descriptor of a session (`liblu_outgoing_fd()`, `liblu_incoming_fd()`), which stays
/// the caller's: without rights, and without a look at the device. Of another file, all is
/// unknown.
///
/// -EINVAL: this version does not know the feature. -EBADF: the descriptor is negative.
///
/// # Safety
///
/// `session` must be open.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_probe_session(session: c_int, feature: u32) -> c_int {
    enter(|| {
        // SAFETY: The caller promises that it is open during the call.
        let session = unsafe { border::borrowed(session) }?;
        answer(feature, || liblu::probe_session(session))
    })
}

/// The answer to C about a feature. Nothing is asked for one that is not known.
fn answer(feature: u32, features: impl FnOnce() -> Features) -> Outcome<c_int> {
    const GET_NAME: u32 = LibluFeature::GetName as u32;
    const REUSE_AFTER_FINISH: u32 = LibluFeature::ReuseAfterFinish as u32;
    const RETRIEVE_AFTER_CLOSE: u32 = LibluFeature::RetrieveAfterClose as u32;
    let of: fn(&Features) -> Support = match feature {
        GET_NAME => |found| found.get_name,
        REUSE_AFTER_FINISH => |found| found.reuse_after_finish,
        RETRIEVE_AFTER_CLOSE => |found| found.retrieve_after_close,
        _ => return Err(Failure::argument("this version does not know the feature")),
    };
    Ok(LibluSupport::from(of(&features())) as c_int)
}

/// Writes what this kernel offers and what is known to be wrong with it, for people, NUL-terminated,
/// and returns the length without: some lines, the last without a newline. 4096 bytes are enough.
///
/// -ERANGE: `size` is too small.
///
/// # Safety
///
/// `text` must have room for `size` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn liblu_probe_text(text: *mut c_char, size: usize) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let to = unsafe { border::room(text, size) };
        border::write_text(to, liblu::probe_at(&device()).to_string().as_bytes())
    })
}
