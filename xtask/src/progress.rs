// SPDX-License-Identifier: MIT OR Apache-2.0

//! The work that is being done, its progress, and its duration the last time.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cache::Cache;

/// Record of how long each step took when it was last done.
const RECORD: &str = "durations.json";

/// Held while the record is changed.
static RECORDING: Mutex<()> = Mutex::new(());

/// Environment variable with a file to which this process adds the steps that it has done, as lines of JSON: for the
/// process that has started it.
pub(crate) const STEPS: &str = "LIVEUPDATE_XTASK_STEPS";

/// The steps that were done by this process, and by others that [`done_in`] was told of, with their times.
static DONE: Mutex<Vec<(String, Duration)>> = Mutex::new(Vec::new());

/// How often a step that goes on says so where there is no terminal.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The lines at the bottom of the terminal: steps may go on side by side.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes a line above the steps that are going on.
pub(crate) fn say(line: &str) {
    BARS.suspend(|| eprintln!("{line}"));
}

/// A step of work, shown while it lasts.
pub(crate) struct Progress<'a> {
    cache: &'a Cache,
    name: String,
    begin: Instant,
    last_time: Option<Duration>,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl<'a> Progress<'a> {
    /// Begins the step `name`, for example `build the C kernel (release)`.
    pub(crate) fn begin(cache: &'a Cache, name: impl Into<String>) -> Self {
        let name = name.into();
        let last_time = last_times(cache).get(&name).copied().map(Duration::from_millis);
        let expected = last_time.map_or_else(String::new, |t| format!(", {} last time", human(t)));
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = BARS.add(ProgressBar::no_length());
            let style = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}{msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(name.clone());
            bar.set_message(format!("{expected}]"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            say(&format!("...  {name}{expected}"));
        }
        let now = Instant::now();
        Self { cache, name, begin: now, last_time, bar, said: now }
    }

    /// Says what is being done right now; cheap enough to be called for every line of a log.
    pub(crate) fn now(&mut self, what: &str) {
        let left = self.left();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{left}] {what}"));
        } else if self.said.elapsed() >= HEARTBEAT {
            say(&format!("     {} [{}{left}] {what}", self.name, human(self.begin.elapsed())));
            self.said = Instant::now();
        }
    }

    /// The step is done: says how long it took and remembers it for the next time.
    pub(crate) fn done(self) {
        let took = self.begin.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let before =
            self.last_time.map_or_else(String::new, |t| format!(" (last time {})", human(t)));
        say(&format!("done {}  {}{before}", self.name, human(took)));
        DONE.lock().unwrap_or_else(PoisonError::into_inner).push((self.name.clone(), took));
        if let Some(file) = env::var_os(STEPS) {
            // Only a line of a summary is lost when this cannot be written.
            let _ = tell(Path::new(&file), &self.name, took);
        }
        let _one_at_a_time = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times = last_times(self.cache);
        times.insert(self.name.clone(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        // Only a forecast is lost when this cannot be written.
        let _ = self.cache.write_record(RECORD, &times);
    }

    fn left(&self) -> String {
        let of = |total: Duration| format!(" of about {}", human(total));
        self.last_time.map_or_else(String::new, of)
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Adds a step to a file of [`STEPS`].
fn tell(file: &Path, name: &str, took: Duration) -> std::io::Result<()> {
    let line = format!("{}\n", serde_json::to_string(&(name, took))?);
    OpenOptions::new().append(true).open(file)?.write_all(line.as_bytes())
}

/// Adds the steps of another process, whose file of [`STEPS`] this is.
pub(crate) fn done_in(file: &Path) -> std::io::Result<()> {
    let text = fs::read_to_string(file)?;
    let steps = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    DONE.lock().unwrap_or_else(PoisonError::into_inner).extend(steps);
    Ok(())
}

/// The steps that were done so far, the longest first.
pub(crate) fn done() -> Vec<(String, Duration)> {
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    done.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    done
}

fn last_times(cache: &Cache) -> BTreeMap<String, u64> {
    cache.read_record(RECORD).unwrap_or_default()
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 5 s`.
pub(crate) fn human(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let shown = |ms| human(Duration::from_millis(ms));
        assert_eq!(shown(420), "0.4 s");
        assert_eq!(shown(12_900), "12 s");
        assert_eq!(shown(185_000), "3 min 5 s");
    }

    #[test]
    fn steps_of_another_process_are_added() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let steps = [("build \"a\"\tkernel", 7), ("boot rust → rust", 61)];
        for (name, seconds) in steps {
            tell(file.path(), name, Duration::from_secs(seconds)).unwrap();
        }
        done_in(file.path()).unwrap();
        let all = done();
        for (name, seconds) in steps {
            assert!(all.contains(&(name.to_owned(), Duration::from_secs(seconds))), "{all:?}");
        }
        assert!(all.is_sorted_by_key(|(_, took)| std::cmp::Reverse(*took)));
    }

    #[test]
    fn a_step_remembers_how_long_it_took() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        Progress::begin(&cache, "work").done();
        assert!(last_times(&cache).contains_key("work"));
        assert!(done().iter().any(|(name, _)| name == "work"));
        drop(Progress::begin(&cache, "given up"));
        assert!(!last_times(&cache).contains_key("given up"));
    }
}
