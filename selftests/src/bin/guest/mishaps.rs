// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whatever goes wrong with an update or a guest, the others go on, and nothing is lost.

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use selftests::position::{self, Position, hop_number};
use selftests::scenario::Side;
use selftests::systemd::side;

use crate::killed;
use crate::mishap::{PLACES, Place, crash_file};
use crate::targets;
use selftests::guests::{make_results, remove_result, result};
use selftests::luctl::{self, failure, output, sessions};

/// The guest that crashes.
const CRASHES: &str = "crashes";

fn unit(name: &str) -> String {
    format!("vmtest-vm@{name}.service")
}

pub(crate) fn check() -> Result<()> {
    make_results()?;
    match side()? {
        Side::After => crashes()?,
        Side::Before | Side::Here => {
            if hop_number()? == 1 {
                output("systemctl", &["start", &unit(CRASHES)])?;
            }
            updates()?;
        }
    }
    Ok(())
}

/// A guest crashes at each place of its restoration, and finds everything again.
fn crashes() -> Result<()> {
    let hop = hop_number()?;
    for place in PLACES {
        std::fs::write(crash_file(CRASHES), (place as u8).to_string()).context("plan a crash")?;
        failure("systemctl", &["start", &unit(CRASHES)])?;
        output("systemctl", &["reset-failed", &unit(CRASHES)])?;
        let lost = usize::from(place == Place::Finished);
        let left = of_guest("incoming", CRASHES)?;
        // It is claimed until luod has seen the end of the process.
        ensure!(left.len() >= 2 - lost, "after a crash at {place:?} there is {left:#?}");
    }
    std::fs::remove_file(crash_file(CRASHES)).context("no more crashes")?;
    remove_result(CRASHES);
    output("systemctl", &["start", &unit(CRASHES)])?;
    let said = result(CRASHES)?;
    // It had finished one of two sessions when it crashed.
    let wanted = format!("1 sessions restored in hop {hop}");
    ensure!(said == wanted, "it says `{said}`, not `{wanted}`");
    let left = of_guest("incoming", CRASHES)?;
    ensure!(left.is_empty(), "these are left: {left:#?}");
    Ok(())
}

fn of_guest(direction: &str, name: &str) -> Result<Vec<String>> {
    let mut all = sessions(direction)?;
    all.retain(|line| line.starts_with(&format!("unit:{} ", unit(name))));
    Ok(all)
}

/// Updates that are called off, one after the other.
fn updates() -> Result<()> {
    let position = Position::find()?;
    let next = position.next().context("the next hop")?;
    position::unpack_kernel(next)?;
    let load = || luctl::load_unpacked(next, position.number + 1);
    load()?;
    let before = sessions("outgoing")?;
    for (name, options, reason) in [
        ("refuses", &["update"][..], "the client cannot take part: it refuses"),
        ("late", &["update", "--deadline=1s"], "the client has not answered in time"),
        ("dies", &["update", "--now"], "the client has ended before it was ready"),
    ] {
        output("systemctl", &["start", &unit(name)])?;
        let (said, code) = failure("luctl", options)?;
        ensure!(code == 5, "with a guest that {name}, luctl ends with {code}: {said}");
        ensure!(said.contains(reason) && said.contains(&unit(name)), "{said}");
        all_goes_on(name, &before)?;
    }
    cancel(&before)?;
    kill(&before)?;
    // luod does not know any more which kernel is loaded.
    load()?;
    fail_to_leave(&before)?;
    targets::check(&before)?;
    output("luctl", &["unload"])?;
    position::remove_unpacked();
    Ok(())
}

/// Everything is as before, but for the guest that has made trouble.
fn all_goes_on(name: &str, before: &[String]) -> Result<()> {
    let _ = output("systemctl", &["stop", &unit(name)]);
    let _ = output("systemctl", &["reset-failed", &unit(name)]);
    let status = output("luctl", &["status"])?;
    ensure!(!status.contains("preparing") && !status.contains("leaving"), "{status}");
    // The session of a guest that has ended is given up, when luod has seen it.
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let now = sessions("outgoing")?;
        if now == before {
            return Ok(());
        }
        ensure!(Instant::now() < end, "sessions were {before:#?}, and are {now:#?}");
        sleep(Duration::from_millis(20));
    }
}

/// Begins an update that waits for a client.
fn begin(options: &[&str]) -> Result<Child> {
    luctl::begin(options, "preparing")
}

fn ends_aborted(mut update: Child) -> Result<()> {
    let status = update.wait().context("wait for luctl")?;
    ensure!(status.code() == Some(5), "luctl update ends with {status}");
    Ok(())
}

fn cancel(before: &[String]) -> Result<()> {
    output("systemctl", &["start", &unit("late")])?;
    let update = begin(&["update"])?;
    output("luctl", &["cancel"])?;
    ends_aborted(update)?;
    all_goes_on("late", before)
}

/// luod is killed while a client prepares and the others are ready: the update is off for all of them.
fn kill(before: &[String]) -> Result<()> {
    output("systemctl", &["start", &unit("late")])?;
    let mut update = begin(&["update"])?;
    killed::kill()?;
    let status = update.wait().context("wait for luctl")?;
    ensure!(!status.success(), "an update succeeds that luod does not know any more");
    all_goes_on("late", before)
}

/// The kernel cannot be left at the last moment: another program has unloaded it.
fn fail_to_leave(before: &[String]) -> Result<()> {
    output("systemctl", &["start", &unit("slow")])?;
    let update = begin(&["update", "--now"])?;
    liblu::kexec::unload().context("unload the kernel")?;
    ends_aborted(update)?;
    let status = output("luctl", &["status"])?;
    ensure!(status.contains("the kernel could not be left"), "{status}");
    all_goes_on("slow", before)
}
