// SPDX-License-Identifier: MIT OR Apache-2.0

//! A repository of the pristine tree, in which the mails are applied as a maintainer would.
//!
//! git knows the files that the series changes, and ignores the other 90,000, which are there only if
//! each step is to be built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{Cache, Key, Lock, remove, write_by_rename};
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
    /// Files that only the series has.
    new: Vec<PathBuf>,
}

/// Where git reads what to ignore.
const EXCLUDE: &str = ".git/info/exclude";

impl Pristine {
    /// Makes the repository of `source` if it is not there, for a series that changes these files.
    pub(crate) fn open(
        cache: &Cache,
        source: &Source,
        files: impl Iterator<Item = PathBuf>,
        (author, date): (&Identity, &str),
        _: &Lock,
    ) -> Result<Self> {
        let (known, new): (Vec<_>, Vec<_>) =
            files.partition(|path| source.folder.join(path).exists());
        let mut key = Key::of("pristine", 1).with(&source.key);
        for path in &known {
            key = key.with(path.as_os_str().as_encoded_bytes());
        }
        let key = key.finish();
        let home = cache.path("series", &source.name);
        let (folder, record) = (home.join("linux"), home.join("key"));
        let log = cache.path("logs", "series.log");
        let repository = Repository::new(&folder, &log, author, date);
        if fs::read_to_string(&record).is_ok_and(|there| there == key) {
            return Ok(Self { repository, new });
        }
        remove(&record)?;
        for path in &known {
            let to = folder.join(path);
            let made = fs::create_dir_all(to.parent().unwrap_or(&folder));
            made.and_then(|()| fs::copy(source.folder.join(path), &to).map(drop))
                .with_context(|| format!("copy {}", path.display()))?;
        }
        fs::create_dir_all(&folder).context("make a folder for the tree")?;
        remove(&folder.join(HISTORY))?;
        repository.init()?;
        let exclude = folder.join(EXCLUDE);
        fs::create_dir_all(exclude.parent().unwrap_or(&folder))
            .and_then(|()| fs::write(exclude, "*\n"))
            .context("have git ignore the other files")?;
        let mut add = vec!["add".to_owned(), "--force".into(), "--".into()];
        add.extend(known.iter().map(|path| path.to_string_lossy().into_owned()));
        repository.run(&add.iter().map(String::as_str).collect::<Vec<_>>())?;
        let message = format!("Linux {}", source.version);
        repository.run(&["commit", "--quiet", "--message", &message])?;
        repository.run(&["branch", BASE])?;
        write_by_rename(&record, key.as_bytes())?;
        Ok(Self { repository, new })
    }

    /// Adds the files that the series does not change, for builds.
    pub(crate) fn complete(&self, cache: &Cache, root: &Root, source: &Source) -> Result<()> {
        let record = cache.path("series", &source.name).join("whole");
        if fs::read_to_string(&record).is_ok_and(|there| there == source.key) {
            return Ok(());
        }
        let step = Progress::begin(cache, format!("copy Linux {}", source.version));
        let mut command = root.command("rsync", self.folder(), &[&source.folder]);
        // Those of the series, in whatever state they are, are git's.
        command.args(["--archive", "--no-owner", "--no-group"]).arg(format!("--exclude={HISTORY}"));
        let tracked = self.repository.output(&["ls-files"])?;
        command.args(tracked.lines().map(|path| format!("--exclude=/{path}")));
        command.arg(source.folder.join("")).arg("./");
        let log = cache.path("logs", "series.log");
        Job::new(command, log).run().context("copy the kernel source")?;
        write_by_rename(&record, source.key.as_bytes())?;
        step.done();
        Ok(())
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
        git(&["reset", "--quiet", "--hard"])?;
        git(&["checkout", "--quiet", "--force", "--detach", BASE])?;
        for path in &self.new {
            remove(&self.folder().join(path))?;
        }
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

    /// The files that the series changes, at a commit: the same for the same content. Text is left out, for
    /// no kernel is built from it.
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
