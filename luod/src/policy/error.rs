// SPDX-License-Identifier: MIT OR Apache-2.0

//! Errors of the policy.

use std::io;
use std::path::PathBuf;

use super::Place;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A file or a folder cannot be read. An absent one is no error.
    #[error("{}: it cannot be read", .path.display())]
    Read {
        /// The file or the folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Something that is no file bears the name of one.
    #[error("{}: this is no regular file; remove it, or link it to /dev/null to mask others", .path.display())]
    NotAFile {
        /// Its path.
        path: PathBuf,
    },
    /// A file is larger than all that a person writes.
    #[error("{}: the file is too large; at most {max} bytes are allowed", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        max: u64,
    },
    /// There are more drop-ins than a person writes.
    #[error("{}: too many drop-ins; at most {max} are allowed", .path.display())]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
        /// The limit.
        max: usize,
    },
    /// Something in a file is wrong.
    #[error("{place}: {}{fault}", prefix(.key))]
    Wrong {
        /// The line.
        place: Place,
        /// The key, such as `rule[0].unit`; empty if the file is no TOML.
        key: String,
        /// The fault.
        fault: Fault,
    },
    /// The users and groups of the machine cannot be asked for.
    #[error("{place}: {key}: cannot find out whether {name:?} exists")]
    Names {
        /// The line.
        place: Place,
        /// The key.
        key: String,
        /// The name of a user or a group.
        name: String,
        /// The reason.
        source: io::Error,
    },
}

/// A fault in a file of the policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The file is no UTF-8.
    #[error("this line is no UTF-8")]
    Encoding,
    /// The file is no TOML, or a key or a value is not allowed.
    #[error("{0}")]
    Form(String),
    /// A rule has two subjects.
    #[error(
        "the rule has `{0}` already; give one of `unit`, `user` and `group`, or none for all owners"
    )]
    SecondSubject(&'static str),
    /// There is no such user.
    #[error("there is no user {0:?}; give the name of a user, or a number without quotation marks")]
    NoSuchUser(String),
    /// There is no such group.
    #[error(
        "there is no group {0:?}; give the name of a group, or a number without quotation marks"
    )]
    NoSuchGroup(String),
    /// There are more rules than a person writes.
    #[error("there are too many rules; at most {0} are allowed in all files together")]
    TooManyRules(usize),
}

/// The key, as it stands before the fault.
fn prefix(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}
