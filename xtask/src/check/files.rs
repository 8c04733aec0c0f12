// SPDX-License-Identifier: MIT OR Apache-2.0

//! The files of the project, as git knows them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::invocation::{Invocation, said};

/// Extensions of source code, as opposed to configuration, text and data.
const CODE: &[&str] = &["rs", "c", "h", "S", "sh", "py"];

/// How far git looks for a NUL byte before it takes a file for text.
const TEXT_PROBE: usize = 8000;

/// A text file of the project.
pub(super) struct TextFile {
    /// Path from the root of the project, with `/` between the folders.
    pub(super) path: String,
    /// Its content; bytes that are no UTF-8 are replaced.
    pub(super) text: String,
}

/// Whether `path` is source code by its name.
pub(super) fn is_code(path: &str) -> bool {
    CODE.contains(&extension(path))
}

/// Whether `path` is this file, or below this folder with `/` at its end.
pub(super) fn is_at(path: &str, place: &str) -> bool {
    path == place || (place.ends_with('/') && path.starts_with(place))
}

/// The part of the name after its last dot, empty for `Makefile` and `.gitignore` alike.
pub(super) fn extension(path: &str) -> &str {
    Path::new(path).extension().and_then(OsStr::to_str).unwrap_or_default()
}

/// Reads every text file that is tracked by git or could be; files that git ignores do not count.
pub(super) fn all(project: &Path) -> Result<Vec<TextFile>> {
    let git = Invocation::new(["git", "ls-files", "-z", "--cached", "--others"])
        .args(["--exclude-standard"]);
    let output = git.output(project)?;
    ensure!(
        output.status.success(),
        "git does not list the files of {}: {}; run the checks in a git checkout",
        project.display(),
        said(&output)
    );
    let names = output.stdout.split(|byte| *byte == 0);
    // A file in conflict is listed more than once.
    let names: BTreeSet<_> = names.filter(|name| !name.is_empty()).collect();
    let mut files = Vec::new();
    for name in names {
        files.extend(read(project, name)?);
    }
    Ok(files)
}

/// Reads one file, unless it is gone, not a regular file, or binary.
fn read(project: &Path, name: &[u8]) -> Result<Option<TextFile>> {
    let path = project.join(OsStr::from_bytes(name));
    // Deleted but not yet committed, a link, or a submodule.
    if !path.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        return Ok(None);
    }
    let bytes = fs::read(&path).with_context(|| {
        let path = path.display();
        format!("cannot read {path}; see to its permissions")
    })?;
    if bytes.iter().take(TEXT_PROBE).any(|byte| *byte == 0) {
        return Ok(None);
    }
    Ok(Some(TextFile {
        path: String::from_utf8_lossy(name).into_owned(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn lists_text_that_git_does_not_ignore() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let init = Invocation::new(["git", "init", "--quiet"]);
        assert!(init.output(root).unwrap().status.success());
        fs::write(root.join(".gitignore"), "target\n").unwrap();
        fs::create_dir(root.join("target")).unwrap();
        fs::write(root.join("target/made.rs"), "").unwrap();
        fs::write(root.join("a name – odd.rs"), b"ab\xff\n").unwrap();
        fs::write(root.join("picture"), [1, 0, 2]).unwrap();
        fs::write(root.join("gone.rs"), "").unwrap();
        symlink("nowhere", root.join("link.rs")).unwrap();
        let add = Invocation::new(["git", "add", "gone.rs", ".gitignore"]);
        assert!(add.output(root).unwrap().status.success());
        fs::remove_file(root.join("gone.rs")).unwrap();

        let files = all(root).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [".gitignore", "a name – odd.rs"]);
        assert_eq!(files[1].text, "ab\u{fffd}\n");
    }

    #[test]
    fn outside_of_git_the_error_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = all(folder.path()).err().unwrap().to_string();
        assert!(error.contains("run the checks in a git checkout"), "{error}");
    }
}
