// SPDX-License-Identifier: MIT OR Apache-2.0

//! Kernel source: Debian's package or a tree of the user's, and the overlaid copy that is built.

mod debian;
mod given;
mod overlay;
mod tree;

use std::path::PathBuf;

pub(crate) use debian::{choose as choose_debian, chosen, fetch, update};
pub(crate) use given::{HISTORY, open as open_given};
pub(crate) use overlay::{Overlay, Patched, begins_hunks, touched_files};
pub(crate) use tree::{Tree, prepare as prepare_tree};

/// Source that never changes: the overlaid tree is a copy of it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its top folder.
    pub(crate) folder: PathBuf,
    /// Version, for people.
    pub(crate) version: String,
    /// Changes with the content.
    pub(crate) key: String,
    /// Whether it is a tree of the user's.
    pub(crate) is_given: bool,
    /// Tells this source from others, for any content: names the copy.
    pub(crate) name: String,
}
