// SPDX-License-Identifier: MIT OR Apache-2.0

//! Errors of the kernel in the words of the interfaces.

use liblu::ErrorKind;
use nix::errno::Errno;

use crate::label::LabelError;
use crate::policy::PolicyError;
use crate::system::store::StoreFull;
use crate::varlink::{agent, manager};

/// The name and the number of an error of the kernel.
fn errno(error: &liblu::Error) -> (String, i32) {
    let number = error.errno().raw_os_error();
    (format!("{:?}", Errno::from_raw(number)), number)
}

impl From<liblu::Error> for agent::Error {
    fn from(error: liblu::Error) -> Self {
        let message = error.to_string();
        match error.kind() {
            ErrorKind::Leaving => Self::Committing { message },
            ErrorKind::Unavailable => Self::Unavailable { message },
            _ => {
                let (errno_name, errno) = errno(&error);
                Self::KernelError { message, errno_name, errno }
            }
        }
    }
}

impl From<liblu::Error> for manager::Error {
    fn from(error: liblu::Error) -> Self {
        let message = error.to_string();
        match error.kind() {
            ErrorKind::Leaving => Self::Committing { message },
            ErrorKind::Unavailable => Self::Unavailable { message },
            ErrorKind::BadKernel | ErrorKind::BadSignature => Self::BadKernel { message },
            ErrorKind::NotLoaded => Self::NotLoaded { message },
            _ => {
                let (errno_name, errno) = errno(&error);
                Self::KernelError { message, errno_name, errno }
            }
        }
    }
}

impl From<std::io::Error> for agent::Error {
    fn from(error: std::io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or_default();
        let errno_name = format!("{:?}", Errno::from_raw(errno));
        Self::KernelError { message: error.to_string(), errno_name, errno }
    }
}

impl From<StoreFull> for agent::Error {
    fn from(error: StoreFull) -> Self {
        Self::StoreFull { message: error.to_string(), limit: error.0 }
    }
}

impl From<PolicyError> for manager::Error {
    fn from(error: PolicyError) -> Self {
        let message = sentence(&error);
        let (path, line) = match &error {
            PolicyError::Wrong { place, .. } | PolicyError::Names { place, .. } => {
                (place.path.display().to_string(), u32::try_from(place.line).ok())
            }
            PolicyError::Read { path, .. }
            | PolicyError::NotAFile { path }
            | PolicyError::TooLarge { path, .. }
            | PolicyError::TooManyFiles { path, .. } => (path.display().to_string(), None),
        };
        Self::BadPolicy { message, path, line }
    }
}

/// An error with its sources in one sentence.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A text that is no label. It is cut off, since it may be long.
pub(super) fn invalid_label(text: &str, error: LabelError) -> agent::Error {
    let shown = text.chars().filter(|it| !it.is_control()).take(64).collect();
    agent::Error::InvalidLabel { message: error.to_string(), label: shown }
}

pub(super) fn committing() -> String {
    "the kernel is being left, so nothing can be changed any more".into()
}
