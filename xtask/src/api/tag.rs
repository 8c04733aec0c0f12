// SPDX-License-Identifier: MIT OR Apache-2.0

//! Releases, as git knows them.
//!
//! All crates of the workspace have one version, so a release is one tag: `v1.2.3`.

use std::path::Path;

use anyhow::{Result, ensure};
use semver::Version;

use crate::check::invocation::{Invocation, said};

/// A release.
#[derive(Debug, PartialEq)]
pub(crate) struct Release {
    /// Its tag.
    pub(crate) tag: String,
    /// Its version.
    pub(crate) version: Version,
}

/// The newest release that the checkout in `project` comes after.
pub(crate) fn newest(project: &Path) -> Result<Option<Release>> {
    let git = Invocation::new(["git", "tag", "--list", "--merged", "HEAD", "v*"]);
    let output = git.output(project)?;
    ensure!(
        output.status.success(),
        "git does not list the tags of {}: {}; run the checks in a git checkout",
        project.display(),
        said(&output)
    );
    Ok(newest_of(&String::from_utf8_lossy(&output.stdout)))
}

/// The text of the file at `path` in `release`, or why it is not known.
pub(crate) fn show(
    project: &Path,
    release: &Release,
    path: &str,
) -> Result<std::result::Result<String, String>> {
    // With the dot, the path begins in the project, which may be a folder of a repository.
    let git = Invocation::new(["git", "show", &format!("{}:./{path}", release.tag)]);
    let output = git.output(project)?;
    if !output.status.success() {
        return Ok(Err(said(&output)));
    }
    Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The newest release of these `tags`, one a line. A pre-release promises nothing.
fn newest_of(tags: &str) -> Option<Release> {
    let releases = tags.lines().filter_map(|tag| {
        let version = Version::parse(tag.strip_prefix('v')?).ok()?;
        version.pre.is_empty().then(|| Release { tag: tag.to_owned(), version })
    });
    releases.max_by(|one, other| one.version.cmp(&other.version))
}

/// Runs git for a test.
#[cfg(test)]
pub(crate) fn git(project: &Path, words: &[&str]) {
    let who = ["-c", "user.name=a", "-c", "user.email=a@localhost"];
    let output = Invocation::new(["git"]).args(who).args(words).output(project).unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_newest_tag_is_that_of_the_highest_version() {
        let table = [
            ("", None),
            ("v0.1.0\n", Some("v0.1.0")),
            ("v0.10.0\nv0.9.0\n", Some("v0.10.0")),
            ("v1.0.0\nv2.0.0-rc.1\n", Some("v1.0.0")),
            ("v1\nvanity\nv1.2\n", None),
        ];
        for (tags, expected) in table {
            let newest = newest_of(tags).map(|release| release.tag);
            assert_eq!(newest.as_deref(), expected, "{tags}");
        }
    }

    #[test]
    fn only_what_lies_behind_is_released() {
        let folder = tempfile::tempdir().unwrap();
        // A project in a folder of its repository.
        let project = folder.path().join("project");
        fs::create_dir(&project).unwrap();
        let git = |words: &[&str]| git(&project, words);
        git(&["init", "--quiet"]);
        git(&["commit", "--quiet", "--allow-empty", "--message", "one"]);
        assert_eq!(newest(&project).unwrap(), None);
        git(&["tag", "v0.1.0"]);
        fs::write(project.join("api.txt"), "two\n").unwrap();
        git(&["add", "api.txt"]);
        git(&["commit", "--quiet", "--message", "two"]);
        git(&["tag", "--annotate", "--message", "two", "v0.2.0"]);

        let release = newest(&project).unwrap().unwrap();
        assert_eq!(release.tag, "v0.2.0");
        assert_eq!(show(&project, &release, "api.txt").unwrap().unwrap(), "two\n");

        git(&["checkout", "--quiet", "v0.1.0"]);
        let release = newest(&project).unwrap().unwrap();
        assert_eq!(release.tag, "v0.1.0");
        let why = show(&project, &release, "api.txt").unwrap().unwrap_err();
        assert!(why.contains("v0.1.0"), "{why}");
    }

    #[test]
    fn outside_of_git_the_error_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = newest(folder.path()).unwrap_err().to_string();
        assert!(error.contains("run the checks in a git checkout"), "{error}");
    }
}
