// SPDX-License-Identifier: GPL-2.0

//! Printing what pure crates define.

use kernel::fmt;

/// Shows something that only `core` knows how to show: the kernel's macros have a trait of their
/// own, which cannot be implemented for types of another crate.
pub(crate) struct Show<T>(pub(crate) T);

impl<T: core::fmt::Display> fmt::Display for Show<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}
