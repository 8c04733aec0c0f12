// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask api`: writes the public API of the libraries as text.

use std::fs;

use anyhow::{Context as _, Result};

use crate::api;
use crate::project::Project;

/// Runs the task.
pub(crate) fn run() -> Result<()> {
    let project = Project::open()?.folder;
    for api in api::make(&project)? {
        let path = project.join(api.library.file());
        fs::write(&path, api.text).with_context(|| format!("write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
