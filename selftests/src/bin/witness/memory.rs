// SPDX-License-Identifier: MIT OR Apache-2.0

//! A pattern in memory that is different for each page and each round.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::Seen;

/// Words of a page.
const WORDS: usize = 512;

/// A thread works on so many pages, and then lets others work.
const PORTION: usize = 64;
const REST: Duration = Duration::from_millis(2);

/// The word at this place in this round: no two are the same.
fn word(page: u64, round: u64, place: u64) -> u64 {
    (page << 32 | round << 12 | place).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn fill(memory: &mut [u64], page: u64, round: u64) {
    for (place, it) in (0..).zip(memory) {
        *it = word(page, round, place);
    }
}

/// The first word that is wrong.
fn verify(memory: &[u64], page: u64, round: u64) -> Result<(), String> {
    let wrong = (0..).zip(memory).find(|(place, it)| **it != word(page, round, *place));
    wrong.map_or(Ok(()), |(place, it)| {
        let expected = word(page, round, place);
        Err(format!("page {page}, round {round}, word {place}: {it:#x} instead of {expected:#x}"))
    })
}

/// Starts a thread for each CPU, each with its part of the memory.
pub(crate) fn start(seen: &Seen, mib: Option<&str>) -> Result<()> {
    let mib: u64 = match mib {
        Some(text) => text.parse().context("witness.memory")?,
        None => available_kib()? * 6 / 10 / 1024,
    };
    ensure!(mib > 0, "there is no memory to watch");
    let cpus = thread::available_parallelism().context("count CPUs")?.get();
    let pages = usize::try_from(mib << 8).context("the number of pages")? / cpus;
    println!("witness: watches {mib} MiB with {cpus} CPUs");
    for number in 0..cpus {
        let seen = seen.clone();
        let first = u64::try_from(number * pages).context("the number of a page")?;
        thread::spawn(move || watch(&seen, first, pages, number == 0));
    }
    Ok(())
}

/// Verifies these pages for ever, and writes them anew.
fn watch(seen: &Seen, first: u64, pages: usize, counts: bool) {
    let mut memory = vec![0_u64; pages * WORDS];
    for round in 0_u64.. {
        for (number, portion) in memory.chunks_mut(PORTION * WORDS).enumerate() {
            let mut count = 0;
            for (index, page) in portion.chunks_mut(WORDS).enumerate() {
                let name = first + u64::try_from(number * PORTION + index).unwrap_or(0);
                if round > 0
                    && let Err(wrong) = verify(page, name, round - 1)
                {
                    seen.complain(&wrong);
                }
                fill(page, name, round);
                count += 1;
            }
            seen.update(|report| report.pages += count);
            thread::sleep(seen.rest(REST));
        }
        if counts {
            seen.update(|report| report.rounds = round);
        }
    }
}

/// Free memory, in KiB.
fn available_kib() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")).context("no MemAvailable")?;
    kib.trim().parse().context("MemAvailable")
}

/// Watches the first and the last page of memory that the kernel does not use.
pub(crate) fn start_reserved(seen: &Seen, place: &str) -> Result<()> {
    let (start, length) = place.split_once(':').context("witness.reserved has no length")?;
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
    let start = number(start).context("witness.reserved")?;
    let length = number(length).context("witness.reserved")?;
    let memory = OpenOptions::new().read(true).write(true).open("/dev/mem");
    let memory = memory.context("open /dev/mem")?;
    let seen = seen.clone();
    thread::spawn(move || {
        if let Err(error) = watch_reserved(&seen, &memory, [start, start + length - 4096]) {
            seen.complain(&format!("reserved memory: {error:#}"));
        }
    });
    Ok(())
}

fn watch_reserved(seen: &Seen, memory: &File, places: [u64; 2]) -> Result<()> {
    for round in 0_u64.. {
        for place in places {
            if round > 0 {
                let mut bytes = [0; 8];
                memory.read_exact_at(&mut bytes, place).context("read it")?;
                let (there, expected) =
                    (u64::from_ne_bytes(bytes), word(place >> 12, round - 1, 0));
                if there != expected {
                    seen.complain(&format!(
                        "memory at {place:#x}: {there:#x} instead of {expected:#x}"
                    ));
                }
            }
            memory
                .write_all_at(&word(place >> 12, round, 0).to_ne_bytes(), place)
                .context("write it")?;
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
