// SPDX-License-Identifier: MIT OR Apache-2.0

//! The quick start of `docs/qemu.md`, followed word by word.

use std::fs::File;

use anyhow::{Context, Result, ensure};
use selftests::kernel_log::note;
use selftests::scenario::Side;
use selftests::systemd::side;

use crate::page::{Page, run};

/// The disk that the page's guest has. Only the root file system of the host forgets it.
const DISK: &str = "/var/lib/web.img";

/// What the page says that the journal shows.
const BACK: &str = "lu-qemu: web is running again";

pub(crate) fn check() -> Result<()> {
    let page = Page::read("qemu.md")?;
    let section = page.section("## Quick start")?;
    File::create(DISK).and_then(|disk| disk.set_len(16 << 20)).context("make the disk")?;
    section.shows(&[BACK])?;
    section.write_files()?;
    let (look, start): (Vec<_>, Vec<_>) =
        section.commands().partition(|command| command.starts_with("journalctl "));
    ensure!(look.len() == 1 && start.len() >= 2, "the commands are {start:?} and {look:?}");
    for command in start {
        let said = run(command)?;
        let lists = !command.starts_with("luctl list") || said.contains(" web ");
        ensure!(lists, "{command} says {said}");
    }
    if side()? == Side::After {
        for command in look {
            let said = run(command)?;
            ensure!(said.contains(BACK), "{command} says {said}");
            note(&format!("{command}: {BACK}"));
        }
    }
    Ok(())
}
