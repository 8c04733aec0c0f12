// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guests of QEMU that are paused, or that reboot, while their host is updated.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use selftests::luctl::output;
use selftests::scenario::Side;
use selftests::systemd::side;
use selftests::vmm::{FOLDER, file};

use super::{Machine, journal, set, setting, start, wait};

/// The guest that its owner has paused.
const PAUSED: &str = "paused";

/// The guest that reboots again and again.
const RESTLESS: &str = "restless";

/// What it says before it reboots.
const REBOOTS: &str = "witness: reboots as told";

/// How long it may take for that.
const PATIENCE: Duration = Duration::from_mins(3);

fn machine(name: &'static str, witness: &str, devices: &str) -> Machine {
    Machine::of_qemu(name, setting(name, "kvm", 96, witness, devices))
}

pub(crate) fn check() -> Result<()> {
    fs::create_dir_all(FOLDER).with_context(|| format!("make {FOLDER}"))?;
    let monitor = format!("{FOLDER}/{PAUSED}.qmp");
    let paused =
        machine(PAUSED, "witness.memory=4", &format!("-qmp unix:{monitor},server=on,wait=off"));
    let restless = machine(RESTLESS, "witness.memory=4 witness.end=1", "");
    for machine in [&paused, &restless] {
        set(machine)?;
    }
    let reboots = || {
        let console = fs::read_to_string(file(RESTLESS, "console")).unwrap_or_default();
        console.matches(REBOOTS).count()
    };
    let before = reboots();
    let (console, _) = (start(&paused)?, start(&restless)?);
    let mut owner = Monitor::open(&monitor)?;
    let status = owner.status()?;
    if side()? == Side::After {
        ensure!(status == "paused", "the guest that was paused is {status}");
        // It is not a new guest that reboots: one that was lost would begin anew.
        let journal = journal(&restless);
        let goes_on = journal.contains(&format!("lu-qemu: {RESTLESS} is running again"));
        ensure!(goes_on, "the guest that reboots did not come: {journal}");
    }
    if status == "paused" {
        owner.command("cont")?;
    }
    // It works, and has nothing to complain about.
    let first = wait(&paused, &console, |it| it.rounds >= 1)?;
    wait(&paused, &console, |it| it.rounds > first.rounds)?;
    let end = Instant::now() + PATIENCE;
    while reboots() < before + 2 {
        ensure!(Instant::now() < end, "the guest does not reboot any more");
        output("systemctl", &["is-active", &restless.unit]).context("the guest that reboots")?;
        sleep(Duration::from_millis(50));
    }
    owner.command("stop")?;
    let status = owner.status()?;
    ensure!(status == "paused", "the guest cannot be paused: it is {status}");
    Ok(())
}

/// The owner's monitor of a guest.
struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    fn open(path: &str) -> Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| format!("connect to {path}"))?;
        stream.set_read_timeout(Some(PATIENCE)).context("set a timeout")?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.line()?;
        monitor.command("qmp_capabilities")?;
        Ok(monitor)
    }

    fn line(&mut self) -> Result<serde_json::Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("read from the monitor")?;
        serde_json::from_str(&line).with_context(|| format!("the monitor says {line:?}"))
    }

    fn command(&mut self, name: &str) -> Result<serde_json::Value> {
        let command = format!("{{\"execute\":\"{name}\"}}\n");
        self.stream.get_mut().write_all(command.as_bytes()).context("write to the monitor")?;
        loop {
            // Events come in between.
            let line = self.line()?;
            ensure!(line.get("error").is_none(), "{name}: {line}");
            if let Some(value) = line.get("return") {
                return Ok(value.clone());
            }
        }
    }

    fn status(&mut self) -> Result<String> {
        let value = self.command("query-status")?;
        let status = value.get("status").and_then(|it| it.as_str()).unwrap_or_default();
        Ok(status.to_owned())
    }
}
