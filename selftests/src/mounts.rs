// SPDX-License-Identifier: MIT OR Apache-2.0

//! Mounting file systems that no disk has.

use std::ffi::CString;
use std::fs;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};

/// Mounts a file system of this kind on a folder, which is made if needed.
///
/// # Errors
///
/// If the folder cannot be made, or the kernel refuses the mount.
pub fn mount_new(kind: &str, on: &str, options: &str) -> Result<()> {
    fs::create_dir_all(on).with_context(|| format!("create {on}"))?;
    let options = CString::new(options).context("mount options")?;
    mount(kind, on, kind, MountFlags::empty(), options.as_c_str())
        .with_context(|| format!("mount {kind} on {on}"))
}
