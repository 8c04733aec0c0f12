// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask api` and `cargo xtask header`: write files that are made from code.

use anyhow::Result;

use crate::cache::write_by_rename;
use crate::generated::Generated;
use crate::project::Project;

/// Runs the task.
pub(crate) fn run(generated: &Generated) -> Result<()> {
    let project = Project::open()?.folder;
    for (path, text) in (generated.make)(&project)? {
        let path = project.join(path);
        write_by_rename(&path, text.as_bytes())?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
