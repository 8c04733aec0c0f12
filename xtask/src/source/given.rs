// SPDX-License-Identifier: MIT OR Apache-2.0

//! A kernel tree of the user's, given with `--linux`: looked at, copied, never changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

use crate::arch::ARCH;
use crate::cache::Key;
use crate::failure::{Failure, NextStep};
use crate::project::SourceSettings;
use crate::source::Source;

/// Files that a build in the tree itself creates; kbuild looks for the same before it builds
/// elsewhere.
///
/// Other files of such a build would be taken for source and get into the image.
const BUILT: &[&str] = &[".config", "include/config", ARCH.generated];

/// Version control: no part of the source.
pub(crate) const HISTORY: &str = ".git";

/// Looks whether `folder` is a tree that can be used, and fingerprints it.
pub(crate) fn open(folder: &Path, settings: &SourceSettings) -> Result<Source> {
    let advice = || {
        let what = format!("--linux {}: no such folder", folder.display());
        (what, "give the top folder of a kernel tree")
    };
    let folder = &folder.canonicalize().or_advise(advice)?;
    let version = version(folder, &settings.series)?;
    if !folder.join("kernel/liveupdate/luo_core.c").exists() {
        let what = format!("{} has no Live Update Orchestrator", folder.display());
        let next = format!("give a full Linux {} tree", settings.series);
        return Err(Failure::new(what, next).into());
    }
    if let Some(built) = BUILT.iter().find(|built| folder.join(built).exists()) {
        let what = format!("{} was built in place: it has {built}", folder.display());
        let next = "run `make mrproper` there, or give a clean copy: `git worktree add COPY`";
        return Err(Failure::new(what, next).into());
    }
    let name = Key::of("given", 1).with(folder.as_os_str().as_encoded_bytes()).finish();
    let key = fingerprint(folder, Key::of("given", 1).with(&name))?;
    Ok(Source { folder: folder.clone(), version, key, is_given: true, name })
}

fn version(folder: &Path, series: &str) -> Result<String> {
    let path = folder.join("Makefile");
    let not_a_tree = || {
        let what = format!("{} is not a kernel tree", folder.display());
        (what, "give the top folder of a kernel tree, the one with `MAINTAINERS`")
    };
    let makefile = fs::read_to_string(&path).context("read its Makefile");
    let makefile = makefile.or_advise(not_a_tree)?;
    let version = parse_version(&makefile).context("its Makefile names no version");
    let version = version.or_advise(not_a_tree)?;
    if !version.starts_with(&format!("{series}.")) {
        let what = format!("{} is Linux {version}; this project is for {series}", folder.display());
        return Err(Failure::new(what, format!("give a Linux {series} tree")).into());
    }
    Ok(version)
}

/// The version at the head of the kernel's Makefile.
fn parse_version(makefile: &str) -> Option<String> {
    let value = |name: &str| {
        makefile.lines().take(20).find_map(|line| {
            let value = line.strip_prefix(name)?.trim_start().strip_prefix('=')?.trim();
            Some(value.to_owned())
        })
    };
    let (major, minor) = (value("VERSION")?, value("PATCHLEVEL")?);
    let (patch, extra) = (value("SUBLEVEL")?, value("EXTRAVERSION").unwrap_or_default());
    let numbers = [&major, &minor, &patch];
    let sane = numbers.iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    sane.then(|| format!("{major}.{minor}.{patch}{extra}"))
}

/// A key of all files by name, size and time: reading 1.5 GB at every run would take too long.
fn fingerprint(folder: &Path, mut key: Key) -> Result<String> {
    let relative = |entry: &DirEntry| entry.path().strip_prefix(folder).map(Path::to_path_buf);
    let walk = WalkDir::new(folder).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| entry.file_name() != HISTORY) {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        if entry.file_type().is_dir() {
            continue;
        }
        let metadata = entry.metadata();
        let metadata = metadata.with_context(|| format!("look at {}", entry.path().display()))?;
        key = key.with(relative(&entry)?.as_os_str().as_encoded_bytes());
        let numbers = [metadata.len().cast_signed(), metadata.mtime(), metadata.mtime_nsec()];
        key = key.with(format!("{numbers:?}"));
    }
    Ok(key.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings() -> SourceSettings {
        crate::project::Project::open().unwrap().settings.source
    }

    fn tree(makefile: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Makefile"), makefile).unwrap();
        fs::create_dir_all(folder.path().join("kernel/liveupdate")).unwrap();
        fs::write(folder.path().join("kernel/liveupdate/luo_core.c"), "").unwrap();
        folder
    }

    const HEAD: &str = "# SPDX\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION = -rc1\n";

    #[test]
    fn a_tree_is_known_by_its_makefile() {
        let tree = tree(HEAD);
        let source = open(tree.path(), &settings()).unwrap();
        assert_eq!(source.version, "7.3.4-rc1");
        fs::write(tree.path().join("new.c"), "").unwrap();
        let changed = open(tree.path(), &settings()).unwrap();
        assert_eq!(changed.name, source.name);
        assert_ne!(changed.key, source.key);
        fs::create_dir(tree.path().join(".git")).unwrap();
        fs::write(tree.path().join(".git/HEAD"), "").unwrap();
        assert_eq!(open(tree.path(), &settings()).unwrap().key, changed.key);
    }

    #[test]
    fn wrong_trees_are_refused_with_a_reason() {
        let error = |folder: &Path| open(folder, &settings()).unwrap_err().to_string();
        assert!(error(Path::new("/no/such/folder")).contains("no such folder"));
        assert!(error(tempfile::tempdir().unwrap().path()).contains("not a kernel tree"));
        assert!(error(tree("all: build\n").path()).contains("not a kernel tree"));
        assert!(error(tree(&HEAD.replace("= 3", "= 2")).path()).contains("is Linux 7.2.4"));
        let without = tree(HEAD);
        fs::remove_dir_all(without.path().join("kernel")).unwrap();
        assert!(error(without.path()).contains("no Live Update Orchestrator"));
        let built = tree(HEAD);
        fs::write(built.path().join(".config"), "").unwrap();
        assert!(error(built.path()).contains("was built in place: it has .config"));
    }

    proptest! {
        #[test]
        fn no_makefile_makes_the_parser_panic(text in "(?s).*") {
            parse_version(&text);
        }
    }
}
