// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs for the checks that cargo builds once and keeps in a cache folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::Folders;
use crate::cache::{Lock, remove};
use crate::invocation::{Invocation, said};

/// Folder of a build inside the folder of its program.
const SCRATCH: &str = "target";

/// A program that is published as a crate.
pub(super) struct Tool {
    /// Name of both crate and program.
    pub(super) name: &'static str,
    /// The one version that is used, so that all users get the same verdicts.
    pub(super) version: &'static str,
    /// Settings of cargo for the build: `key=value`.
    pub(super) settings: &'static [&'static str],
    /// How long the build takes, for the person who waits.
    pub(super) takes: &'static str,
}

impl Tool {
    /// Where the program is, or will be.
    pub(super) fn program(&self, tools: &Path) -> PathBuf {
        self.home(tools).join("bin").join(self.name)
    }

    /// The message before the program is built, unless it is there.
    pub(super) fn announce(&self, tools: &Path) -> Option<String> {
        let Self { name, version, takes, .. } = self;
        let folder = tools.display();
        let missing = !self.program(tools).exists();
        missing.then(|| format!("building {name} {version} into {folder}, once; takes {takes}"))
    }

    /// Builds the program unless it is there, and tells where it is.
    pub(super) fn ensure(&self, folders: &Folders<'_>) -> Result<PathBuf> {
        let (program, home) = (self.program(folders.tools), self.home(folders.tools));
        if program.exists() {
            return Ok(program);
        }
        let tools = folders.tools.display();
        fs::create_dir_all(folders.tools).with_context(|| format!("make the folder {tools}"))?;
        // Of two runs at once, one waits for the other, and then finds the program.
        let _lock = Lock::exclusive(&home.with_added_extension("lock"), "builds this program")?;
        if !program.exists() {
            self.build(folders, &home)?;
            remove(&home.join(SCRATCH))?;
        }
        Ok(program)
    }

    /// A version never changes once it is there, so its folder never does either.
    fn home(&self, tools: &Path) -> PathBuf {
        tools.join(format!("{}-{}", self.name, self.version))
    }

    /// Builds and installs into `folder`; cargo puts the program there when it is complete.
    fn build(&self, folders: &Folders<'_>, folder: &Path) -> Result<()> {
        let settings = self.settings.iter().flat_map(|setting| ["--config", setting]);
        let command = Invocation::new(["cargo", "install", "--locked", self.name])
            .args(["--version", self.version])
            .args([Path::new("--root"), folder])
            .args([Path::new("--target-dir"), &folder.join(SCRATCH)])
            .args(settings);
        // In the project, so that its toolchain is the one that builds.
        let output = command.output(folders.project)?;
        ensure!(
            output.status.success(),
            "{} {} cannot be built; it takes a network connection and a C compiler; \
             `{command}` said:\n{}",
            self.name,
            self.version,
            said(&output)
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_there_is_neither_announced_nor_built() {
        const TOOL: Tool =
            Tool { name: "no-such-tool", version: "1.2.3", settings: &[], takes: "a moment" };
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path();
        let announcement = TOOL.announce(tools).unwrap();
        assert!(announcement.starts_with("building no-such-tool 1.2.3"), "{announcement}");

        let program = tools.join("no-such-tool-1.2.3/bin/no-such-tool");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "program").unwrap();
        assert_eq!(TOOL.announce(tools), None);
        assert_eq!(TOOL.ensure(&Folders { project: tools, tools, target: None }).unwrap(), program);
    }
}
