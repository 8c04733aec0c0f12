// SPDX-License-Identifier: MIT OR Apache-2.0

//! Repositories of git that belong to the cache: nothing of the user's settings reaches them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process::{Job, bound};
use crate::series::Identity;

/// Settings of all commands.
const SETTINGS: &[&str] = &[
    // A cold cache is filled once, and nothing is ever sent from here.
    "core.compression=1",
    "gc.auto=0",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
];

/// A repository.
pub(crate) struct Repository {
    /// Its work tree.
    pub(crate) folder: PathBuf,
    /// Where all that git says is kept.
    log: PathBuf,
    author: Identity,
    /// Seconds since 1970.
    date: String,
}

impl Repository {
    /// The repository in `folder`, made or not, whose commits are of `author` and `date`.
    pub(crate) fn new(folder: &Path, log: &Path, author: &Identity, date: &str) -> Self {
        let (folder, log, author) = (folder.to_path_buf(), log.to_path_buf(), author.clone());
        Self { folder, log, author, date: date.to_owned() }
    }

    /// Makes it.
    pub(crate) fn init(&self) -> Result<()> {
        self.run(&["init", "--quiet", "--template="])
    }

    /// Runs git.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<()> {
        self.output(arguments).map(drop)
    }

    /// Runs git, and returns what it says.
    pub(crate) fn output(&self, arguments: &[&str]) -> Result<String> {
        Job::new(self.command(arguments), &self.log).output()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bound("git");
        command.arg("-C").arg(&self.folder);
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", *setting])).args(arguments);
        let date = format!("{} +0000", self.date);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs([
            ("LC_ALL", "C.UTF-8"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_AUTHOR_NAME", &self.author.name),
            ("GIT_AUTHOR_EMAIL", &self.author.email),
            ("GIT_AUTHOR_DATE", &date),
            ("GIT_COMMITTER_NAME", &self.author.name),
            ("GIT_COMMITTER_EMAIL", &self.author.email),
            ("GIT_COMMITTER_DATE", &date),
        ]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_of_the_author_and_the_same_every_time() {
        let author = Identity { name: "A Person".into(), email: "a@example.org".into() };
        let commit = || {
            let folder = tempfile::tempdir().unwrap();
            let log = folder.path().join("log");
            let repository = Repository::new(folder.path(), &log, &author, "1700000000");
            repository.init().unwrap();
            std::fs::write(folder.path().join("file"), "x").unwrap();
            repository.run(&["add", "file"]).unwrap();
            repository.run(&["commit", "--quiet", "--message", "a: b"]).unwrap();
            let who = repository.output(&["log", "--format=%an <%ae> %at"]).unwrap();
            assert_eq!(who, "A Person <a@example.org> 1700000000\n");
            repository.output(&["rev-parse", "HEAD"]).unwrap()
        };
        assert_eq!(commit(), commit());
    }
}
