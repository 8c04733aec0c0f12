// SPDX-License-Identifier: MIT OR Apache-2.0

//! A kernel tree of the user's, given with `--linux`: looked at, copied, never changed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

use crate::cache::Key;
use crate::failure::{Failure, NextStep};
use crate::project::SourceSettings;
use crate::source::Source;

/// What a build leaves at certain places: no part of the source.
///
/// The first ones keep kbuild from building elsewhere ("the source tree is not clean"). `*` stands
/// for one folder.
const PRODUCTS: &[&str] = &[
    ".config",
    "include/config",
    "include/generated",
    "arch/*/include/generated",
    "vmlinux",
    "vmlinux.a",
    "vmlinux.o",
    "vmlinux.unstripped",
];

/// What a build leaves in any folder.
const PRODUCT_ENDS: &[&str] = &[".a", ".cmd", ".ko", ".o", ".rmeta"];

/// Version control.
const HISTORY: &str = ".git";

/// Patterns for rsync of all that is no part of the source.
pub(crate) fn not_source() -> impl Iterator<Item = String> {
    let placed = PRODUCTS.iter().map(|path| format!("/{path}"));
    let ends = PRODUCT_ENDS.iter().map(|end| format!("*{end}"));
    placed.chain(ends).chain([HISTORY.to_owned()])
}

/// Whether a path, relative to the tree, is no part of the source: the same as [`not_source`].
fn is_not_source(path: &Path) -> bool {
    let Some(name) = path.file_name().map(OsStr::to_string_lossy) else { return false };
    name == HISTORY
        || PRODUCT_ENDS.iter().any(|end| name.ends_with(end))
        || PRODUCTS.iter().any(|product| is_placed(path, product))
}

/// Whether a path is exactly the one of a pattern.
fn is_placed(path: &Path, pattern: &str) -> bool {
    let pattern = Path::new(pattern);
    let mut pairs = path.iter().zip(pattern);
    path.iter().count() == pattern.iter().count()
        && pairs.all(|(part, wanted)| wanted == "*" || part == wanted)
}

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
    let name = Key::of("given", 1).with(folder.as_os_str().as_encoded_bytes()).finish();
    let key = fingerprint(folder, Key::of("given", 1).with(&name))?;
    Ok(Source { folder: folder.clone(), version, key, name })
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
    let is_source = |entry: &DirEntry| relative(entry).is_ok_and(|path| !is_not_source(&path));
    for entry in walk.filter_entry(is_source) {
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
        fs::write(tree.path().join("new.o"), "").unwrap();
        assert_eq!(open(tree.path(), &settings()).unwrap().key, changed.key);
    }

    #[test]
    fn products_of_a_build_are_known_by_their_place() {
        for product in
            ["vmlinux", ".config", "include/config", "arch/x86/include/generated", "a/b.o"]
        {
            assert!(is_not_source(Path::new(product)), "{product}");
        }
        let sources = [
            "arch/x86/kernel/vmlinux.lds.S",
            "include/asm-generic/vmlinux.lds.h",
            "drivers/net/wireguard/generated/netlink.c",
            "tools/include/generated",
            "include/config.h",
            "",
        ];
        for source in sources {
            assert!(!is_not_source(Path::new(source)), "{source}");
        }
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
    }

    proptest! {
        #[test]
        fn no_makefile_makes_the_parser_panic(text in "(?s).*") {
            parse_version(&text);
        }
    }
}
