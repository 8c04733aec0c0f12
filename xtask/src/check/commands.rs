// SPDX-License-Identifier: MIT OR Apache-2.0

//! Checks that one command of another program makes.

use anyhow::Result;

use super::{Check, Folders, Report};
use crate::invocation::Invocation;

/// Git's name of a tree without files; a comparison with it covers whole files.
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// White space at the ends of lines and files, and marks of a merge, as `.gitattributes` says.
pub(super) const WHITESPACE: CommandCheck = CommandCheck {
    name: "whitespace",
    words: &["git", "diff", "--check", EMPTY_TREE],
    env: &[],
    next: "correct these lines; `sed -i 's/[[:space:]]*$//' FILE` removes white space at the ends",
};

/// All warnings of clippy and rustc, for all targets.
pub(super) const CLIPPY: CommandCheck = CommandCheck {
    name: "clippy",
    words: &["cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    env: &[],
    next: "correct the code; where a lint is wrong, `#[expect(..., reason = \"...\")]`",
};

/// All warnings of rustdoc, private items included.
pub(super) const DOCS: CommandCheck = CommandCheck {
    name: "docs",
    words: &["cargo", "doc", "--workspace", "--no-deps", "--document-private-items", "--locked"],
    env: &[("RUSTDOCFLAGS", "-D warnings")],
    next: "correct the doc comments",
};

/// A check that passes if a command succeeds.
pub(super) struct CommandCheck {
    name: &'static str,
    words: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    /// The next step if it fails.
    next: &'static str,
}

impl Check for CommandCheck {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, folders: &Folders<'_>) -> Result<Report> {
        let mut command = Invocation::new(self.words).quiet().target(folders.target);
        for (name, value) in self.env {
            command = command.env(name, value);
        }
        Report::of_command(&command, folders.project, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn white_space_is_found_before_it_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path();
        let found = |text: &str| {
            fs::write(project.join("a.md"), text).unwrap();
            let failure =
                WHITESPACE.run(&Folders { project, tools: project, target: None }).unwrap().failure;
            failure.map(|failure| failure.output)
        };
        for words in [&["git", "init", "--quiet"][..], &["git", "add", "--intent-to-add", "a.md"]] {
            fs::write(project.join("a.md"), "").unwrap();
            assert!(Invocation::new(words).output(project).unwrap().status.success());
        }
        assert_eq!(found("clean\n"), None);
        assert!(found("clean\nnot \n").unwrap().starts_with("a.md:2: trailing whitespace"));
        assert!(found("<<<<<<< HEAD\n").unwrap().starts_with("a.md:1: leftover conflict marker"));
    }
}
