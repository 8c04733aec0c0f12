// SPDX-License-Identifier: MIT OR Apache-2.0

//! The guests that survive updates with luod (`guest vm NAME`): what they say when they have started.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The labels of the sessions of a guest.
pub const LABELS: [&str; 2] = ["memory/0", "memory/1"];

/// Guests say here how they started.
const RESULTS: &str = "/run/vmtest-guests";

/// The file with the result of a guest.
#[must_use]
pub fn result_file(name: &str) -> String {
    format!("{RESULTS}/{name}")
}

/// The folder of results, where all users may write.
///
/// # Errors
///
/// If it cannot be made.
pub fn make_results() -> Result<()> {
    fs::create_dir_all(RESULTS).context("make a folder for results")?;
    fs::set_permissions(RESULTS, fs::Permissions::from_mode(0o1777)).context("open it to all")
}

/// Removes a result, for the next start.
pub fn remove_result(name: &str) {
    let _ = fs::remove_file(result_file(name));
}

/// Reads a result, and waits for it if need be.
///
/// # Errors
///
/// If there is none within a minute.
pub fn result(name: &str) -> Result<String> {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        match fs::read_to_string(result_file(name)) {
            Ok(text) if !text.is_empty() => return Ok(text.trim().to_owned()),
            _ if Instant::now() > end => bail!("{name} has not started"),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
