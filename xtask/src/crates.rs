// SPDX-License-Identifier: MIT OR Apache-2.0

//! Crates of others, compiled once for all checkouts.
//!
//! Each checkout has build folders of its own, because cargo knows its own sources by their times: two checkouts in one
//! folder would take each other's for fresh. Crates of a registry never change. So a build folder that is not there yet
//! begins as a copy of an earlier one, without what is made from this project's sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::Deserialize;
use walkdir::WalkDir;

use crate::cache::{Cache, Key, Lock, remove};
use crate::interrupt;
use crate::process::{Job, bound, copy_folder};
use crate::progress::Progress;

/// Raise it when the way of making seeds changes.
const VERSION: u32 = 2;

/// The kinds that there are.
const KINDS: [&str; 2] = ["checks", "programs"];

/// Seeds of one kind that are kept: those of the last lock files.
const KEPT: usize = 2;

/// The part of `cargo metadata` that is of use.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The file of a build folder that says which seed it began with, or may become.
const MARK: &str = ".seed";

/// What all build folders of this process have in common.
struct Common {
    /// The names of all that this project's packages make.
    own: BTreeSet<String>,
    /// Of the lock file and the compiler.
    key: String,
}

/// Runs `build`, which builds in `target`; seeds of one `kind` have the same flags. Programs of the project are built anew
/// in a new checkout, and crates of others are not. Without a seed it only takes longer, so a failure is a note.
pub(crate) fn with_seed<T>(
    cache: &Cache,
    project: &Path,
    target: &Path,
    kind: &str,
    lock: &Lock,
    build: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let folder = BuildFolder { cache, project, target, kind };
    folder.begin(lock)?;
    let done = build()?;
    folder.keep(lock)?;
    Ok(done)
}

/// A build folder whose crates of others come from a seed.
#[derive(Clone, Copy)]
pub(crate) struct BuildFolder<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) project: &'a Path,
    /// Cargo's target folder.
    pub(crate) target: &'a Path,
    /// Seeds of one kind have the same flags.
    pub(crate) kind: &'a str,
}

impl BuildFolder<'_> {
    fn seed_folder(&self, key: &str) -> PathBuf {
        self.cache.path("crates", format!("{}-{key}", self.kind))
    }

    /// Makes the folder, if it is not there yet.
    pub(crate) fn begin(&self, _: &Lock) -> Result<()> {
        let key = &common(self.cache, self.project)?.key;
        let begun = begin(self.cache, &self.seed_folder(key), self.target, key);
        note("crates of others are compiled anew", begun)
    }

    /// Adds to the seed what was built since.
    pub(crate) fn keep(&self, _: &Lock) -> Result<()> {
        let Common { own, key } = common(self.cache, self.project)?;
        let seed = self.seed_folder(key);
        // One that began before the lock file changed has crates that are of no use any more.
        let mark = fs::read_to_string(self.target.join(MARK));
        let is_its = mark.is_ok_and(|mark| mark == *key);
        if is_its && !made(self.target, own).is_subset(&made(&seed, own)) {
            let kept = gather(self.cache, self.target, &seed, own);
            let kept = kept.and_then(|()| forget(self.cache));
            note("crates of others are not kept for the next checkout", kept)?;
        }
        Ok(())
    }
}

/// Without a seed a build only takes longer.
fn note(what: &str, done: Result<()>) -> Result<()> {
    interrupt::check()?;
    if let Err(error) = done {
        eprintln!("note: {what}: {error:#}");
    }
    Ok(())
}

fn common(cache: &Cache, project: &Path) -> Result<&'static Common> {
    static COMMON: OnceLock<Common> = OnceLock::new();
    if let Some(common) = COMMON.get() {
        return Ok(common);
    }
    let lock = fs::read(project.join("Cargo.lock")).context("read Cargo.lock")?;
    let key = Key::of("crates", VERSION).with(lock).with(compiler(cache, project)?).finish();
    let own = own(cache, project)?;
    Ok(COMMON.get_or_init(|| Common { own, key }))
}

