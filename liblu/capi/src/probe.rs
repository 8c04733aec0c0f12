// SPDX-License-Identifier: MIT OR Apache-2.0

//! What this kernel offers.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

use liblu::Support;

use crate::border::{self, enter, handle};

/// Whether a kernel can do something.
#[repr(C)]
pub enum LuSupport {
    /// It cannot.
    No,
    /// It can.
    Yes,
    /// Nobody knows.
    Unknown,
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

/// What sessions of this kernel can do.
#[repr(C)]
pub struct LuFeatures {
    /// The kernel says what a session is called.
    pub get_name: LuSupport,
    /// A finished session can be used for the next update.
    pub reuse_after_finish: LuSupport,
    /// A session that was closed unfinished can be retrieved again.
    pub retrieve_after_close: LuSupport,
}

/// Looks at what this kernel offers. If there are no live updates, or none for this process, all is
/// unknown, and this still returns 0: `lu_check()` tells.
#[unsafe(no_mangle)]
pub extern "C" fn lu_probe(features: Option<&mut MaybeUninit<LuFeatures>>) -> c_int {
    enter(|| {
        let features = handle(features)?;
        let found = liblu::probe().features;
        features.write(LuFeatures {
            get_name: found.get_name.into(),
            reuse_after_finish: found.reuse_after_finish.into(),
            retrieve_after_close: found.retrieve_after_close.into(),
        });
        Ok(0)
    })
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
        border::write_text(to, liblu::probe().to_string().as_bytes())
    })
}
