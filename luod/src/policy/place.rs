// SPDX-License-Identifier: MIT OR Apache-2.0

//! Places in the files of the policy.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::File;

/// A line of a file, printed as `PATH:LINE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<PathBuf>,
    /// The line, from 1.
    pub line: usize,
}

impl Place {
    /// The line on which a range of bytes begins.
    pub(super) fn of(file: &File, span: &Range<usize>) -> Self {
        let before = file.text.bytes().take(span.start);
        let line = 1 + before.filter(|byte| *byte == b'\n').count();
        Self { path: Arc::clone(&file.path), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}
