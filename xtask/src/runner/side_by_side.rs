// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running machines side by side.

use std::collections::VecDeque;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Error, Result};

use crate::judge::Ran;
use crate::runner::Runner;
use crate::suite::Vm;
use crate::vm::Limits;

/// Memory that QEMU needs for itself, in MiB.
const OF_QEMU: u64 = 512;

impl Runner<'_> {
    /// Runs machines, as many at once as this host has processors and memory for: a guest has more
    /// than one processor, but boots on one.
    ///
    /// After an error no more are started.
    pub(crate) fn run_all(&self, vms: Vec<(Vm, Limits)>) -> Results<Ran> {
        let lanes = if self.verbose { 1 } else { self.lanes(available_memory()) };
        side_by_side(lanes, vms, |(vm, limits)| self.run(vm, limits))
    }

    /// How many machines run at once where so many MiB are free.
    fn lanes(&self, free: Option<u64>) -> usize {
        let processors = processors();
        let one = u64::from(self.memory()) + OF_QEMU;
        let fit = free.map_or(1, |free| usize::try_from(free / one).unwrap_or(usize::MAX));
        fit.clamp(1, processors)
    }
}

/// The processors of this host.
pub(super) fn processors() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The results of work that was done side by side.
pub(crate) struct Results<R> {
    /// In the order of the work; `None` for what was not begun or has failed.
    pub(crate) each: Vec<Option<R>>,
    /// The first error.
    pub(crate) error: Option<Error>,
}

impl<R> Results<R> {
    /// All results.
    pub(crate) fn all(self) -> Result<Vec<R>> {
        self.error.map_or(Ok(()), Err)?;
        Ok(self.each.into_iter().flatten().collect())
    }
}

/// Does `work` for all items, so many at once. After an error no more are begun.
fn side_by_side<I: Send, R: Send>(
    lanes: usize,
    items: Vec<I>,
    work: impl Fn(I) -> Result<R> + Sync,
) -> Results<R> {
    let each: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let queue = Mutex::new(items.into_iter().enumerate().collect::<VecDeque<_>>());
    let (each, error) = (Mutex::new(each), Mutex::new(None));
    let lane = || {
        loop {
            let next = lock(&queue).pop_front();
            let Some((index, item)) = next else { break };
            match work(item) {
                Ok(result) => {
                    if let Some(place) = lock(&each).get_mut(index) {
                        *place = Some(result);
                    }
                }
                Err(why) => {
                    lock(&queue).clear();
                    lock(&error).get_or_insert(why);
                }
            }
        }
    };
    thread::scope(|scope| {
        // The caller is the first lane.
        for _ in 1..lanes {
            scope.spawn(lane);
        }
        lane();
    });
    Results { each: into_inner(each), error: into_inner(error) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Memory that programs can still have, in MiB.
fn available_memory() -> Option<u64> {
    let all = fs::read_to_string("/proc/meminfo").ok()?;
    let line = all.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn two_lanes_work_at_once_and_results_keep_their_order() {
        let both = Barrier::new(2);
        let results = side_by_side(2, (0..10).collect(), |item| {
            both.wait();
            Ok(item)
        });
        assert_eq!(results.all().unwrap(), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_is_the_last_that_is_begun() {
        let results = side_by_side(1, vec![1, 2, 3, 4], |item| {
            anyhow::ensure!(item != 3, "three");
            Ok(item)
        });
        assert_eq!(results.each, [Some(1), Some(2), None, None]);
        assert_eq!(results.all().unwrap_err().to_string(), "three");
    }

    #[test]
    fn this_host_says_what_is_free() {
        assert!(available_memory().is_some_and(|free| free > 0));
    }
}
