// SPDX-License-Identifier: MIT OR Apache-2.0

//! Parts that run beside others, one after the other, each as a process of its own.

use std::fs::File;
use std::io::Seek;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use super::Part;
use crate::process::{bound, returned};
use crate::progress;

/// How often a process is looked at.
const PACE: Duration = Duration::from_millis(100);

/// A row of parts that runs. Their output is shown at the end.
pub(super) struct Beside {
    row: Option<JoinHandle<Result<Vec<Ended>>>>,
    current: Arc<Current>,
}

/// The process that runs now.
#[derive(Default)]
struct Current {
    process: Mutex<Option<Child>>,
    /// No other one begins.
    is_over: AtomicBool,
}

/// A part that has ended.
struct Ended {
    name: String,
    took: Duration,
    passed: bool,
    output: File,
}

impl Beside {
    /// Begins with the first of these tasks, in the words that would be typed.
    pub(super) fn begin(all: Vec<Vec<String>>) -> Self {
        let current: Arc<Current> = Arc::default();
        let theirs = Arc::clone(&current);
        let row = thread::spawn(move || {
            let mut ended = Vec::new();
            for words in all {
                if theirs.is_over.load(Ordering::SeqCst) {
                    break;
                }
                ended.push(theirs.run(&words)?);
            }
            Ok(ended)
        });
        Self { row: Some(row), current }
    }

    /// Waits for all, and shows what they have printed.
    pub(super) fn end(mut self) -> Result<Vec<Part>> {
        let Some(row) = self.row.take() else { return Ok(Vec::new()) };
        let ended = returned(row.join())?;
        let mut parts = Vec::new();
        for Ended { name, took, passed, mut output } in ended {
            println!("\n== {name}");
            output.rewind().context("read the output")?;
            std::io::copy(&mut output, &mut std::io::stdout()).context("show the output")?;
            parts.push(Part::ended(&name, took, passed));
        }
        Ok(parts)
    }
}

impl Current {
    fn run(&self, words: &[String]) -> Result<Ended> {
        let (name, begin) = (words.join(" "), Instant::now());
        println!("\n== {name} begins, beside the others");
        let output = tempfile::tempfile().context("make a file for the output")?;
        let copy = || output.try_clone().context("copy a descriptor");
        let mut command = bound(&std::env::current_exe().context("find this program")?);
        let steps = NamedTempFile::new().context("make a file for the steps")?;
        command.args(words).env(progress::STEPS, steps.path());
        command.stdin(Stdio::null()).stdout(copy()?).stderr(copy()?);
        let process = command.spawn().with_context(|| format!("start {name}"))?;
        *self.process() = Some(process);
        let passed = loop {
            if let Some(status) = self.status()? {
                break status.success();
            }
            thread::sleep(PACE);
        };
        let took = begin.elapsed();
        // Only lines of a summary are lost if they cannot be read.
        let _ = progress::done_in(steps.path());
        println!("\n== {}", Part::ended(&name, took, passed).line);
        Ok(Ended { name, took, passed, output })
    }

    fn status(&self) -> Result<Option<ExitStatus>> {
        let mut process = self.process();
        process.as_mut().context("no process")?.try_wait().context("wait for a part")
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another part has failed in a way that ends all of it.
impl Drop for Beside {
    fn drop(&mut self) {
        self.current.is_over.store(true, Ordering::SeqCst);
        if let Some(process) = self.current.process().as_mut() {
            // It may have ended.
            let _ = process.kill();
        }
        if let Some(row) = self.row.take() {
            let _ = row.join();
        }
    }
}
