// SPDX-License-Identifier: MIT OR Apache-2.0

//! Folders of runs: logs, reports, and while it runs the files of the virtual machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::cache::{Cache, remove};
use crate::failure::NextStep as _;
use crate::report;

/// Runs that are kept.
const KEPT: usize = 20;

/// Figures of `cargo xtask bench`.
pub(crate) const BENCH: &str = "bench.json";

/// The pictures of `cargo xtask bench blackout`: the phases, and the growth with memory.
pub(crate) const PHASES: &str = "blackout.svg";
pub(crate) const GROWTH: &str = "growth.svg";

/// The beginning of the names of logs.
const LOGS: &[&str] = &["bench-", "boot", "chain", "kho-", "kunit", "panics", "probe"];

/// A run younger than this may still be going on.
const YOUNG: Duration = Duration::from_hours(6);

/// Folder of all runs in the cache.
const RUNS: &str = "runs";

/// Makes a folder that goes when the result is dropped; if the process is killed, it goes with old
/// runs.
pub(crate) fn temporary(cache: &Cache) -> Result<TempDir> {
    let all = cache.folder().join(RUNS);
    fs::create_dir_all(&all).with_context(|| format!("make {}", all.display()))?;
    tempfile::tempdir_in(&all).with_context(|| format!("make a folder in {}", all.display()))
}

/// Makes the folder of a new run, and removes old ones.
pub(crate) fn create(cache: &Cache, given: Option<&Path>) -> Result<PathBuf> {
    let folder = if let Some(folder) = given {
        folder.to_path_buf()
    } else {
        let all = cache.folder().join(RUNS);
        prune(&all)?;
        all.join(format!("{}-{}", now(), std::process::id()))
    };
    fs::create_dir_all(&folder).and_then(|()| folder.canonicalize()).or_advise(|| {
        let what = format!("cannot make the report folder {}", folder.display());
        (what, "name a folder that you can write to with --report DIR")
    })
}

/// Removes reports and logs of an earlier run from a folder of the user's.
pub(crate) fn clear(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_log = path.extension().is_some_and(|extension| extension == "log")
            && LOGS.iter().any(|log| name.starts_with(log));
        let is_bench = [BENCH, PHASES, GROWTH].contains(&&*name);
        if is_log || is_bench || report::FILES.contains(&&*name) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn prune(all: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(all) else {
        return Ok(());
    };
    let mut runs: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", all.display()))?;
        let time = entry.metadata().and_then(|metadata| metadata.modified());
        runs.push((time.context("look at an old run")?, entry.path()));
    }
    runs.sort_by(|a, b| b.cmp(a));
    let is_old = |time: &SystemTime| time.elapsed().is_ok_and(|age| age > YOUNG);
    for (_, path) in runs.iter().skip(KEPT).filter(|(time, _)| is_old(time)) {
        remove(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_run_wrote_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["junit.xml", "report.json", "report.txt", "chain.log", "boot.log", "my.log"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        clear(folder.path()).unwrap();
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["my.log"]);
        clear(&folder.path().join("none")).unwrap();
    }

    #[test]
    fn only_many_and_old_runs_go() {
        let folder = tempfile::tempdir().unwrap();
        for run in 0..KEPT + 5 {
            let path = folder.path().join(run.to_string());
            fs::create_dir(&path).unwrap();
            let age = Duration::from_secs(u64::try_from(run).unwrap() * 3600);
            fs::File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
        prune(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), KEPT);
        assert!(folder.path().join("0").exists());
    }
}
