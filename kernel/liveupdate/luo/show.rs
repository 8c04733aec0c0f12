// SPDX-License-Identifier: GPL-2.0

//! Sessions and files as text, for debugfs, `/proc/PID/fdinfo` and the log.
//!
//! Each session is a line, and each of its files an indented one behind it:
//!
//! ```text
//! session "vm-1" state=waiting files=1
//!   file token=0x1 handler="memfd-v2" state=pending
//! ```

use kernel::fmt;
use luo_core::{
    name::{
        Compatible,
        SessionName, //
    },
    token::Token, //
};

/// Prints a value of a pure crate, which implements the trait of `core` alone: the macros of the
/// kernel use a trait of their own.
pub(crate) struct Show<T>(pub(crate) T);

impl<T: core::fmt::Display> fmt::Display for Show<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}

/// The line of a session. `files` is `None` if they cannot be looked at now.
pub(crate) fn session(
    f: &mut fmt::Formatter<'_>,
    name: &SessionName,
    state: &str,
    files: Option<u64>,
) -> fmt::Result {
    write!(f, "session \"{name}\" state={state}")?;
    match files {
        Some(files) => writeln!(f, " files={files}"),
        None => writeln!(f),
    }
}

/// The line of a file.
pub(crate) fn file(
    f: &mut fmt::Formatter<'_>,
    token: Token,
    handler: &[u8; Compatible::SIZE],
    state: impl core::fmt::Display,
) -> fmt::Result {
    write!(f, "  file token={:#x} handler=", token.0)?;
    match Compatible::new(handler) {
        Ok(handler) => writeln!(f, "\"{handler}\" state={state}"),
        Err(_) => writeln!(f, "? state={state}"),
    }
}
