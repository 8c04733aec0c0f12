// SPDX-License-Identifier: MIT OR Apache-2.0

//! What this kernel offers.

use std::ffi::{c_char, c_int};

use liblu::{Features, Support};

use crate::border::{self, Failure, Outcome, enter};
use crate::session::device;

/// Whether a kernel can do something.
#[repr(C)]
pub enum LuSupport {
    /// It cannot.
    No = 0,
    /// It can.
    Yes = 1,
    /// Nobody knows.
    Unknown = 2,
}

impl From<Support> for LuSupport {
    fn from(support: Support) -> Self {
        match support {
            Support::No => Self::No,
            Support::Yes => Self::Yes,
            Support::Unknown => Self::Unknown,
        }
    }
}

/// Something that not all kernels can do. Later versions may know more.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum LuFeature {
    /// The kernel says what a session is called.
    GetName = 0,
    /// A finished session can be used for the next update.
    ReuseAfterFinish = 1,
    /// A session that was closed unfinished can be retrieved again.
    RetrieveAfterClose = 2,
}

/// Whether this kernel can do something, an `enum lu_feature`; returns an `enum lu_support`. If there
/// are no live updates, or none for this process, that is unknown, and no error: `lu_check()` tells, and
/// with a session that somebody has sent, `lu_probe_session()`.
///
/// -EINVAL: this version does not know the feature.
#[unsafe(no_mangle)]
pub extern "C" fn lu_probe(feature: u32) -> c_int {
    enter(|| answer(feature, || liblu::probe_at(&device()).features))
}

/// As `lu_probe()`, by the descriptor of a session (`lu_outgoing_fd()`, `lu_incoming_fd()`), which stays
/// the caller's: without rights, and without a look at the device. Of what is no session, all is
/// unknown.
///
/// -EINVAL: this version does not know the feature. -EBADF: the descriptor is negative.
///
/// # Safety
///
/// `session` must be open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lu_probe_session(session: c_int, feature: u32) -> c_int {
    enter(|| {
        // SAFETY: The caller promises that it is open during the call.
        let session = unsafe { border::borrowed(session) }?;
        answer(feature, || liblu::probe_session(session))
    })
}

/// What C is told of a feature. Nothing is looked at for one that is not known.
fn answer(feature: u32, features: impl FnOnce() -> Features) -> Outcome<c_int> {
    const GET_NAME: u32 = LuFeature::GetName as u32;
    const REUSE_AFTER_FINISH: u32 = LuFeature::ReuseAfterFinish as u32;
    const RETRIEVE_AFTER_CLOSE: u32 = LuFeature::RetrieveAfterClose as u32;
    let of: fn(&Features) -> Support = match feature {
        GET_NAME => |found| found.get_name,
        REUSE_AFTER_FINISH => |found| found.reuse_after_finish,
        RETRIEVE_AFTER_CLOSE => |found| found.retrieve_after_close,
        _ => return Err(Failure::argument("this version does not know the feature")),
    };
    Ok(LuSupport::from(of(&features())) as c_int)
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
pub unsafe extern "C" fn lu_probe_text(text: *mut c_char, size: usize) -> c_int {
    enter(|| {
        // SAFETY: The caller promises the same.
        let to = unsafe { border::room(text, size) };
        border::write_text(to, liblu::probe_at(&device()).to_string().as_bytes())
    })
}
