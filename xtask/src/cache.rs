// SPDX-License-Identifier: MIT OR Apache-2.0

//! The user's cache: everything that is fetched or built lives here.
//!
//! A finished entry has its final name and never changes; unfinished work lies in `tmp` and is
//! thrown away by the next run. So a kill at any moment leaves nothing that looks finished and is
//! not. Only `builds` and `trees` change in place, and know themselves whether they were
//! interrupted.

mod key;
mod lock;
mod passed;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use key::{Key, files};
pub(crate) use lock::{Lock, Place};
pub(crate) use passed::Passed;

use crate::failure::{Failure, NextStep as _};

/// How long programs of a killed run may still write.
const DYING: Duration = Duration::from_secs(3);

/// The cache folder.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache of this user: `$XDG_CACHE_HOME/liveupdate`, else `~/.cache/liveupdate`.
    pub(crate) fn of_user() -> Result<Self> {
        Self::at(&Self::folder_of_user()?)
    }

    /// Where the cache of this user is, or would be.
    pub(crate) fn folder_of_user() -> Result<PathBuf, Failure> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
            (Some(base), _) if Path::new(&base).is_absolute() => PathBuf::from(base),
            (_, Some(home)) => Path::new(&home).join(".cache"),
            _ => {
                let what = "no place for the cache: neither XDG_CACHE_HOME nor HOME is set";
                let next = "set XDG_CACHE_HOME to a folder with 10 GB of room";
                return Err(Failure::new(what, next));
            }
        };
        Ok(base.join("liveupdate"))
    }

    /// A cache in `folder`, which is made if needed.
    pub(crate) fn at(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).or_advise(|| {
            let what = format!("cannot make the cache folder {}", folder.display());
            (what, "point XDG_CACHE_HOME to a folder that you can write to")
        })?;
        // One spelling of each path: mounts inside the toolchain root depend on it.
        let folder = folder.canonicalize().context("resolve the cache folder")?;
        Ok(Self { folder })
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the finished or changing thing `name` of a kind lies: `roots/0123abcd`.
    pub(crate) fn path(&self, kind: &str, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(kind).join(name)
    }

    /// A folder that belongs to the caller alone until it is published.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        /// Threads make kernels and guests side by side.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.unfinished().join(format!("{name}.{}.{number}", std::process::id()));
        remove(&path)?;
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// Gives a finished scratch folder or file its final name.
    pub(crate) fn publish(&self, scratch: &Path, to: &Path) -> Result<()> {
        let parent = to.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        self.discard(to)?;
        fs::rename(scratch, to).with_context(|| format!("publish {}", to.display()))
    }

    /// Removes something finished: first its name, then its content.
    pub(crate) fn discard(&self, path: &Path) -> Result<()> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let trash = self.scratch(&format!("trash-{name}"))?;
        fs::rename(path, trash.join("it")).with_context(|| format!("remove {}", path.display()))?;
        remove(&trash)
    }

    /// Throws away what earlier runs left unfinished. Only with the lock of [`Cache::prepare`].
    pub(crate) fn sweep(&self, _: &Lock) -> Result<()> {
        // Programs of a run that was just killed may need a moment to die.
        let begin = Instant::now();
        loop {
            match remove(&self.unfinished()) {
                Err(_) if begin.elapsed() < DYING => thread::sleep(Duration::from_millis(100)),
                result => return result,
            }
        }
    }

    /// Where unfinished work lies.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// The lock of runs that fetch and build: one at a time.
    pub(crate) fn prepare(&self) -> Result<Lock> {
        Lock::exclusive(&self.folder.join("prepare.lock"), "fetches or builds in this cache")
    }

    /// The same lock, if no other run has it.
    pub(crate) fn prepare_now(&self) -> Result<Option<Lock>> {
        Lock::exclusive_now(&self.folder.join("prepare.lock"))
    }

    /// The lock of runs that use finished entries: any number, but not while the cache is cleaned.
    pub(crate) fn share(&self) -> Result<Lock> {
        Lock::shared(&self.folder.join("use.lock"))
    }

    /// The lock of runs that remove entries that other runs may use.
    pub(crate) fn own(&self) -> Result<Lock> {
        Lock::exclusive(&self.folder.join("use.lock"), "uses this cache")
    }

    /// Reads a small record; anything unreadable is as good as none.
    pub(crate) fn read_record<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.folder.join(name)).ok()?).ok()
    }

    /// Writes a small record by rename.
    pub(crate) fn write_record<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.folder.join(name);
        write_by_rename(&path, serde_json::to_string_pretty(value)?.as_bytes())
    }
}

/// Writes a file so that its name never stands for half of it; an existing file keeps its mode.
pub(crate) fn write_by_rename(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let mut scratch = tempfile::Builder::new();
    let scratch = scratch.prefix(".new-").tempfile_in(folder);
    let mut scratch = scratch.with_context(|| format!("write into {}", folder.display()))?;
    std::io::Write::write_all(&mut scratch, bytes)
        .with_context(|| format!("write {}", path.display()))?;
    let new = || fs::Permissions::from_mode(0o644);
    let mode = path.metadata().map_or_else(|_| new(), |there| there.permissions());
    scratch.as_file().set_permissions(mode).context("set permissions")?;
    scratch.persist(path).with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

/// Writes a file unless it has this content already: then its time stays, for make.
pub(crate) fn write_if_different(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    write_by_rename(path, content)
}

/// Writes a script that others run, unless it is there already.
pub(crate) fn write_program(path: &Path, script: &str) -> Result<()> {
    write_if_different(path, script.as_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} a program", path.display()))
}

/// Removes a file or a folder, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let result = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
    result.with_context(|| format!("remove {}", path.display()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An empty cache, which goes with its folder.
    pub(crate) fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).unwrap();
        (folder, cache)
    }

    #[test]
    fn what_is_published_replaces_what_was_there() {
        let (_folder, cache) = cache();
        let to = cache.path("things", "one");
        for content in ["old", "new"] {
            let scratch = cache.scratch("thing").unwrap();
            fs::write(scratch.join("file"), content).unwrap();
            cache.publish(&scratch, &to).unwrap();
        }
        assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "new");
    }

    #[test]
    fn unfinished_work_is_swept_and_finished_work_is_not() {
        let (_folder, cache) = cache();
        let to = cache.path("things", "one");
        cache.publish(&cache.scratch("thing").unwrap(), &to).unwrap();
        let half = cache.scratch("half").unwrap();
        cache.sweep(&cache.prepare().unwrap()).unwrap();
        assert!(to.exists() && !half.exists());
    }

    #[test]
    fn a_damaged_record_is_no_record() {
        let (_folder, cache) = cache();
        cache.write_record("record.json", &vec![1, 2]).unwrap();
        assert_eq!(cache.read_record::<Vec<u8>>("record.json"), Some(vec![1, 2]));
        fs::write(cache.folder().join("record.json"), "[1,").unwrap();
        assert_eq!(cache.read_record::<Vec<u8>>("record.json"), None);
    }
}
