// SPDX-License-Identifier: MIT OR Apache-2.0

//! The quick start of `docs/operators.md`, followed word by word.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use selftests::position::hop_number;
use selftests::scenario::Side;
use selftests::systemd::{PROGRAMS, side};

/// Commands that the harness gives instead: packages are installed before, and the kernel that it loads is
/// told which hop it is.
const ELSEWHERE: [&str; 4] = ["apt install ", "luctl load ", "luctl check", "luctl update"];

pub(crate) fn check() -> Result<()> {
    let page = fs::read_to_string(format!("{PROGRAMS}/operators.md")).context("read the page")?;
    let hop = hop_number()?;
    match side()? {
        Side::Before | Side::Here => {
            let sections =
                ["Install the packages", "Run a service that survives", "Update the kernel"];
            let mut commands = 0;
            for section in sections {
                commands += follow(section_of(&page, section)?)?;
            }
            ensure!(commands >= 5, "only {commands} commands were found");
        }
        Side::After => {
            // Only the root file system of the guest forgets what was written.
            write_files(section_of(&page, "Run a service that survives")?)?;
            run("chmod +x /usr/local/bin/count-kernels")?;
            run("systemctl daemon-reload")?;
            let commands = follow(section_of(&page, "Look at it")?)?;
            ensure!(commands >= 4, "only {commands} commands were found");
        }
    }
    let seen = fs::read_to_string("/run/kernels-seen").context("read what it has seen")?;
    ensure!(seen.trim() == hop.to_string(), "the service has seen {seen} kernels in hop {hop}");
    let list = run("luctl list --all")?;
    ensure!(list.contains("unit:count-kernels.service"), "{list}");
    Ok(())
}

/// The text of a section, without its heading.
fn section_of<'a>(page: &'a str, title: &str) -> Result<&'a str> {
    let (_, rest) = page.split_once(&format!("### {title}\n")).with_context(|| title.to_owned())?;
    Ok(rest.split("\n## ").next().unwrap_or(rest).split("\n### ").next().unwrap_or(rest))
}

/// The blocks of code of a language.
fn blocks<'a>(section: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("```{language}\n");
    let parts: Vec<_> = section.split(begin.as_str()).skip(1).collect();
    parts.into_iter().filter_map(|part| part.split("```").next())
}

/// Writes the files and gives the commands of a section. The result is the number of commands.
fn follow(section: &str) -> Result<usize> {
    write_files(section)?;
    let mut count = 0;
    for line in blocks(section, "console").flat_map(str::lines) {
        let command = line.strip_prefix("# ").with_context(|| format!("no command: {line}"))?;
        count += 1;
        if !ELSEWHERE.iter().any(|other| command.starts_with(other)) {
            run(command)?;
            settle(command);
        }
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

/// Files say in a comment where they belong.
fn write_files(section: &str) -> Result<()> {
    for block in blocks(section, "sh").chain(blocks(section, "ini")) {
        let path = block.lines().find_map(|line| line.strip_prefix("# /"));
        let path = format!("/{}", path.context("a file says where it belongs")?);
        if let Some(folder) = Path::new(&path).parent() {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        fs::write(&path, block).with_context(|| format!("write {path}"))?;
    }
    Ok(())
}

fn run(command: &str) -> Result<String> {
    let output = Command::new("/bin/sh").args(["-c", command]).output().context("/bin/sh")?;
    if !output.status.success() {
        bail!("{command}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
