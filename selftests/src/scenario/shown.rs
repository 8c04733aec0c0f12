// SPDX-License-Identifier: MIT OR Apache-2.0

//! The text that the kernel shows of sessions: in debugfs, in `/proc/PID/fdinfo`, and by GET_NAME.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, ensure};

use crate::abi;

/// One of the two files in debugfs: `outgoing` or `incoming`.
fn path(file: &str) -> String {
    format!("/sys/kernel/debug/liveupdate/{file}")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

/// Checks that a file in debugfs has a text.
pub(super) fn check_shown(file: &str, expected: &str) -> Result<()> {
    let path = path(file);
    let text = read(&path)?;
    ensure!(text.contains(expected), "{path} has no\n{expected}but\n{text}");
    Ok(())
}

/// Checks that debugfs shows no session of this name.
pub(super) fn check_hidden(name: &str) -> Result<()> {
    for path in ["outgoing", "incoming"].map(path) {
        let text = read(&path)?;
        ensure!(!text.contains(&format!("\"{name}\"")), "{path} shows {name}: {text}");
    }
    Ok(())
}

/// Checks that the sessions of the previous kernel are shown as damaged.
pub(super) fn check_shown_damaged() -> Result<()> {
    let path = path("incoming");
    let text = read(&path)?;
    ensure!(text.starts_with("damaged"), "{path} says {text}");
    Ok(())
}

/// Checks all that the fdinfo of a session shows behind the lines that each file has.
pub(super) fn check_fdinfo(session: impl AsFd, expected: &str) -> Result<()> {
    let path = format!("/proc/self/fdinfo/{}", session.as_fd().as_raw_fd());
    let text = read(&path)?;
    // "ino" is the last line that each file has.
    let shown = text.split_once("\nino:").and_then(|(_, rest)| rest.split_once('\n'));
    ensure!(
        shown.is_some_and(|(_, shown)| shown == expected),
        "{path} shows not\n{expected}but\n{text}"
    );
    Ok(())
}

/// Checks that GET_NAME returns this name, and zeros behind it.
pub(super) fn check_name(session: impl AsFd, name: impl AsRef<[u8]>) -> Result<()> {
    let (there, name) = (abi::name_of(session).context("GET_NAME")?, name.as_ref());
    let rest = there.strip_prefix(name);
    let is_same = rest.is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
    ensure!(is_same, "GET_NAME says {there:?}");
    Ok(())
}
