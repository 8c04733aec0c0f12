// SPDX-License-Identifier: GPL-2.0

//! Live update: files and state that outlive the kernel.
//!
//! The Live Update Orchestrator (LUO) asks handlers of files to save the state of files before a
//! kexec, and to restore it in the next kernel.
//!
//! - A [`FileHandler`] preserves files of some kind.
//! - [`FileLifecycleBound`] state (FLB) is shared by several files.
//!
//! A handler or an FLB hands over one number ([`Data`]), usually the physical address of memory
//! that was preserved by [`crate::kho`].
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)
//!
//! Reference: <https://docs.kernel.org/core-api/liveupdate.html>

use crate::{
    bindings,
    ffi::c_char,
    prelude::*, //
};

mod data;
mod file;
mod flb;

pub use data::Data;
pub use file::{
    FileHandler,
    Handler,
    HandlerRegistration,
    Outcome, //
};
pub use flb::{
    FileLifecycleBound,
    Flb,
    FlbRegistration,
    IncomingFlb,
    OutgoingFlb, //
};

/// Whether live updates are possible (`liveupdate=on`).
pub fn is_enabled() -> bool {
    // SAFETY: The function only reads a flag.
    unsafe { bindings::liveupdate_enabled() }
}

/// A name as C has it: in an array, and padded with NUL.
///
/// # Panics
///
/// If it has no room for the name and its NUL, or the name is empty; at compile time in a `static`.
const fn compatible<const N: usize>(name: &CStr) -> [c_char; N] {
    let bytes = name.to_bytes();
    assert!(!bytes.is_empty() && bytes.len() < N);
    let mut array = [0; N];
    let mut at = 0;
    while at < bytes.len() {
        array[at] = bytes[at] as c_char;
        at += 1;
    }
    array
}
