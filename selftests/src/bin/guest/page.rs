// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pages of the documentation, whose files are written and whose commands are given word by word.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use selftests::systemd::PROGRAMS;

/// Commands that the harness gives instead: packages are installed before, and the kernel that it loads is
/// told which hop it is.
const ELSEWHERE: [&str; 4] = ["apt install ", "luctl load ", "luctl check", "luctl update"];

/// A page.
pub(crate) struct Page(String);

/// A part of a page under a heading.
pub(crate) struct Section<'a>(&'a str);

impl Page {
    /// The page `name` of `docs/`.
    pub(crate) fn read(name: &str) -> Result<Self> {
        let path = format!("{PROGRAMS}/{name}");
        Ok(Self(fs::read_to_string(&path).with_context(|| format!("read {path}"))?))
    }

    /// The section with this heading, such as `## Quick start`, without those below it.
    pub(crate) fn section(&self, heading: &str) -> Result<Section<'_>> {
        let (_, rest) =
            self.0.split_once(&format!("{heading}\n")).with_context(|| heading.to_owned())?;
        let end = rest.split("\n## ").next().unwrap_or(rest);
        Ok(Section(end.split("\n### ").next().unwrap_or(end)))
    }
}

impl Section<'_> {
    /// The blocks of code of a language.
    fn blocks(&self, language: &str) -> impl Iterator<Item = &str> {
        let begin = format!("```{language}\n");
        let parts: Vec<_> = self.0.split(begin.as_str()).skip(1).collect();
        parts.into_iter().filter_map(|part| part.split("```").next())
    }

    /// The commands, without those of the harness.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &str> {
        let lines = self.blocks("console").flat_map(str::lines);
        lines
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|command| !ELSEWHERE.iter().any(|other| command.starts_with(other)))
    }

    /// Checks that it shows these lines of output, and that each other line of a console is a command.
    pub(crate) fn shows(&self, output: &[&str]) -> Result<()> {
        let lines = self.blocks("console").flat_map(str::lines);
        let shown: Vec<_> = lines.filter(|line| !line.starts_with("# ")).collect();
        ensure!(shown == output, "the page shows {shown:?} where commands and {output:?} belong");
        Ok(())
    }

    /// Writes its files, which say in a comment where they belong.
    pub(crate) fn write_files(&self) -> Result<()> {
        for block in self.blocks("sh").chain(self.blocks("ini")) {
            let path = block.lines().find_map(|line| line.strip_prefix("# /"));
            let path = format!("/{}", path.context("a file says where it belongs")?);
            if let Some(folder) = Path::new(&path).parent() {
                fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            }
            fs::write(&path, block).with_context(|| format!("write {path}"))?;
        }
        Ok(())
    }
}

/// Gives a command as a person would. The result is what it says.
pub(crate) fn run(command: &str) -> Result<String> {
    let output = Command::new("/bin/sh").args(["-c", command]).output().context("/bin/sh")?;
    if !output.status.success() {
        bail!("{command}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
