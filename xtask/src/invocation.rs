// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands that can be run, and shown just as a person would type them.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::Interrupted;
use crate::process::bound;

/// Exit code of `setpriv` for a program that it cannot find.
const NOT_FOUND: i32 = 127;

/// Variables that git sets for its hooks: with them, git would use another repository than that of
/// the folder.
const GIT_HOOK: [&str; 3] = ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"];

/// A command with its arguments and the part of its environment that matters.
pub(crate) struct Invocation {
    env: Vec<(&'static str, &'static str)>,
    quiet: bool,
    target: Option<PathBuf>,
    words: Vec<OsString>,
}

impl Invocation {
    /// A command of these words, of which the first names the program.
    pub(crate) fn new<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Self {
        Self {
            env: Vec::new(),
            quiet: false,
            target: None,
            words: words.into_iter().map(|w| w.as_ref().into()).collect(),
        }
    }

    /// Adds arguments.
    pub(crate) fn args<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(|w| w.as_ref().into()));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    /// Keeps cargo from listing the crates it compiles, which only hides what is wrong.
    pub(crate) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Has cargo build in this folder; a person uses the usual one.
    pub(crate) fn target(mut self, target: Option<&Path>) -> Self {
        self.target = target.map(Path::to_owned);
        self
    }

    /// Runs it in `folder` and gives back all that it wrote.
    pub(crate) fn output(&self, folder: &Path) -> Result<Output> {
        let (program, args) = self.words.split_first().context("a command of no words")?;
        let mut command = bound(program);
        command.args(args).envs(self.env.iter().copied());
        // Captured output goes to no terminal, but rustfmt colours it nevertheless.
        command.env("TERM", "dumb");
        if self.quiet {
            command.env("CARGO_TERM_QUIET", "true");
        }
        if let Some(target) = &self.target {
            command.env("CARGO_TARGET_DIR", target);
        }
        for name in GIT_HOOK {
            command.env_remove(name);
        }
        let output = command.current_dir(folder).stdin(Stdio::null()).output();
        let output = output.context("setpriv does not start; it belongs to util-linux")?;
        ensure!(
            output.status.code() != Some(NOT_FOUND),
            "{} does not start; see whether it is installed",
            program.display()
        );
        match output.status.signal() {
            Some(SIGINT | SIGTERM) => Err(Interrupted.into()),
            _ => Ok(output),
        }
    }
}

impl Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quoted(value))?;
        }
        for (index, word) in self.words.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{}", quoted(&word.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// All that a command said, or else how it ended.
pub(crate) fn said(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let parts = [stdout.trim(), stderr.trim()];
    let text = parts.iter().filter(|part| !part.is_empty()).copied();
    let text = text.collect::<Vec<_>>().join("\n");
    if text.is_empty() {
        return format!("no output; {}", output.status);
    }
    text
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Invocation {
        Invocation::new(["sh", "-c", script])
    }

    #[test]
    fn shows_what_a_person_types() {
        let invocation = Invocation::new(["cargo", "doc"])
            .args(["it's", ""])
            .env("RUSTDOCFLAGS", "-D warnings")
            .quiet();
        let expected = r"RUSTDOCFLAGS='-D warnings' cargo doc 'it'\''s' ''";
        assert_eq!(invocation.to_string(), expected);
    }

    #[test]
    fn what_is_shown_means_the_same_to_a_shell() {
        for word in ["plain", "a b", "it's", "$HOME", "", "\"", "a\\b", "*"] {
            let shown = Invocation::new(["printf", "%s", word]).to_string();
            let output = shell(&shown).output(Path::new(".")).unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let invocation = Invocation::new(["no-such-program-here"]);
        let error = invocation.output(Path::new(".")).unwrap_err().to_string();
        assert!(error.starts_with("no-such-program-here does not start"), "{error}");
    }

    #[test]
    fn a_command_ended_by_the_person_ends_all() {
        for (script, interrupted) in [("kill -INT $$", true), ("kill -KILL $$", false)] {
            let outcome = shell(script).output(Path::new("."));
            let is = outcome.is_err_and(|error| error.is::<Interrupted>());
            assert_eq!(is, interrupted, "{script}");
        }
    }
}
