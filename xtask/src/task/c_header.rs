// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask header`: writes the C header of liblu.

use std::fs;

use anyhow::{Context as _, Result};

use crate::c_header;
use crate::project::Project;

/// Runs the task.
pub(crate) fn run() -> Result<()> {
    let project = Project::open()?.folder;
    let (path, made) = (c_header::path(&project), c_header::make(&project)?);
    fs::create_dir_all(path.parent().unwrap_or(&project))
        .and_then(|()| fs::write(&path, made))
        .with_context(|| format!("write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}