/// What of others a build folder has, by cargo's fingerprints.
fn made(target: &Path, own: &BTreeSet<String>) -> BTreeSet<PathBuf> {
    let mut made = BTreeSet::new();
    for entry in WalkDir::new(target).max_depth(4).into_iter().filter_map(Result::ok) {
        let path = entry.path();
        let is_fingerprint = path.parent().is_some_and(|it| it.ends_with(".fingerprint"));
        if is_fingerprint
            && !is_own(&entry.file_name().to_string_lossy(), own)
            && let Ok(inside) = path.strip_prefix(target)
        {
            made.insert(inside.to_owned());
        }
    }
    made
}

/// The version of the host's compiler.
pub(crate) fn compiler(cache: &Cache, project: &Path) -> Result<String> {
    let mut command = bound("rustc");
    command.arg("-vV").current_dir(project);
    Job::new(command, cache.path("logs", "crates.log")).output()
}

/// Makes a build folder that is not there yet, from the seed if there is one.
fn begin(cache: &Cache, seed: &Path, target: &Path, key: &str) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    // A copy that was cut short must not look like a whole one.
    let unfinished = target.with_extension("new");
    remove(&unfinished)?;
    let parent = target.parent().context("a build folder without a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    if seed.exists() {
        copy_folder(seed, &unfinished, cache.path("logs", "crates.log"))?;
    } else {
        fs::create_dir(&unfinished).with_context(|| format!("make {}", unfinished.display()))?;
    }
    fs::write(unfinished.join(MARK), key).context("mark a build folder")?;
    fs::rename(&unfinished, target).with_context(|| format!("make {}", target.display()))
}

/// Adds to the seed what this build folder has of others.
fn gather(cache: &Cache, target: &Path, seed: &Path, own: &BTreeSet<String>) -> Result<()> {
    let step = Progress::begin(cache, "keep the crates of others for the next checkout");
    let scratch = cache.scratch("crates")?;
    // What the seed has is whole. A build that was cut short leaves half a file at times.
    for from in [target, seed].into_iter().filter(|from| from.exists()) {
        copy_folder(from, &scratch, cache.path("logs", "crates.log"))?;
    }
    // Cargo builds a crate again if one of its dependencies is younger, so all are as old.
    let now = SystemTime::now();
    for entry in WalkDir::new(&scratch).contents_first(true) {
        let entry = entry.context("look through a build folder")?;
        let name = entry.file_name().to_string_lossy();
        if is_own(&name, own) {
            remove(entry.path())?;
        } else if entry.file_type().is_file() {
            let file = fs::File::open(entry.path()).context("open what cargo has built")?;
            file.set_modified(now).context("set the time of what cargo has built")?;
        }
    }
    cache.publish(&scratch, seed)?;
    step.done();
    Ok(())
}

/// The names of all that this project's packages make.
fn own(cache: &Cache, project: &Path) -> Result<BTreeSet<String>> {
    let mut command = bound("cargo");
    command.args(["metadata", "--no-deps", "--format-version", "1", "--locked", "--quiet"]);
    command.current_dir(project);
    let text = Job::new(command, cache.path("logs", "crates.log")).output()?;
    let metadata: Metadata = serde_json::from_str(text.trim()).context("read cargo's metadata")?;
    let mut names = BTreeSet::new();
    for package in metadata.packages {
        let targets = package.targets.into_iter().map(|target| target.name);
        // Crates of others have build scripts of this name too; those of this project are in folders with its name.
        names.extend(targets.filter(|name| name != "build-script-build"));
        names.insert(package.name);
    }
    Ok(names)
}

/// Whether a file or a folder of a build is made from this project: `luod`, `luod-0123456789abcdef`,
/// `libliblu-0123456789abcdef.rlib`, `build_script_build-...` of one is in a folder of its own.
fn is_own(name: &str, own: &BTreeSet<String>) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let stem = match stem.rsplit_once('-') {
        Some((stem, hash)) if is_hash(hash) => stem,
        _ => stem,
    };
    let is = |stem: &str| own.contains(stem) || own.contains(&stem.replace('_', "-"));
    name == "incremental" || is(stem) || stem.strip_prefix("lib").is_some_and(is)
}

