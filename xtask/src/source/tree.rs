// SPDX-License-Identifier: MIT OR Apache-2.0

//! The overlaid tree: a copy of the source with the project's files and patches in place.
//!
//! It is changed in place, file by file and only where the content differs, so that make rebuilds
//! only what a change touches. A record of the files that are the overlay's is written before any of
//! them, so a run that was killed half-way is made good by the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{Cache, Lock, remove, write_if_different};
use crate::process::Job;
use crate::progress::Progress;
use crate::source::given::HISTORY;
use crate::source::{Overlay, Source};
use crate::toolchain::Root;

/// The overlaid tree.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// Its top folder.
    pub(crate) folder: PathBuf,
}

/// The state of a tree, beside it.
#[derive(Default, serde::Deserialize, serde::Serialize)]
struct State {
    /// Key of the source that it is a whole copy of.
    source: String,
    /// Files that the overlay put there, or was about to.
    overlaid: BTreeSet<PathBuf>,
}

/// Brings the tree of `source` up to date.
pub(crate) fn prepare(
    cache: &Cache,
    root: &Root,
    source: &Source,
    overlay: &Overlay,
    _: &Lock,
) -> Result<Tree> {
    let folder = cache.path("trees", &source.name).join("linux");
    let record = format!("trees/{}/state.json", source.name);
    let mut state: State = cache.read_record(&record).unwrap_or_default();
    if state.source != source.key {
        state.source.clear();
        cache.write_record(&record, &state)?;
        copy(cache, root, source, &folder, &state.overlaid)?;
        state.source.clone_from(&source.key);
        cache.write_record(&record, &state)?;
    }

    let wanted = overlay.files(cache, root, source)?;
    state.overlaid.extend(wanted.keys().cloned());
    cache.write_record(&record, &state)?;
    apply(&folder, &source.folder, &wanted, &state.overlaid)?;
    state.overlaid = wanted.into_keys().collect();
    cache.write_record(&record, &state)?;
    Ok(Tree { folder })
}

/// Makes `folder` a copy of the source, except for files of the overlay.
fn copy(
    cache: &Cache,
    root: &Root,
    source: &Source,
    folder: &Path,
    overlaid: &BTreeSet<PathBuf>,
) -> Result<()> {
    let step = Progress::begin(cache, format!("copy Linux {}", source.version));
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let mut command = root.command("rsync", folder, &[&source.folder]);
    // Only files with another content are touched, and get the time of now: make rebuilds what
    // depends on them even if the source is older than what was built from it.
    command.args(["--archive", "--no-times", "--checksum", "--delete", "--no-owner", "--no-group"]);
    command.arg(format!("--exclude={HISTORY}"));
    let overlaid = overlaid.iter().map(|path| format!("--exclude=/{}", path.display()));
    command.args(overlaid).arg(source.folder.join("")).arg("./");
    Job::new(command, cache.path("logs", "tree.log")).run().context("copy the kernel source")?;
    step.done();
    Ok(())
}

/// Writes what is wanted and takes back what no longer is.
fn apply(
    tree: &Path,
    source: &Path,
    wanted: &BTreeMap<PathBuf, Vec<u8>>,
    overlaid: &BTreeSet<PathBuf>,
) -> Result<()> {
    for path in overlaid {
        let to = tree.join(path);
        let original = || fs::read(source.join(path)).ok();
        match wanted.get(path).cloned().or_else(original) {
            Some(content) => write_if_different(&to, &content)?,
            None => remove(&to)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutation_goes_with_the_next_preparation() {
        let folder = tempfile::tempdir().unwrap();
        let (source, tree) = (folder.path().join("source"), folder.path().join("tree"));
        let put = |content: &str| {
            let wanted = BTreeMap::from([(PathBuf::from("luo/a.rs"), content.into())]);
            apply(&tree, &source, &wanted, &wanted.keys().cloned().collect()).unwrap();
            let file = tree.join("luo/a.rs");
            let time = fs::metadata(&file).unwrap().modified().unwrap();
            (fs::read_to_string(file).unwrap(), time)
        };
        let (_, right) = put("right");
        let (content, mutated) = put("mutated");
        assert_eq!(content, "mutated");
        let (content, again) = put("right");
        assert_eq!(content, "right");
        // make compiles it again each time.
        assert!(right < mutated && mutated < again);
    }

    #[test]
    fn the_overlay_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (source, tree) = (folder.path().join("source"), folder.path().join("tree"));
        for side in [&source, &tree] {
            fs::create_dir_all(side).unwrap();
            fs::write(side.join("Kconfig"), "upstream").unwrap();
        }
        let wanted = BTreeMap::from([
            (PathBuf::from("Kconfig"), b"patched".to_vec()),
            (PathBuf::from("new/file.rs"), b"new".to_vec()),
        ]);
        let all: BTreeSet<PathBuf> = wanted.keys().cloned().collect();
        apply(&tree, &source, &wanted, &all).unwrap();
        assert_eq!(fs::read(tree.join("Kconfig")).unwrap(), b"patched");
        assert_eq!(fs::read(tree.join("new/file.rs")).unwrap(), b"new");
        let time = fs::metadata(tree.join("Kconfig")).unwrap().modified().unwrap();
        apply(&tree, &source, &wanted, &all).unwrap();
        assert_eq!(fs::metadata(tree.join("Kconfig")).unwrap().modified().unwrap(), time);

        apply(&tree, &source, &BTreeMap::new(), &all).unwrap();
        assert_eq!(fs::read(tree.join("Kconfig")).unwrap(), b"upstream");
        assert!(!tree.join("new/file.rs").exists());
        assert_eq!(fs::read(source.join("Kconfig")).unwrap(), b"upstream");
    }
}
