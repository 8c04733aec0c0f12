// SPDX-License-Identifier: MIT OR Apache-2.0

//! Build folders that were left in the middle.
//!
//! make trusts file times: an object that was being written when the build was killed looks newer
//! than its source. A mark says that a build is under way; one that is found at the next start tells
//! that the build was killed, and what was written shortly before its end is made again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use walkdir::WalkDir;

use crate::cache::remove;

/// No tool of the build holds a file open for longer than this.
const WINDOW: Duration = Duration::from_mins(2);

const MARK: &str = ".liveupdate-building";

/// Held while a build begins, and while a finished folder is copied: no build begins in a folder that is being copied.
pub(crate) fn no_build_begins() -> MutexGuard<'static, ()> {
    static BEGINNINGS: Mutex<()> = Mutex::new(());
    BEGINNINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a build is under way in the folder, or was killed there.
pub(crate) fn is(folder: &Path) -> bool {
    folder.join(MARK).exists()
}

/// A build under way in a folder.
pub(crate) struct BuildMark(PathBuf);

impl BuildMark {
    /// Marks the folder, after making good what a killed build left.
    pub(crate) fn set(folder: &Path) -> Result<Self> {
        let _alone = no_build_begins();
        let mark = folder.join(MARK);
        if mark.exists() {
            let removed = discard_newest(folder)?;
            eprintln!(
                "note: the last build was killed; {removed} of its newest files are made again"
            );
        }
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        fs::write(&mark, "").with_context(|| format!("write {}", mark.display()))?;
        Ok(Self(mark))
    }

    /// The build has ended by itself, well or not.
    pub(crate) fn clear(self) -> Result<()> {
        remove(&self.0)
    }
}

/// Removes the files that were written in the last moments of the folder's life.
fn discard_newest(folder: &Path) -> Result<usize> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in WalkDir::new(folder) {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        if entry.file_type().is_file() && entry.file_name() != MARK {
            let metadata = entry.metadata().context("look at a file of the build")?;
            files.push((metadata.modified().context("time of a file")?, entry.into_path()));
        }
    }
    let Some(newest) = files.iter().map(|(time, _)| *time).max() else {
        return Ok(0);
    };
    let late = |time: &SystemTime| newest.duration_since(*time).is_ok_and(|age| age <= WINDOW);
    let late: Vec<_> = files.iter().filter(|(time, _)| late(time)).collect();
    for (_, path) in &late {
        remove(path)?;
    }
    Ok(late.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_build_loses_its_last_moments_only() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old.o"), folder.path().join("new.o"));
        let mark = BuildMark::set(folder.path()).unwrap();
        for path in [&old, &new] {
            fs::write(path, "").unwrap();
        }
        let before = SystemTime::now() - Duration::from_secs(1000);
        fs::File::options().write(true).open(&old).unwrap().set_modified(before).unwrap();

        drop(mark);
        let mark = BuildMark::set(folder.path()).unwrap();
        assert!(old.exists() && !new.exists());

        mark.clear().unwrap();
        fs::write(&new, "").unwrap();
        BuildMark::set(folder.path()).unwrap();
        assert!(new.exists(), "a build that ended by itself keeps everything");
    }
}