/// Removes seeds of lock files, and of kinds, that are of the past.
fn forget(cache: &Cache) -> Result<()> {
    let folder = cache.path("crates", "");
    let mut seeds = BTreeMap::<_, Vec<_>>::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.context("list seeds")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = KINDS.into_iter().find(|kind| name.starts_with(&format!("{kind}-")));
        let made = entry.metadata().and_then(|it| it.created()).ok();
        seeds.entry(kind).or_default().push((made, entry.path()));
    }
    for (kind, mut seeds) in seeds {
        seeds.sort();
        let old = if kind.is_some() { seeds.len().saturating_sub(KEPT) } else { seeds.len() };
        seeds.into_iter().take(old).try_for_each(|(_, path)| cache.discard(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_what_all_checkouts_have_made() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).unwrap();
        let seed = cache.path("crates", "static-1");
        fs::create_dir(cache.folder().join("logs")).unwrap();
        let own: BTreeSet<_> = ["luod".to_owned()].into();
        let [serde, tokio] = ["serde", "tokio"].map(|it| format!("lib{it}-0123456789abcdef.rlib"));
        for (checkout, made) in [("one", &serde), ("two", &tokio)] {
            let target = folder.path().join(checkout).join("target");
            begin(&cache, &seed, &target, "key").unwrap();
            assert_eq!(fs::read_to_string(target.join(MARK)).unwrap(), "key");
            assert_eq!(target.join(&serde).exists(), checkout == "two");
            for file in ["luod", made] {
                fs::write(target.join(file), "").unwrap();
            }
            // It is there, so it stays as it is.
            begin(&cache, &seed, &target, "another").unwrap();
            assert_eq!(fs::read_to_string(target.join(MARK)).unwrap(), "key");
            gather(&cache, &target, &seed, &own).unwrap();
        }
        assert!(seed.join(serde).exists() && seed.join(tokio).exists());
        assert!(!seed.join("luod").exists());
    }

    #[test]
    fn what_a_seed_has_stays_and_all_of_it_is_as_old() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).unwrap();
        fs::create_dir(cache.folder().join("logs")).unwrap();
        let (seed, target) = (cache.path("crates", "checks-1"), folder.path().join("target"));
        for (folder, file) in [(&seed, "a"), (&target, "a"), (&target, "b")] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(file), folder.to_string_lossy().as_bytes()).unwrap();
            let old = SystemTime::UNIX_EPOCH;
            fs::File::open(folder.join(file)).unwrap().set_modified(old).unwrap();
        }
        fs::write(target.join("b"), "younger").unwrap();
        gather(&cache, &target, &seed, &BTreeSet::new()).unwrap();
        // A build that was cut short may have left half a file.
        assert_eq!(fs::read_to_string(seed.join("a")).unwrap(), seed.to_string_lossy());
        let age = |file: &str| fs::metadata(seed.join(file)).unwrap().modified().unwrap();
        assert_eq!(age("a"), age("b"));
    }

    #[test]
    fn what_is_made_from_this_project_is_no_seed() {
        let own: BTreeSet<_> =
            ["luod", "liblu", "liveupdate_uapi", "lu-qemu"].map(str::to_owned).into();
        for name in [
            "luod",
            "luod.d",
            "luod-0123456789abcdef",
            "libliblu-0123456789abcdef.rlib",
            "liblu-0123456789abcdef",
            "liveupdate_uapi-0123456789abcdef.d",
            "lu_qemu-0123456789abcdef",
            "incremental",
        ] {
            assert!(is_own(name, &own), "{name}");
        }
        for name in ["serde-0123456789abcdef", "libserde-0123456789abcdef.rmeta", "deps", "build"] {
            assert!(!is_own(name, &own), "{name}");
        }
    }
}
