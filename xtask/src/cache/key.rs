// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cache keys: a hash of all that a thing is made from.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

/// Collects inputs; the order in which they are added matters.
pub(crate) struct Key(Sha256);

impl Key {
    /// The key of a `kind` of thing; raise `version` when the way it is made changes.
    pub(crate) fn of(kind: &str, version: u32) -> Self {
        Self(Sha256::new()).with(kind).with(version.to_string())
    }

    /// Adds one input. Its length is hashed too, so that no two lists of inputs run together.
    pub(crate) fn with(mut self, input: impl AsRef<[u8]>) -> Self {
        self.add(input.as_ref());
        self
    }

    /// The key: 16 hexadecimal digits, fit for a file name.
    pub(crate) fn finish(self) -> String {
        let mut name = String::new();
        for byte in self.0.finalize().iter().take(8) {
            let _ = write!(name, "{byte:02x}");
        }
        name
    }

    fn add(&mut self, input: &[u8]) {
        self.0.update(u64::try_from(input.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.update(input);
    }
}

/// The files below `folder`, relative to it and sorted; none if it does not exist.
pub(crate) fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    if !folder.exists() {
        return Ok(files);
    }
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        if !entry.file_type().is_dir() {
            files.push(entry.path().strip_prefix(folder)?.to_path_buf());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_the_same_on_every_machine() {
        assert_eq!(Key::of("root", 1).with("trixie").finish(), "f9332a1068c69fde");
    }

    #[test]
    fn files_are_listed_in_order_and_relative() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        for file in ["b/x", "a", "c"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(files(folder.path()).unwrap(), ["a", "b/x", "c"].map(Path::new));
        assert!(files(&folder.path().join("none")).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn inputs_do_not_run_together(a: Vec<u8>, b: Vec<u8>, c: Vec<u8>) {
            let joined = [a.clone(), b.clone()].concat();
            let two = Key::of("x", 1).with(&a).with(&b).finish();
            let one = Key::of("x", 1).with(&joined).finish();
            prop_assert_ne!(&two, &one);
            prop_assert_ne!(two, Key::of("x", 1).with(&a).with(&b).with(&c).finish());
        }
    }
}
