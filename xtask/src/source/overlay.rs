// SPDX-License-Identifier: MIT OR Apache-2.0

//! What this project puts over a kernel tree: its own files, and patches to existing ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cache::{Cache, Key, files, remove};
use crate::failure::NextStep;
use crate::process::Job;
use crate::source::Source;
use crate::toolchain::Root;

/// Folders of the project that mirror the kernel tree.
const MIRRORED: &[&str] = &["kernel", "rust"];

/// Folder with patches, applied in the order of their names.
const PATCHES: &str = "patches";

/// Parts of the tree that stay upstream's, so that what is built from them is upstream's.
const UPSTREAM: &str = "tools/testing/selftests";

/// The overlay of a checkout.
#[derive(Debug)]
pub(crate) struct Overlay {
    project: PathBuf,
    /// Changes with its content.
    pub(crate) key: String,
}

impl Overlay {
    /// Reads the overlay of the checkout in `project`.
    pub(crate) fn of(project: &Path) -> Result<Self> {
        let mut key = Key::of("overlay", 1);
        for folder in MIRRORED.iter().chain([&PATCHES]) {
            key = key.with(folder).with_folder(&project.join(folder))?;
        }
        Ok(Self { project: project.to_path_buf(), key: key.finish() })
    }

    /// The content of every file that the overlay adds or changes, by its path in the tree.
    pub(crate) fn files(
        &self,
        cache: &Cache,
        root: &Root,
        source: &Source,
    ) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut all = self.patched(cache, root, source)?;
        for folder in MIRRORED {
            for file in files(&self.project.join(folder))? {
                let path = Path::new(folder).join(file);
                let from = self.project.join(&path);
                let content =
                    fs::read(&from).with_context(|| format!("read {}", from.display()))?;
                let before = all.insert(path.clone(), content);
                ensure!(before.is_none(), "{} is both patched and replaced", path.display());
            }
        }
        for path in all.keys() {
            ensure!(!path.starts_with(UPSTREAM), "{} must stay upstream's", path.display());
        }
        Ok(all)
    }

    /// Applies the patches to copies of the files that they touch.
    fn patched(
        &self,
        cache: &Cache,
        root: &Root,
        source: &Source,
    ) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut touched = BTreeSet::new();
        let folder = self.project.join(PATCHES);
        let patches: Vec<PathBuf> = files(&folder)?
            .into_iter()
            .filter(|p| p.extension().is_some_and(|e| e == "patch"))
            .collect();
        for patch in &patches {
            let path = folder.join(patch);
            let text =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            touched.extend(touched_files(&text));
        }
        if patches.is_empty() {
            return Ok(BTreeMap::new());
        }

        let scratch = cache.scratch("patches")?;
        for file in &touched {
            let (from, to) = (source.folder.join(file), scratch.join(file));
            let parent = to.parent().unwrap_or(&scratch);
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
            if from.exists() {
                fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
            }
        }
        for patch in &patches {
            let run = |options: &[&str]| {
                let mut command = root.command("patch", &scratch, &[&folder]);
                // No fuzz: a hunk whose surroundings have changed wants a person's eye.
                command.args(["-p1", "--batch", "--fuzz=0", "--no-backup-if-mismatch"]);
                command.args(options).arg("--input").arg(folder.join(patch));
                Job::new(command, cache.path("logs", "patches.log")).run()
            };
            // A tree that had the overlay put over it has the patches already.
            if run(&["--reverse", "--dry-run"]).is_ok() {
                continue;
            }
            run(&["--forward"]).or_advise(|| {
                let what = format!(
                    "patches/{} does not apply to Linux {}",
                    patch.display(),
                    source.version
                );
                (
                    what,
                    "the tree has moved: adapt the patch, or use the version in xtask/kernel.toml",
                )
            })?;
        }
        let mut all = BTreeMap::new();
        for file in touched {
            let path = scratch.join(&file);
            let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            all.insert(file, content);
        }
        remove(&scratch)?;
        Ok(all)
    }
}

/// The files that a patch changes or makes.
fn touched_files(patch: &str) -> Vec<PathBuf> {
    let new = patch.lines().filter_map(|line| line.strip_prefix("+++ b/"));
    let name = |line: &str| line.split('\t').next().map(PathBuf::from);
    new.filter_map(name).filter(|path| is_below(path)).collect()
}

/// Whether a relative path stays below where it begins.
fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn touched_files_are_those_with_a_new_side() {
        let patch = "--- a/init/Kconfig\n+++ b/init/Kconfig\t2026-01-01\n@@ -1 +1 @@\n-a\n+b\n\
                     --- /dev/null\n+++ b/rust/new.rs\n+++ b/../../etc/passwd\n";
        let expected = [PathBuf::from("init/Kconfig"), PathBuf::from("rust/new.rs")];
        assert_eq!(touched_files(patch), expected);
    }

    #[test]
    fn mirrored_files_change_the_key() {
        let project = tempfile::tempdir().unwrap();
        let key = || Overlay::of(project.path()).unwrap().key;
        let empty = key();
        fs::create_dir_all(project.path().join("kernel/liveupdate")).unwrap();
        fs::write(project.path().join("kernel/liveupdate/Kconfig"), "x").unwrap();
        let one = key();
        assert_ne!(empty, one);
        fs::create_dir_all(project.path().join("docs")).unwrap();
        fs::write(project.path().join("docs/new.md"), "x").unwrap();
        assert_eq!(one, key());
    }

    proptest! {
        #[test]
        fn no_patch_reaches_outside_the_tree(text in "(?s).*", path in "[a./]{0,12}") {
            let patch = format!("{text}\n+++ b/{path}\n");
            for path in touched_files(&patch) {
                prop_assert!(is_below(&path));
            }
        }
    }
}
