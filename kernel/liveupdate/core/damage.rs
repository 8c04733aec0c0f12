// SPDX-License-Identifier: GPL-2.0

//! Why a handover cannot be used.

use core::fmt;

/// A defect of the data from the previous kernel.
///
/// It comes from another kernel, so nothing about it is taken for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The format is not [`COMPATIBLE`](crate::wire::COMPATIBLE).
    Format([u8; 8]),
    /// No block begins at this address: it is not aligned, or the memory was not preserved.
    Address(u64),
    /// A block has an impossible number of entries: more than fit, or none although a block
    /// follows.
    Count(u64),
    /// The FLB entries take this many pages, not one.
    Pages(u64),
    /// A chain leads back to this block.
    Cycle(u64),
    /// A chain has more blocks than any kernel writes.
    Length,
    /// A name is empty or has no NUL.
    Name,
    /// Two entries have the same name or token.
    Duplicate,
    /// A session has another number of files than it says.
    Files {
        /// The number that the session has written down.
        said: u64,
        /// The number of entries.
        found: u64,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(format) => {
                // The padding is not part of the text.
                let end = format
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |last| last.saturating_add(1));
                let text = format.get(..end).unwrap_or_default();
                write!(f, "unknown format '{}'", text.escape_ascii())
            }
            Self::Address(address) => write!(f, "no preserved block at {address:#x}"),
            Self::Count(count) => write!(f, "a block with {count} entries"),
            Self::Pages(pages) => write!(f, "{pages} pages of FLB entries, not one"),
            Self::Cycle(address) => write!(f, "the block at {address:#x} is used twice"),
            Self::Length => f.write_str("a chain has too many blocks"),
            Self::Name => f.write_str("a name is empty or has no end"),
            Self::Duplicate => f.write_str("a name or token is used twice"),
            Self::Files { said, found } => {
                write!(f, "{found} files in a session of {said}")
            }
        }
    }
}
