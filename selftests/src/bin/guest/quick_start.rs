// SPDX-License-Identifier: MIT OR Apache-2.0

//! The quick start of `docs/operators.md`, followed word by word.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use selftests::position::hop_number;
use selftests::scenario::Side;
use selftests::systemd::side;

use crate::page::{Page, Section, run};

pub(crate) fn check() -> Result<()> {
    let page = Page::read("operators.md")?;
    let hop = hop_number()?;
    match side()? {
        Side::Before | Side::Here => {
            let sections =
                ["Install the packages", "Run a service that survives", "Update the kernel"];
            let mut commands = 0;
            for section in sections {
                commands += follow(&page.section(&format!("### {section}"))?)?;
            }
            ensure!(commands >= 5, "only {commands} commands were found");
        }
        Side::After => {
            // Only the root file system of the guest forgets what was written.
            page.section("### Run a service that survives")?.write_files()?;
            run("chmod +x /usr/local/bin/count-kernels")?;
            run("systemctl daemon-reload")?;
            let commands = follow(&page.section("### Look at it")?)?;
            ensure!(commands >= 4, "only {commands} commands were found");
        }
    }
    let seen = fs::read_to_string("/run/kernels-seen").context("read what it has seen")?;
    ensure!(seen.trim() == hop.to_string(), "the service has seen {seen} kernels in hop {hop}");
    let list = run("luctl list --all")?;
    ensure!(list.contains("unit:count-kernels.service"), "{list}");
    Ok(())
}

/// Writes the files and gives the commands of a section. The result is the number of commands.
fn follow(section: &Section<'_>) -> Result<usize> {
    section.shows(&[])?;
    section.write_files()?;
    let mut count = 0;
    for command in section.commands() {
        count += 1;
        run(command)?;
        settle(command);
    }
    Ok(count)
}

/// The service needs a moment, as it does for people.
fn settle(command: &str) {
    if command == "systemctl start count-kernels" {
        for _ in 0..500 {
            let is_open = run("luctl list --all").is_ok_and(|list| list.contains("count-kernels"));
            if is_open && Path::new("/run/kernels-seen").exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
