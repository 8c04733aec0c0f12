// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest that is nothing but memory: it verifies a pattern, writes it anew, and reports.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use selftests::witness::Report;

/// Bytes of each slot.
const SLOT: u64 = 4 << 20;

/// A guest that stands still: its memfds, its slots as (number, memfd, offset), and what it has seen.
pub(crate) struct Stopped {
    pub(crate) memory: Vec<Arc<File>>,
    pub(crate) slots: Vec<(u32, usize, u64)>,
    /// Where it reports.
    pub(crate) console: String,
    pub(crate) report: Report,
}

/// A guest that runs.
pub(crate) struct Guest {
    thread: JoinHandle<Stopped>,
    is_over: Arc<AtomicBool>,
}

impl Guest {
    /// A new one: two slots in one memfd, one in another.
    pub(crate) fn boot(options: &[&str]) -> Result<Self> {
        let shared = options.iter().any(|it| it.contains("shared=on"));
        ensure!(shared, "memory that is not shared cannot be sent");
        let serial = options.iter().find_map(|it| it.strip_prefix("file="));
        let memfd = |size: u64| {
            let memfd = memfd_create("ch", MemfdFlags::CLOEXEC).context("memfd_create")?;
            ftruncate(&memfd, size).context("set the size of memory")?;
            Ok::<_, anyhow::Error>(Arc::new(File::from(memfd)))
        };
        Ok(Self::run(Stopped {
            memory: vec![memfd(2 * SLOT)?, memfd(SLOT)?],
            slots: vec![(0, 0, 0), (1, 0, SLOT), (4, 1, 0)],
            console: serial.context("no --serial file=")?.to_owned(),
            report: Report::default(),
        }))
    }

    /// Lets it run.
    pub(crate) fn run(mut stopped: Stopped) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                if let Err(error) = stopped.work() {
                    stopped.report.complaints += 1;
                    stopped.report.first_complaint = format!("{error:#}");
                }
                stopped.say();
                thread::sleep(Duration::from_millis(20));
            }
            stopped
        });
        Self { thread, is_over }
    }

    /// Stops it.
    pub(crate) fn stop(self) -> Stopped {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Stopped {
    /// A round: each slot has what the last round wrote, at its first and its last page.
    fn work(&mut self) -> Result<()> {
        let round = self.report.rounds;
        for (slot, memory, offset) in &self.slots {
            let memory = self.memory.get(*memory).context("a slot without memory")?;
            for place in [*offset, offset + SLOT - 4096] {
                let expected = u64::from(*slot) << 48 | place ^ round;
                let mut there = [0; 8];
                memory.read_exact_at(&mut there, place).context("read memory")?;
                let there = u64::from_le_bytes(there);
                ensure!(
                    round == 0 || there == expected,
                    "slot {slot} has {there:#x}, not {expected:#x}"
                );
                let next = u64::from(*slot) << 48 | place ^ (round + 1);
                memory.write_all_at(&next.to_le_bytes(), place).context("write memory")?;
            }
        }
        self.report.rounds += 1;
        self.report.pages += 6;
        Ok(())
    }

    fn say(&mut self) {
        self.report.number += 1;
        let console = OpenOptions::new().create(true).append(true).open(&self.console);
        let _ = console.and_then(|mut to| writeln!(to, "{}", self.report.line()));
    }
}
