// SPDX-License-Identifier: MIT OR Apache-2.0

//! The C interface of liblu: what the Rust crate does, with opaque handles and negative error
//! numbers.
//!
//! Rules that hold for all functions:
//!
//! - What returns `int` returns 0 or more, or a negative error number; `lu_error()` says in words
//!   what the last failed call of this thread met.
//! - Handles are given back by the function that their description names, and only once. A null
//!   handle is `-EINVAL`, or nothing at all where it is given back.
//! - A place for a handle is null after a call that failed.
//! - Text is NUL-terminated UTF-8, but for names of sessions, which are any bytes.
//! - Descriptors that come back are close-on-exec and the caller's; those that are passed in stay the
//!   caller's, unless the description says otherwise.
//! - Handles may be used by several threads at once, but while one changes or gives back a handle, no
//!   other may use it. Records are changed by `lu_manifest_preserve()` alone.
//! - A forked child has the descriptors too: what is said of the last descriptor counts its as well.
//! - Calls that open the device wait for it if another process has it open: ten seconds, unless
//!   `lu_set_wait()` says otherwise.
//! - No function unwinds into C.
//!
//! Linux has two implementations of live updates, one in C and one in Rust. Where they differ, this
//! says "C kernels" and "Rust kernels"; `lu_probe()` tells what the running one can do.

#![expect(
    unsafe_code,
    reason = "symbols that C calls, with pointers and descriptors that C answers for"
)]

mod border;
mod kexec;
mod manifest;
mod passing;
mod probe;
mod session;
#[cfg(test)]
mod tests;

pub use border::lu_error;
pub use kexec::*;
pub use manifest::*;
pub use passing::*;
pub use probe::*;
pub use session::*;
