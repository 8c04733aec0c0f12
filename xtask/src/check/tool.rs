// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs for the checks that cargo builds once and keeps in a cache folder.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::Place;
use super::invocation::{Invocation, said};
use crate::cache::Lock;

/// Scratch of a build inside its folder; it is not published.
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
    pub(super) fn ensure(&self, place: &Place<'_>) -> Result<PathBuf> {
        let program = self.program(place.tools);
        if !program.exists() {
            let home = self.home(place.tools);
            publish(&home, |folder| self.build(place, folder))?;
            ensure!(
                program.exists(),
                "{} contains no {}; remove that folder and check again",
                home.display(),
                self.name
            );
        }
        Ok(program)
    }

    /// A version never changes once it is there, so its folder never does either.
    fn home(&self, tools: &Path) -> PathBuf {
        tools.join(format!("{}-{}", self.name, self.version))
    }

    /// Builds and installs into `folder`.
    fn build(&self, place: &Place<'_>, folder: &Path) -> Result<()> {
        let settings = self.settings.iter().flat_map(|setting| ["--config", setting]);
        let command = Invocation::new(["cargo", "install", "--locked", self.name])
            .args(["--version", self.version])
            .args([Path::new("--root"), folder])
            .args([Path::new("--target-dir"), &folder.join(SCRATCH)])
            .args(settings);
        // In the project, so that its toolchain is the one that builds.
        let output = command.output(place.project)?;
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

/// Lets `build` fill a folder beside `home`, and renames it to `home` when it is complete.
///
/// However a run ends, `home` is there as a whole or not at all. The next run uses the files that a
/// killed run has built so far. Of two runs at once, one waits for the other.
fn publish(home: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let beside = |ending: &str| {
        let mut path = OsString::from(home);
        path.push(ending);
        PathBuf::from(path)
    };
    let partial = beside(".partial");
    let fails = || {
        let home = home.display();
        format!("cannot write to {home}*; see to permissions and space of that folder")
    };
    fs::create_dir_all(home.parent().unwrap_or(home)).with_context(fails)?;
    let _lock = Lock::exclusive(&beside(".lock"), "builds this program")?;
    if home.exists() {
        return Ok(());
    }
    fs::create_dir_all(&partial).with_context(fails)?;
    build(&partial)?;
    let scratch = partial.join(SCRATCH);
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(fails)?;
    }
    fs::rename(&partial, home).with_context(fails)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    const TOOL: Tool =
        Tool { name: "no-such-tool", version: "1.2.3", settings: &[], takes: "a moment" };

    /// Stands for a build: scratch and program.
    fn fill(folder: &Path) -> Result<()> {
        fs::create_dir_all(folder.join(SCRATCH))?;
        fs::create_dir_all(folder.join("bin"))?;
        fs::write(folder.join("bin/no-such-tool"), "program")?;
        Ok(())
    }

    #[test]
    fn the_version_is_in_the_path() {
        let program = TOOL.program(Path::new("tools"));
        assert_eq!(program, Path::new("tools/no-such-tool-1.2.3/bin/no-such-tool"));
    }

    #[test]
    fn what_is_there_is_neither_announced_nor_built() {
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path();
        let announcement = TOOL.announce(tools).unwrap();
        assert!(announcement.starts_with("building no-such-tool 1.2.3"), "{announcement}");
        publish(&TOOL.home(tools), fill).unwrap();
        assert_eq!(TOOL.announce(tools), None);
        let project = tools;
        let program = TOOL.ensure(&Place { project, tools }).unwrap();
        assert_eq!(fs::read_to_string(program).unwrap(), "program");
    }

    #[test]
    fn a_folder_without_its_program_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path();
        fs::create_dir(TOOL.home(tools)).unwrap();
        let error = TOOL.ensure(&Place { project: tools, tools }).unwrap_err();
        assert!(error.to_string().contains("remove that folder"), "{error}");
    }

    #[test]
    fn only_what_is_complete_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("deep/tool-1.0.0");
        let killed = publish(&home, |partial| {
            fill(partial)?;
            bail!("killed")
        });
        assert_eq!(killed.unwrap_err().to_string(), "killed");
        assert!(!home.exists());

        publish(&home, |partial| {
            assert!(partial.join(SCRATCH).exists(), "what was built is gone");
            fill(partial)
        })
        .unwrap();
        assert!(home.join("bin/no-such-tool").exists());
        assert!(!home.join(SCRATCH).exists());

        publish(&home, |_| bail!("built again")).unwrap();
    }

    #[test]
    fn two_at_once_build_once() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("tool-1.0.0");
        let builds = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    publish(&home, |partial| {
                        builds.fetch_add(1, Ordering::Relaxed);
                        fill(partial)
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
        assert!(home.join("bin/no-such-tool").exists());
    }
}
