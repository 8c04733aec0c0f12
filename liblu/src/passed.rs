// SPDX-License-Identifier: MIT OR Apache-2.0

//! Descriptors that the service manager has passed to this process.

use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use crate::{Error, ErrorKind, Result, sys};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The descriptors that the service manager has passed to this process, with their names: sockets and what
/// is in its fd store (`sd_listen_fds_with_names(3)`). They belong to the caller, also those that are no
/// sessions; a second call finds none, and neither does [`Provider::fd_store`](crate::Provider::fd_store).
///
/// This is for programs that hold sessions for others. Others are better served by
/// [`Provider`](crate::Provider), which closes nothing.
///
/// # Errors
///
/// [`ErrorKind::Protocol`] if the variables of the environment make no sense; the error of copying.
///
/// ```no_run
/// for (name, descriptor) in liblu::take_passed()? {
///     println!("{name}: {descriptor:?}");
/// }
/// # Ok::<(), liblu::Error>(())
/// ```
pub fn take_passed() -> Result<Vec<(String, OwnedFd)>> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let passed = numbers()?;
    // If one cannot be copied, none is closed, so nothing is lost.
    let taken = copy(&passed)?;
    for (number, _) in passed {
        sys::close_passed(number);
    }
    Ok(taken)
}

/// Copies of the descriptors that were passed, which stay open.
///
/// # Errors
///
/// Those of [`take_passed`].
pub(crate) fn copies() -> Result<Vec<(String, OwnedFd)>> {
    if TAKEN.load(Ordering::Relaxed) { Ok(Vec::new()) } else { copy(&numbers()?) }
}

fn copy(passed: &[(RawFd, String)]) -> Result<Vec<(String, OwnedFd)>> {
    let mut copies = Vec::new();
    for (number, name) in passed {
        match sys::copy_passed(*number) {
            Ok(copy) => copies.push((name.clone(), copy)),
            // The program has closed it.
            Err(Errno::BADF) => {}
            Err(errno) => return Err(Error::system("copy a passed descriptor", errno)),
        }
    }
    Ok(copies)
}

fn numbers() -> Result<Vec<(RawFd, String)>> {
    let passed = sd_notify::listen_fds_with_names().map_err(|error| {
        let why = format!("the service manager has passed its descriptors wrongly: {error}");
        Error::new(ErrorKind::Protocol, why)
    })?;
    Ok(passed.collect())
}
