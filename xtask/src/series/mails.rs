// SPDX-License-Identifier: MIT OR Apache-2.0

//! The mails: a commit for each patch in a repository with the touched files only, then
//! `git format-patch`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cache::{Cache, write_by_rename};
use crate::failure::{Failure, NextStep};
use crate::invocation::Invocation;
use crate::series::git::Repository;
use crate::series::{Cover, Identity, Patch};
use crate::source::Source;

/// Branch of the untouched files.
const BASE: &str = "base";

/// Name of the cover letter, as git gives it.
const COVER: &str = "0000-cover-letter.patch";

/// Which series is written.
pub(crate) struct Mails<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) source: &'a Source,
    pub(crate) author: &'a Identity,
    /// Date of all mails, in seconds since 1970.
    pub(crate) date: &'a str,
    pub(crate) cover: &'a Cover,
    /// Version of the series.
    pub(crate) version: u32,
    /// Words before the number: `PATCH`, `RFC PATCH`.
    pub(crate) prefix: &'a str,
}

impl Mails<'_> {
    /// Writes all mails into `scratch`, and returns their paths in order, the cover letter first.
    pub(crate) fn write(&self, patches: &[Patch], scratch: &Path) -> Result<Vec<PathBuf>> {
        let (work, out) = (scratch.join("work"), scratch.join("mails"));
        fs::create_dir_all(&work).with_context(|| format!("make {}", work.display()))?;
        let log = self.cache.path("logs", "series.log");
        let repository = Repository::new(&work, &log, self.author, self.date);
        repository.init()?;
        self.commit_base(&repository, patches)?;
        for patch in patches {
            self.commit(&repository, patch, &scratch.join("message"))?;
        }
        let (out_text, prefix) =
            (out.to_string_lossy(), format!("--subject-prefix={}", self.prefix));
        let version = format!("--reroll-count={}", self.version);
        let mut arguments = vec!["format-patch", "--quiet", "--no-signature", "--cover-letter"];
        arguments.extend(["--numbered", "--no-renames", &prefix, "--output-directory", &out_text]);
        // The first version has no number.
        arguments.extend((self.version > 1).then_some(version.as_str()));
        arguments.push(BASE);
        repository.run(&arguments)?;
        let mails = crate::cache::files(&out)?;
        let mails: Vec<_> = mails.into_iter().map(|mail| out.join(mail)).collect();
        ensure!(mails.len() == patches.len() + 1, "git wrote {} mails", mails.len());
        let first = mails.first().context("git wrote no mail")?;
        ensure!(first.to_string_lossy().ends_with(COVER), "the first mail is {}", first.display());
        let empty = fs::read_to_string(first).context("read git's cover letter")?;
        write_by_rename(first, self.cover.fill(&empty)?.as_bytes())?;
        Ok(mails)
    }

    /// The touched files as upstream has them.
    fn commit_base(&self, repository: &Repository, patches: &[Patch]) -> Result<()> {
        for path in patches.iter().flat_map(|patch| patch.files.keys()) {
            if let Ok(content) = fs::read(self.source.folder.join(path)) {
                write_by_rename(&repository.folder.join(path), &content)?;
            }
        }
        repository.run(&["add", "--all", "--force"])?;
        let message = format!("Linux {}", self.source.version);
        repository.run(&["commit", "--quiet", "--allow-empty", "--message", &message])?;
        repository.run(&["branch", BASE])
    }

    fn commit(&self, repository: &Repository, patch: &Patch, message: &Path) -> Result<()> {
        let mut changed = false;
        for (path, content) in &patch.files {
            let file = repository.folder.join(path);
            if fs::read(&file).is_ok_and(|there| there == *content) {
                continue;
            }
            changed = true;
            write_by_rename(&file, content)?;
        }
        if !changed {
            let what = format!("patches/{}.patch changes nothing in this tree", patch.name);
            let next = "the tree has it already: give a pristine one, or remove the patch";
            return Err(Failure::new(what, next).into());
        }
        fs::write(message, patch.letter.message(self.author)).context("write a message")?;
        let message = message.to_string_lossy();
        repository.run(&["add", "--all", "--force"])?;
        repository.run(&["commit", "--quiet", "--cleanup=verbatim", "--file", &message])
    }
}

