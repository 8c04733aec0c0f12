// SPDX-License-Identifier: MIT OR Apache-2.0

//! The C interface of liblu: what the Rust crate does, with opaque handles and negative error
//! numbers.
//!
//! Rules that hold for all functions:
//!
//! - Functions that return `int` return 0 or more, or a negative error number; `liblu_error()` has the
//!   reason in words. The numbers are chosen so that different kinds of errors, after which a program does
//!   different things, have different numbers; the words have the kernel's own number.
//! - Handles are given back by the function that their description names, and only once. A null
//!   handle is `-EINVAL`, or nothing at all where it is given back.
//! - A place for a handle is null after a call that failed.
//! - Text is NUL-terminated UTF-8, but for names of sessions, which are any bytes.
//! - Descriptors that come back are close-on-exec and the caller's; those that are passed in stay the
//!   caller's, unless the description says otherwise.
//! - Handles may be used by several threads at once, but while one thread gives back a handle, or asks a
//!   participant for its next event, no other may use it.
//! - A forked child has the descriptors too: the last descriptor of a session may be the child's.
//! - Times are milliseconds; as a timeout, a negative one is none.
//! - Calls that open the device wait for it if another process has it open: ten seconds, unless
//!   `liblu_set_wait()` says otherwise.
//! - No function unwinds into C.
//!
//! Linux has two implementations of live updates, one in C and one in Rust. Where they differ, this
//! says "C kernels" and "Rust kernels"; `liblu_probe()` tells what the running one can do.

#![expect(
    unsafe_code,
    reason = "symbols that C calls, with pointers and descriptors that C answers for"
)]

// The order of the header: by task.
mod border;

mod provider;

mod handover;

mod participant;

mod manifest;

mod session;

mod passing;

mod probe;

mod kexec;

#[cfg(test)]
mod tests;

pub use border::liblu_error;
pub use handover::*;
pub use kexec::*;
pub use manifest::*;
pub use participant::*;
pub use passing::*;
pub use probe::*;
pub use provider::*;
pub use session::*;
