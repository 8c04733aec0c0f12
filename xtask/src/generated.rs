// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files that are made from the code of the libraries, and kept in git so that changes are seen.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{api, c_header};

/// Files that one command of `cargo xtask` writes, and the check of the same name compares.
pub(crate) struct Generated {
    /// Name of the command and of the check.
    pub(crate) name: &'static str,
    /// The programs that notice a change.
    pub(crate) readers: &'static str,
    /// Makes the files of the project in this folder.
    pub(crate) make: fn(&Path) -> Result<Texts>,
}

/// Texts by path below the folder of the project.
pub(crate) type Texts = Vec<(PathBuf, String)>;

/// The public API of each library, as text.
pub(crate) const APIS: Generated = Generated { name: "api", readers: "programs", make: api::make };

/// The C header of liblu.
pub(crate) const C_HEADER: Generated = Generated {
    name: "header",
    readers: "C programs",
    make: |project| Ok(vec![(c_header::PATH.into(), c_header::make(project)?)]),
};