/// Whose series it is, by git's settings.
pub(crate) fn author(project: &Path) -> Result<Identity, Failure> {
    let setting = |name: &str| {
        let output = Invocation::new(["git", "config", "--get", name]).output(project).ok()?;
        let value = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Some(value).filter(|value| !value.is_empty())
    };
    let (Some(name), Some(email)) = (setting("user.name"), setting("user.email")) else {
        let what = "git does not know who signs the mails off";
        let next = "run `git config user.name \"Your Name\"` and \
                    `git config user.email you@example.org` in the checkout";
        return Err(Failure::new(what, next));
    };
    Ok(Identity { name, email })
}

/// The date of the checkout's last commit, so that one checkout makes the same mails every time.
pub(crate) fn date(project: &Path) -> Result<String> {
    let log = Invocation::new(["git", "log", "-1", "--format=%ct"]).output(project)?;
    let date = String::from_utf8_lossy(&log.stdout).trim().to_owned();
    let is_date = !date.is_empty() && date.bytes().all(|byte| byte.is_ascii_digit());
    is_date.then_some(date).context("git has no commit here").or_advise(|| {
        ("the date of the series is not known", "run this in a git checkout of the project")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::series::Letter;

    fn patch(name: &str, path: &str, content: &str) -> Patch {
        let head = format!("rust: {name}: add it\n\nSomebody wants it.\n");
        Patch {
            name: name.into(),
            letter: Letter::parse(&head).unwrap(),
            files: BTreeMap::from([(path.into(), content.into())]),
        }
    }

    fn write(patches: &[Patch], version: u32) -> Result<Vec<(String, String)>> {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).unwrap();
        let linux = folder.path().join("linux");
        fs::create_dir_all(&linux).unwrap();
        fs::write(linux.join("Kconfig"), "old\n").unwrap();
        let source = Source {
            folder: linux,
            version: "7.3.4".into(),
            key: String::new(),
            is_given: true,
            name: String::new(),
        };
        let cover = Cover { subject: "the series".into(), text: "The text.".into() };
        let mails = Mails {
            cache: &cache,
            source: &source,
            author: &Identity { name: "A Person".into(), email: "a@example.org".into() },
            date: "1700000000",
            cover: &cover,
            version,
            prefix: "PATCH",
        };
        let paths = mails.write(patches, &cache.scratch("series").unwrap())?;
        let read = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        };
        Ok(paths.iter().map(read).collect())
    }

    #[test]
    fn a_patch_is_a_mail() {
        let patches = [patch("one", "Kconfig", "new\n"), patch("two", "rust/two.rs", "two\n")];
        let mails = write(&patches, 1).unwrap();
        let names: Vec<_> = mails.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [COVER, "0001-rust-one-add-it.patch", "0002-rust-two-add-it.patch"];
        assert_eq!(names, expected);
        assert!(mails[0].1.contains("Subject: [PATCH 0/2] the series\n"), "{}", mails[0].1);
        assert!(mails[0].1.contains("\nThe text.\n"));
        assert!(mails[1].1.contains("\n-old\n+new\n"));
        assert!(mails[2].1.contains("Subject: [PATCH 2/2] rust: two: add it\n"));
        assert!(mails[2].1.contains("From: A Person <a@example.org>\n"));
        assert!(mails[2].1.contains("\nSigned-off-by: A Person <a@example.org>\n---\n"));
    }

    #[test]
    fn a_later_version_has_a_number() {
        let mails = write(&[patch("one", "rust/one.rs", "one\n")], 2).unwrap();
        assert_eq!(mails[1].0, "v2-0001-rust-one-add-it.patch");
        assert!(mails[1].1.contains("Subject: [PATCH v2 1/1] rust: one: add it\n"));
    }

    #[test]
    fn a_patch_that_changes_nothing_is_refused() {
        let error = write(&[patch("one", "Kconfig", "old\n")], 1).unwrap_err();
        assert!(error.to_string().contains("patches/one.patch changes nothing"));
    }
}
