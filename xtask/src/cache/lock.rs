// SPDX-License-Identifier: MIT OR Apache-2.0

//! Locks between runs: held by an open file, so the kernel drops them with the processes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::failure::Failure;
use crate::interrupt;

/// Longer than any run: a cold build of all kernels takes less than an hour on two cores.
const PATIENCE: Duration = Duration::from_hours(2);

/// How often a waiting run looks again.
const PERIOD: Duration = Duration::from_millis(200);

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    sharing: Sharing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    Shared,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Shared owners write no name, so the name of the last exclusive owner must be removed.
        if self.sharing == Sharing::Exclusive {
            let _ = self.file.set_len(0);
        }
    }
}

impl Lock {
    /// Waits until no other process has it; `doing` is the work of a holder, for the message.
    pub(crate) fn exclusive(path: &Path, doing: &str) -> Result<Self> {
        let mut file = open(path)?;
        wait(&mut file, path, doing, File::try_lock)?;
        Ok(Self::of_this_process(file))
    }

    /// Takes it if no other process has it.
    pub(crate) fn exclusive_now(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        let is_free = file.try_lock().is_ok();
        Ok(is_free.then(|| Self::of_this_process(file)))
    }

    fn of_this_process(mut file: File) -> Self {
        write_holder(&mut file);
        Self { file, sharing: Sharing::Exclusive }
    }

    /// Lets the program that this one becomes keep the lock to its own end.
    pub(crate) fn keep_over_exec(&self) -> Result<()> {
        fcntl_setfd(&self.file, FdFlags::empty()).context("keep a lock")
    }

    /// Waits until no process has it exclusively.
    pub(crate) fn shared(path: &Path) -> Result<Self> {
        let mut file = open(path)?;
        wait(&mut file, path, "cleans the cache", File::try_lock_shared)?;
        Ok(Self { file, sharing: Sharing::Shared })
    }
}

/// One of a few places for machines, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    file: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

impl Place {
    /// Waits until one of `count` places is free, which are files in `folder`.
    pub(crate) fn take(folder: &Path, count: usize) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let places = (0..count.max(1)).map(|number| open(&folder.join(number.to_string())));
        let mut places = places.collect::<Result<Vec<_>>>()?;
        loop {
            if let Some(free) = places.iter().position(|place| place.try_lock().is_ok()) {
                let mut file = places.swap_remove(free);
                write_holder(&mut file);
                return Ok(Self { file });
            }
            if !TOLD.load(Ordering::Relaxed) {
                let holders = places.iter_mut().map(holder).collect::<Vec<_>>();
                // One of many machines that wait says so.
                if let Some(others) = other_runs(&holders, is_of_this_run)
                    && !TOLD.swap(true, Ordering::Relaxed)
                {
                    eprintln!("waiting: {others} have all places for machines");
                }
            }
            interrupt::check()?;
            thread::sleep(PERIOD);
        }
    }
}

/// This run has said that it waits for a place.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Whether a process is of this run: some tasks begin others, all in one process group.
fn is_of_this_run(pid: u32) -> bool {
    group(pid).is_some_and(|group| Some(group) == self::group(std::process::id()))
}

/// The group of a process that exists. It is 0 if the group is not in this PID namespace.
fn group(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in brackets, may be anything.
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(2)?.parse().ok()
}

/// The runs that have these places, if this one has none of them.
fn other_runs(holders: &[Option<u32>], is_of_this_run: impl Fn(u32) -> bool) -> Option<String> {
    let mut pids = holders.iter().copied().collect::<Option<Vec<_>>>()?;
    pids.sort_unstable();
    pids.dedup();
    let are_others = !pids.iter().any(|pid| is_of_this_run(*pid));
    let list = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    are_others.then(|| format!("other runs (PID {list})"))
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).with_context(|| format!("open {}", path.display()))
}

fn wait(
    file: &mut File,
    path: &Path,
    doing: &str,
    lock: impl Fn(&File) -> std::result::Result<(), TryLockError>,
) -> Result<()> {
    let begin = Instant::now();
    let mut told = false;
    loop {
        match lock(file) {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        let holder = holder(file).map_or(String::new(), |pid| format!(" (PID {pid})"));
        if !told {
            eprintln!("waiting: another run{holder} {doing}");
            told = true;
        }
        if begin.elapsed() > PATIENCE {
            let what = format!("another run{holder} {doing}, for two hours now");
            let next = "see what it does and end it, or point XDG_CACHE_HOME elsewhere";
            return Err(Failure::new(what, next).into());
        }
        interrupt::check()?;
        thread::sleep(PERIOD);
    }
}

/// Says that this process holds a lock: for people to read, the lock does not depend on it.
fn write_holder(file: &mut File) {
    let _ = file.set_len(0).and_then(|()| file.rewind());
    let _ = write!(file, "{}", std::process::id());
}

/// The process that holds a lock, if it has said so.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.take(20).read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_have_a_place_as_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let places = folder.path().join("places");
        let one = Place::take(&places, 2).unwrap();
        let _two = Place::take(&places, 2).unwrap();
        let (taken, is_taken) = std::sync::mpsc::channel();
        let waiting = thread::spawn(move || {
            let three = Place::take(&places, 2).unwrap();
            taken.send(()).unwrap();
            drop(three);
        });
        assert!(is_taken.recv_timeout(Duration::from_millis(300)).is_err(), "both are taken");
        drop(one);
        is_taken.recv_timeout(Duration::from_secs(20)).unwrap();
        waiting.join().unwrap();
    }

    #[test]
    fn a_place_is_waited_for_aloud_if_other_runs_have_all() {
        let others = |holders: &[Option<u32>]| other_runs(holders, |pid| pid == 7);
        assert_eq!(others(&[Some(9), Some(8)]).as_deref(), Some("other runs (PID 8, 9)"));
        assert_eq!(others(&[Some(8), Some(8)]).as_deref(), Some("other runs (PID 8)"));
        // The queue of this run is no news, and a run that has just begun has not said so.
        assert_eq!(others(&[Some(8), Some(7)]), None);
        assert_eq!(others(&[Some(8), None]), None);
        let folder = tempfile::tempdir().unwrap();
        let place = Place::take(folder.path(), 1).unwrap();
        let mut file = open(&folder.path().join("0")).unwrap();
        let pid = holder(&mut file).unwrap();
        assert!(pid == std::process::id() && is_of_this_run(pid) && !is_of_this_run(1));
        drop(place);
        assert_eq!(holder(&mut file), None);
    }

    #[test]
    fn a_second_run_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::exclusive(&path, "tests").unwrap();
        assert!(open(&path).unwrap().try_lock_shared().is_err());
        let (sent, got) = std::sync::mpsc::channel();
        let second = {
            let path = path.clone();
            thread::spawn(move || {
                let lock = Lock::exclusive(&path, "tests");
                sent.send(()).unwrap();
                lock
            })
        };
        assert!(got.try_recv().is_err());
        drop(first);
        got.recv_timeout(Duration::from_mins(1)).unwrap();
        drop(second.join().unwrap().unwrap());
    }

    #[test]
    fn users_do_not_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _first = Lock::shared(&path).unwrap();
        let _second = Lock::shared(&path).unwrap();
        assert!(open(&path).unwrap().try_lock().is_err());
    }
}
