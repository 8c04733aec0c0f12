// SPDX-License-Identifier: MIT OR Apache-2.0

//! The rules, on both sides of a kexec.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use selftests::guests::{LABELS, make_results, result};
use selftests::luctl::{failure, input, output, sessions};
use selftests::position::hop_number;
use selftests::scenario::Side;
use selftests::systemd::{PROGRAMS, side};

/// The services with sessions.
const SERVICES: [&str; 2] = ["one", "two"];

/// A user without rights, whom the policy lets take part.
const USER: &str = "games";

/// Services and a user without rights have several sessions, and find their memory after each update.
pub(crate) fn guests() -> Result<()> {
    let hop = hop_number()?;
    let is_after = side()? == Side::After;
    make_results()?;
    let owners = ["unit:vmtest-vm@one.service", "unit:vmtest-vm@two.service", "user:5"];
    let expected = |state: &str| {
        let lines =
            owners.iter().flat_map(|owner| LABELS.map(|label| format!("{owner} {label} {state}")));
        lines.collect::<Vec<_>>()
    };
    let of_guests = |direction: &str| -> Result<Vec<String>> {
        let mut lines = sessions(direction)?;
        lines.retain(|line| {
            owners.iter().any(|owner| line.starts_with(&format!("{owner} memory/")))
        });
        Ok(lines)
    };
    if is_after {
        let waiting = of_guests("incoming")?;
        ensure!(waiting == expected("waiting"), "these sessions came: {waiting:#?}");
    }
    if is_after || hop == 1 {
        for name in SERVICES {
            output("systemctl", &["start", &format!("vmtest-vm@{name}.service")])?;
        }
        let program = format!("{PROGRAMS}/guest");
        let mut scope = Command::new("systemd-run");
        scope.args(["--quiet", "--scope", &format!("--uid={USER}"), &program, "vm", "user"]);
        scope.spawn().context("start a program of a user")?;
        let restored = if is_after { 2 } else { 0 };
        for name in [SERVICES[0], SERVICES[1], "user"] {
            let said = result(name)?;
            let wanted = format!("{restored} sessions restored in hop {hop}");
            ensure!(said == wanted, "{name} says `{said}`, not `{wanted}`");
        }
    }
    let (incoming, outgoing) = (of_guests("incoming")?, of_guests("outgoing")?);
    ensure!(incoming.is_empty(), "these sessions were not restored: {incoming:#?}");
    ensure!(outgoing == expected("open"), "these sessions are open: {outgoing:#?}");
    Ok(())
}

/// `luctl put`, `get` and `exec`.
pub(crate) fn luctl() -> Result<()> {
    let hop = hop_number()?;
    make_results()?;
    let note = |hop: usize| format!("a note of hop {hop}\n");
    match side()? {
        Side::After => {
            let there = output("luctl", &["get", "note"])?;
            ensure!(there == note(hop - 1), "the note is `{there}`");
            let (said, code) = failure("luctl", &["get", "note"])?;
            ensure!(code == 3, "a second time luctl ends with {code}: {said}");
            output("systemctl", &["start", "vmtest-exec.service"])?;
            let counter = result("counter")?;
            ensure!(counter == (hop - 1).to_string(), "the memory says {counter} in hop {hop}");
        }
        Side::Before | Side::Here => {
            input("luctl", &["put", "note"], "a note that is replaced\n")?;
            input("luctl", &["put", "note"], &note(hop))?;
            if hop == 1 {
                output("systemctl", &["start", "vmtest-exec.service"])?;
                let counter = result("counter")?;
                ensure!(counter == "0", "new memory says {counter}");
            }
            let status = output("luctl", &["status"])?;
            ensure!(status.contains("systemd holds the sessions"), "{status}");
        }
    }
    Ok(())
}
