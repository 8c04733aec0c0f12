// SPDX-License-Identifier: MIT OR Apache-2.0

//! Errors of the registry.

use super::{MAX_SESSIONS, MAX_SIZE, Number, VERSION};

/// Why bytes are no registry that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A newer luod has written it.
    #[error(
        "the registry has version {found}, and this luod reads versions up to {known}; start the newer \
         luod again, which keeps all sessions", known = VERSION
    )]
    Newer {
        /// Its version.
        found: u64,
    },
    /// It has so many bytes.
    #[error("the registry has {0} bytes; at most {MAX_SIZE} are allowed")]
    TooLarge(usize),
    /// It is no JSON, is cut off, or a field is missing or has a value that is not allowed.
    #[error("the registry is damaged: {0}")]
    Malformed(String),
    /// Its sessions contradict each other, or are too many.
    #[error("the registry is damaged: {0}")]
    Sessions(#[from] EntryError),
}

/// Why a session cannot be added to the registry, or changed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// There is no room.
    #[error(
        "the registry has no room beside its {sessions} sessions; it has at most {MAX_SESSIONS}, fewer \
         with long names"
    )]
    Full {
        /// The sessions that it has.
        sessions: usize,
    },
    /// 0 is the number of no session.
    #[error("0 is the number of no session")]
    NoNumber,
    /// There is no such session.
    #[error("there is no session with the number {}", .0.0)]
    NoSuchSession(Number),
    /// Two sessions have one number.
    #[error("there is another session with the number {}", .0.0)]
    SameNumber(Number),
    /// Two sessions have one owner, one label and one direction.
    #[error("the owner has another session of this label that goes the same way")]
    SameLabel,
}
