// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs and packages of this project, kept by what they are made of: a checkout compiles none of them if an earlier
//! one has had the same sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::cache::{Cache, Key, Lock, remove};
use crate::{check, crates};

/// Raise it when the way of making them changes.
const VERSION: u32 = 1;

/// The folder in the cache.
pub(crate) const FOLDER: &str = "products";

/// Folders of the project of which no program and no package is made.
const NOT_OF: &[&str] = &["docs", "patches", "rust", "selftests/mutants"];

/// No run takes so long: what was not asked for since is of no use.
const UNUSED: Duration = Duration::from_hours(48);

/// Variables of cargo by which it compiles in another way.
const SETTINGS: &[&str] = &["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_PROFILE_"];

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
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let to = cache.path(FOLDER, format!("{}-{}", self.kind, self.key(cache, project)?));
        if to.exists() {
            touch(&to)?;
            return Ok(to);
        }
        let scratch = cache.scratch(self.kind)?;
        make(&scratch)?;
        cache.publish(&scratch, &to)?;
        forget(&cache.path(FOLDER, ""), lock)?;
        Ok(to)
    }

    fn key(self, cache: &Cache, project: &Path) -> Result<String> {
        let mut key = Key::of("product", VERSION).with(check::checkout(project, NOT_OF)?);
        key = key.with(crates::compiler(cache, project)?);
        // What is linked statically is the host's.
        key = key.with(fs::read("/etc/os-release").unwrap_or_default());
        let mut settings: Vec<_> = std::env::vars_os()
            .filter(|(name, _)| {
                SETTINGS.iter().any(|setting| name.to_string_lossy().starts_with(setting))
            })
            .collect();
        settings.sort();
        for (name, value) in settings {
            key = key.with(name.as_encoded_bytes()).with(value.as_encoded_bytes());
        }
        Ok(self.of.iter().fold(key.with(self.kind), Key::with).finish())
    }
}

/// Says that it is in use.
fn touch(product: &Path) -> Result<()> {
    let folder = fs::File::open(product).and_then(|it| it.set_modified(SystemTime::now()));
    folder.with_context(|| format!("set the time of {}", product.display()))
}

/// Removes those that were not in use for long.
fn forget(folder: &Path, _: &Lock) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.context("list products")?;
        let used = entry.metadata().and_then(|it| it.modified()).context("look at a product")?;
        if SystemTime::now().duration_since(used).is_ok_and(|age| age > UNUSED) {
            remove(&entry.path())?;
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
    use super::*;
    use crate::project::Project;

    #[test]
    fn a_product_is_made_once_and_goes_when_it_is_of_no_use() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).unwrap();
        let (project, lock) = (Project::open().unwrap().folder, cache.prepare().unwrap());
        let mut made = Vec::new();
        let mut prepare = |of: &str| {
            let product = Product { kind: "test", of: &[of] };
            let prepared = product.prepare(&cache, &project, &lock, |to| {
                made.push(of.to_owned());
                fs::write(to.join("file"), of).context("write")
            });
            prepared.unwrap().join("file")
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
        assert_eq!(made, ["one", "two", "three"]);
    }
}
