// SPDX-License-Identifier: MIT OR Apache-2.0

//! A repository of the pristine tree, in which the mails are applied as a maintainer would.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{Cache, Lock, remove};
use crate::failure::{Failure, NextStep};
use crate::process::Job;
use crate::progress::Progress;
use crate::series::Identity;
use crate::series::git::Repository;
use crate::source::{HISTORY, Source};
use crate::toolchain::Root;

/// Branch of the untouched tree.
const BASE: &str = "pristine";

/// Parts of the tree that no kernel is built from.
const TEXT: &[&str] = &["Documentation", "MAINTAINERS"];

/// How many differing files an error names.
const SHOWN: usize = 10;

/// The repository.
pub(crate) struct Pristine {
    repository: Repository,
}

impl Pristine {
    /// Makes the repository of `source` if it is not there.
    pub(crate) fn open(
        cache: &Cache,
        root: &Root,
        source: &Source,
        author: &Identity,
        date: &str,
        _: &Lock,
    ) -> Result<Self> {
        let home = cache.path("series", &source.name);
        let (folder, key) = (home.join("linux"), home.join("key"));
        let log = cache.path("logs", "series.log");
        let of = |folder: &Path| Repository::new(folder, &log, author, date);
        if fs::read_to_string(&key).is_ok_and(|there| there == source.key) {
            return Ok(Self { repository: of(&folder) });
        }
        let step = Progress::begin(cache, format!("put Linux {} into git", source.version));
        let scratch = cache.scratch("series-source")?;
        let unfinished = scratch.join("linux");
        fs::create_dir_all(&unfinished).context("make a folder for the tree")?;
        let mut command = root.command("rsync", &unfinished, &[&source.folder]);
        command.args(["--archive", "--no-owner", "--no-group"]);
        command.arg(format!("--exclude={HISTORY}")).arg(source.folder.join("")).arg("./");
        Job::new(command, &log).run().context("copy the kernel source")?;
        let repository = of(&unfinished);
        repository.init()?;
        // What the tree's `.gitignore` names is part of it all the same.
        repository.run(&["add", "--all", "--force"])?;
        let message = format!("Linux {}", source.version);
        repository.run(&["commit", "--quiet", "--message", &message])?;
        repository.run(&["branch", BASE])?;
        fs::write(scratch.join("key"), &source.key).context("write the key of the tree")?;
        cache.publish(&scratch, &home)?;
        step.done();
        Ok(Self { repository: of(&folder) })
    }

    /// The work tree.
    pub(crate) fn folder(&self) -> &Path {
        &self.repository.folder
    }

    /// Applies mails to the pristine tree, and returns the commits in order.
    pub(crate) fn apply(&self, mails: &[PathBuf]) -> Result<Vec<String>> {
        let git = |arguments: &[&str]| self.repository.run(arguments);
        // What a killed run left.
        let left = self.folder().join(HISTORY);
        for name in ["index.lock", "HEAD.lock", "rebase-apply"] {
            remove(&left.join(name))?;
        }
        git(&["checkout", "--quiet", "--force", "--detach", BASE])?;
        git(&["clean", "--quiet", "--force", "-d", "-x"])?;
        for mail in mails {
            let path = mail.to_string_lossy();
            git(&["am", "--quiet", "--no-3way", &path]).or_advise(|| {
                let name = mail.file_name().unwrap_or_default().display();
                let what = format!("`git am` does not take {name} on the pristine tree");
                (what, "the log of the error says which hunk; adapt the patch in patches/")
            })?;
        }
        let range = format!("{BASE}..HEAD");
        let commits = self.repository.output(&["rev-list", "--reverse", &range])?;
        Ok(commits.lines().map(str::to_owned).collect())
    }

    /// Sees that the applied series is the overlay, to the byte.
    pub(crate) fn compare(&self, overlay: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
        let names = ["diff", "--name-only", "--no-renames", "-z", BASE, "HEAD"];
        let changed = self.repository.output(&names)?;
        let changed = changed.trim_end_matches('\n').split('\0').filter(|name| !name.is_empty());
        let changed: BTreeSet<PathBuf> = changed.map(PathBuf::from).collect();
        let folder = self.folder();
        let faults = differences(&changed, overlay, |path| fs::read(folder.join(path)).ok());
        if faults.is_empty() {
            return Ok(());
        }
        let shown: Vec<_> = faults.iter().take(SHOWN).map(String::as_str).collect();
        let what = format!(
            "the series does not end in the tree that is tested; {} files differ:\n{}",
            faults.len(),
            shown.join("\n")
        );
        let next = "compare with the tree that `cargo xtask kernel tree` prints; if no patch is at \
                    fault, this is a bug of xtask/src/series";
        Err(Failure::new(what, next).into())
    }

    /// Makes the work tree that of a commit; files that stay as they were keep their times.
    pub(crate) fn checkout(&self, commit: &str) -> Result<()> {
        self.repository.run(&["checkout", "--quiet", "--force", "--detach", commit])
    }

    /// What a kernel is built from at a commit: the same for the same content.
    pub(crate) fn built_from(&self, commit: &str) -> Result<String> {
        let tree = self.repository.output(&["ls-tree", commit])?;
        Ok(without_text(&tree))
    }

    /// The subject of a commit.
    pub(crate) fn subject(&self, commit: &str) -> Result<String> {
        let subject = self.repository.output(&["log", "-1", "--format=%s", commit])?;
        Ok(subject.trim().to_owned())
    }
}

/// A listing of the top of a tree without what is only for people.
fn without_text(tree: &str) -> String {
    let is_text = |line: &&str| TEXT.iter().any(|name| line.ends_with(&format!("\t{name}")));
    tree.lines().filter(|line| !is_text(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Files that the series changed and the overlay did not, or the other way, or to other content.
fn differences(
    changed: &BTreeSet<PathBuf>,
    overlay: &BTreeMap<PathBuf, Vec<u8>>,
    read: impl Fn(&Path) -> Option<Vec<u8>>,
) -> Vec<String> {
    let strange = changed.iter().filter(|path| !overlay.contains_key(*path));
    let strange = strange.map(|path| format!("{}: only the series changes it", path.display()));
    let other = overlay.iter().filter(|(path, content)| read(path).as_ref() != Some(content));
    let other = other.map(|(path, _)| format!("{}: not as in the overlay", path.display()));
    strange.chain(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kernel_is_built_from_text() {
        let tree = "100644 blob 1\tMAINTAINERS\n040000 tree 2\tDocumentation\n040000 tree 3\tmm\n";
        assert_eq!(without_text(tree), "040000 tree 3\tmm\n");
    }

    #[test]
    fn differences_are_told_both_ways() {
        let overlay = BTreeMap::from([("a", "1"), ("b", "2"), ("c", "3")]);
        let overlay = overlay.into_iter().map(|(p, c)| (p.into(), c.into())).collect();
        let changed = ["a", "b", "d"].map(PathBuf::from).into();
        let read = |path: &Path| match path.to_str() {
            Some("a") => Some(b"1".to_vec()),
            Some("b") => Some(b"other".to_vec()),
            _ => None,
        };
        let expected = [
            "d: only the series changes it",
            "b: not as in the overlay",
            "c: not as in the overlay",
        ];
        assert_eq!(differences(&changed, &overlay, read), expected);
    }
}
