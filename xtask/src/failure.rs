// SPDX-License-Identifier: MIT OR Apache-2.0

//! Errors that say what to do next.

use std::fmt;
use std::process::ExitCode;

use anyhow::{Error, Result};

/// Something went wrong, and this is the way on.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    next: String,
}

impl Failure {
    /// An error of its own: `what` went wrong, `next` is what the person can do.
    pub(crate) fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

/// The person pressed Ctrl-C, or the machine wants us gone.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted; the cache is whole, the same command goes on where this stopped")
    }
}

impl std::error::Error for Interrupted {}

/// Tests failed and the report has said so: nothing more to print.
#[derive(Debug)]
pub(crate) struct TestsFailed;

impl fmt::Display for TestsFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not everything passed")
    }
}

impl std::error::Error for TestsFailed {}

/// Puts what went wrong, and the way on, over an error.
pub(crate) trait NextStep<T> {
    /// `what` and `next` are made only when there is an error.
    fn or_advise<W: Into<String>, N: Into<String>>(
        self,
        advice: impl FnOnce() -> (W, N),
    ) -> Result<T>;
}

impl<T, E: Into<Error>> NextStep<T> for std::result::Result<T, E> {
    fn or_advise<W: Into<String>, N: Into<String>>(
        self,
        advice: impl FnOnce() -> (W, N),
    ) -> Result<T> {
        self.map_err(|error| {
            let error = error.into();
            // Nothing failed: the person wanted it to end.
            if error.is::<Interrupted>() {
                return error;
            }
            let (what, next) = advice();
            error.context(Failure::new(what, next))
        })
    }
}

/// Says the error and the way on; the exit code is 1 for failed tests, 130 after Ctrl-C, else 2.
pub(crate) fn report(error: &Error) -> ExitCode {
    if error.is::<TestsFailed>() {
        return ExitCode::from(1);
    }
    eprintln!("{}", describe(error));
    ExitCode::from(if error.is::<Interrupted>() { 130 } else { 2 })
}

/// The error chain, a line each, and the next step.
fn describe(error: &Error) -> String {
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        return interrupted.to_string();
    }
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text += &format!("\n  because: {}", cause.to_string().replace('\n', "\n    "));
    }
    if is_full_disk(error) {
        text += "\nnext step: make room on the disk (`cargo xtask clean` removes what this made), \
                 then run the same command again";
    } else if let Some(failure) = error.downcast_ref::<Failure>() {
        text += &format!("\nnext step: {}", failure.next.replace('\n', "\n  "));
    }
    text
}

/// Whether a full disk is behind it, as an error of ours or in the words of a tool.
fn is_full_disk(error: &Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull)
            || cause.to_string().contains("No space left on device")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn the_chain_and_the_next_step_are_said() {
        let error: Result<()> = Err(anyhow!("no route to host"))
            .context("fetch the list")
            .or_advise(|| ("no source", "check the network"));
        insta::assert_snapshot!(describe(&error.unwrap_err()), @r"
        error: no source
          because: fetch the list
          because: no route to host
        next step: check the network
        ");
    }

    #[test]
    fn an_interruption_needs_no_advice() {
        let error: Result<()> = Err(Interrupted.into());
        let error = error.or_advise(|| ("no source", "check the network")).unwrap_err();
        assert!(describe(&error).starts_with("interrupted"));
    }

    #[test]
    fn a_full_disk_has_its_own_next_step() {
        let error = anyhow!("tar: write: No space left on device").context("unpack");
        assert!(describe(&error).contains("make room on the disk"));
        let error = Error::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert!(describe(&error).contains("make room on the disk"));
    }
}
