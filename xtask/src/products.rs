// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs and packages of this project, kept by what they are made of: a checkout compiles none of them if an earlier
//! one has had the same sources.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use walkdir::WalkDir;

use crate::cache::{Cache, Key, Lock, remove};
use crate::crates;
use crate::process::{Job, bound};

/// Raise it when the way of making them changes.
const VERSION: u32 = 1;

/// The folder in the cache.
pub(crate) const FOLDER: &str = "products";

/// All that programs and packages are made of.
const SOURCES: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSES",
    "contrib",
    "kernel/liveupdate/core",
    "liblu",
    "luod",
    "rust-toolchain.toml",
    "selftests",
    "uapi",
    "xtask",
];

/// Folders in these that nothing is made of.
const NO_SOURCES: &[&str] = &["mutants", "target"];

/// What no run has asked for in this time goes. No run takes so long.
const UNUSED: Duration = Duration::from_hours(48);

/// Variables by which compilers are chosen or work in another way.
const SETTINGS: &[&str] = &[
    "CARGO_BUILD_",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CC",
    "CFLAGS",
    "LDFLAGS",
    "RUSTC",
    "RUSTFLAGS",
];

/// A product, and all that decides what is in it, besides the sources.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    pub(crate) kind: &'a str,
    pub(crate) of: &'a [&'a str],
}

impl Product<'_> {
    /// Returns the folder with its files, which `make` writes into the folder that it is given if they are not kept.
    pub(crate) fn prepare(
        self,
        cache: &Cache,
        project: &Path,
        lock: &Lock,
        make: impl FnMut(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let compilers = compilers(cache, project)?;
        let name = || {
            let key = sources(Key::of("product", VERSION), project)?.with(&compilers);
            let key = self.of.iter().fold(key, Key::with).finish();
            Ok(format!("{}-{key}", self.kind))
        };
        keep(cache, name, lock, make)
    }
}

/// Returns the finished folder of this name, after `make` has made it if it was not there.
fn keep(
    cache: &Cache,
    name: impl Fn() -> Result<String>,
    lock: &Lock,
    mut make: impl FnMut(&Path) -> Result<()>,
) -> Result<PathBuf> {
    loop {
        let before = name()?;
        let to = cache.path(FOLDER, &before);
        if to.exists() {
            touch(&to)?;
            return Ok(to);
        }
        let scratch = cache.scratch("product")?;
        make(&scratch)?;
        // If somebody has changed a source meanwhile, nothing says which one was compiled.
        if name()? == before {
            cache.publish(&scratch, &to)?;
            forget(cache, lock)?;
            return Ok(to);
        }
        remove(&scratch)?;
    }
}

/// Adds the sources to a key.
fn sources(mut key: Key, project: &Path) -> Result<Key> {
    for source in SOURCES {
        let is_source =
            |entry: &walkdir::DirEntry| !NO_SOURCES.iter().any(|name| entry.file_name() == *name);
        let files = WalkDir::new(project.join(source)).sort_by_file_name().into_iter();
        for entry in files.filter_entry(is_source) {
            let entry = entry.context("list sources")?;
            if entry.file_type().is_file() {
                let path = entry.path();
                let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
                let name = path.strip_prefix(project).context("a source of this project")?;
                key = key.with(name.as_os_str().as_encoded_bytes()).with(text);
            }
        }
    }
    Ok(key)
}

/// All that is known of compilers, of their settings, and of the C library that is linked statically.
fn compilers(cache: &Cache, project: &Path) -> Result<String> {
    let mut library = bound("cc");
    library.arg("-print-file-name=libc.a");
    let library = Job::new(library, cache.path("logs", "products.log")).output()?;
    let mut key = Key::of("compilers", VERSION)
        .with(crates::compiler(cache, project)?)
        .with(fs::read(library.trim()).unwrap_or_default());
    let home = env::home_dir().map(|home| home.join(".cargo"));
    if let Some(home) = env::var_os("CARGO_HOME").map(PathBuf::from).or(home) {
        key = key.with(fs::read(home.join("config.toml")).unwrap_or_default());
    }
    let is_setting = |name: &str| SETTINGS.iter().any(|setting| name.starts_with(setting));
    let set = env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_setting));
    let mut set: Vec<_> = set.collect();
    set.sort();
    for (name, value) in set {
        key = key.with(name.as_encoded_bytes()).with(value.as_encoded_bytes());
    }
    Ok(key.finish())
}

/// Says that it is in use.
fn touch(product: &Path) -> Result<()> {
    let folder = fs::File::open(product).and_then(|it| it.set_modified(SystemTime::now()));
    folder.with_context(|| format!("set the time of {}", product.display()))
}

/// Removes those that were not in use for long.
fn forget(cache: &Cache, _: &Lock) -> Result<()> {
    let folder = cache.path(FOLDER, "");
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.context("list products")?;
        let used = entry.metadata().and_then(|it| it.modified()).context("look at a product")?;
        if SystemTime::now().duration_since(used).is_ok_and(|age| age > UNUSED) {
            cache.discard(&entry.path())?;
        }
    }
    Ok(())
}

/// Copies files with their names.
pub(crate) fn copy(files: impl IntoIterator<Item = PathBuf>, to: &Path) -> Result<()> {
    for file in files {
        let name = file.file_name().context("a file without a name")?;
        let copied = fs::copy(&file, to.join(name));
        copied.with_context(|| format!("copy {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::cache::tests::cache;
    use crate::project::Project;

    #[test]
    fn a_product_is_made_once_and_goes_when_it_is_of_no_use() {
        let (_folder, cache) = cache();
        let lock = cache.prepare().unwrap();
        let mut log = Vec::new();
        let mut prepare = |name: &str| {
            let make = |to: &Path| {
                log.push(name.to_owned());
                fs::write(to.join("file"), name).context("write")
            };
            keep(&cache, || Ok(name.to_owned()), &lock, make).unwrap().join("file")
        };
        let one = prepare("one");
        assert_eq!(prepare("one"), one);
        let old = |file: &Path| {
            let folder = fs::File::open(file.parent().unwrap()).unwrap();
            folder.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        };
        old(&one);
        // It is in use now.
        prepare("one");
        let two = prepare("two");
        assert_ne!(one, two);
        assert!(one.exists());
        old(&one);
        prepare("three");
        assert!(two.exists() && !one.exists());
        assert_eq!(log, ["one", "two", "three"]);
    }

    #[test]
    fn what_was_made_while_a_source_has_changed_is_made_again() {
        let (_folder, cache) = cache();
        let lock = cache.prepare().unwrap();
        let version = Cell::new(1);
        let make = |to: &Path| {
            let made = fs::write(to.join("file"), version.get().to_string()).context("write");
            version.set(2);
            made
        };
        let kept = keep(&cache, || Ok(format!("v{}", version.get())), &lock, make).unwrap();
        assert_eq!(kept, cache.path(FOLDER, "v2"));
        assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), "2");
        assert!(!cache.path(FOLDER, "v1").exists());
    }

    #[test]
    fn all_crates_of_the_workspace_are_sources() {
        let project = Project::open().unwrap().folder;
        let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = toml::from_str(&manifest).unwrap();
        let members = manifest["workspace"]["members"].as_array().unwrap();
        for member in members {
            let member = Path::new(member.as_str().unwrap());
            assert!(SOURCES.iter().any(|source| member.starts_with(source)), "{member:?}");
        }
    }
}
