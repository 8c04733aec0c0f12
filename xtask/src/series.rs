// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel side as a series of patch mails.
//!
//! Each file in `patches/` is one mail: its head has the words and the files of the project that
//! belong to it ([`Letter`]), then come hunks to upstream's files. So subject, files and hunks have
//! one owner, and the order of names is the order of mails.

mod build;
mod checkpatch;
mod git;
mod letter;
mod mails;
mod place;
mod pristine;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;

pub(crate) use build::PatchBuilds;
pub(crate) use checkpatch::{Allowed, check as checkpatch};
pub(crate) use letter::{Cover, Letter};
pub(crate) use mails::{Mails, author, date};
pub(crate) use pristine::Pristine;

use crate::failure::{Failure, NextStep};
use crate::source::{Overlay, Patched};

/// Whose series it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) email: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

/// One mail of the series.
#[derive(Debug)]
pub(crate) struct Patch {
    /// Name in `patches/`, without its extension.
    pub(crate) name: String,
    pub(crate) letter: Letter,
    /// What it makes of the tree: content by path.
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
}

/// The letters of the patches, and which files of the project each of them carries.
#[derive(Debug)]
pub(crate) struct Series(Vec<(String, Letter, Vec<PathBuf>)>);

impl Series {
    /// Reads the heads of all patches, and gives each file of the project to one of them.
    pub(crate) fn of(overlay: &Overlay) -> Result<Self> {
        let mut series = Vec::new();
        for (name, text) in overlay.patches() {
            let letter = Letter::parse(text).or_advise(|| {
                let what = format!("patches/{} cannot be sent as a mail", name.display());
                (what, "correct its head; docs/design.md, \"The series\", says what is in it")
            })?;
            series.push((stem(name), letter, Vec::new()));
        }
        let mut faults = Vec::new();
        for path in overlay.own().keys() {
            match owner(&series, path) {
                Ok(index) => series.get_mut(index).into_iter().for_each(|p| p.2.push(path.clone())),
                Err(fault) => faults.push(fault),
            }
        }
        for (name, letter, files) in &series {
            let is_stale = |place: &&place::Place| !files.iter().any(|f| place.has(f).is_some());
            let stale = letter.adds.iter().filter(is_stale);
            faults.extend(stale.map(|place| format!("{name}: `Adds: {place}` adds no file")));
        }
        if faults.is_empty() {
            return Ok(Self(series));
        }
        let what = format!("not every file is in one patch:\n{}", faults.join("\n"));
        let next = "correct the `Adds:` lines at the heads of the files in patches/: a file, a \
                    folder with `/` at its end, or a name with `*`; the narrowest one counts";
        Err(Failure::new(what, next).into())
    }

    /// The patches, with what their hunks made of upstream's files.
    pub(crate) fn patches(self, overlay: &Overlay, patched: Vec<Patched>) -> Vec<Patch> {
        let all = self.0.into_iter().zip(patched).map(|((name, letter, own), patched)| {
            debug_assert_eq!(name, stem(&patched.name));
            let own = own.into_iter().filter_map(|path| {
                let content = overlay.own().get(&path)?.clone();
                Some((path, content))
            });
            Patch { name, letter, files: patched.files.into_iter().chain(own).collect() }
        });
        all.collect()
    }
}

/// The one patch that adds a file of the project.
fn owner(series: &[(String, Letter, Vec<PathBuf>)], path: &Path) -> Result<usize, String> {
    let narrowest = |letter: &Letter| letter.adds.iter().filter_map(|place| place.has(path)).max();
    let adding: Vec<_> = (0..)
        .zip(series)
        .filter_map(|(index, (name, letter, _))| Some((narrowest(letter)?, index, name)))
        .collect();
    let Some(narrow) = adding.iter().map(|(narrow, ..)| *narrow).max() else {
        return Err(format!("{}: in no patch", path.display()));
    };
    let names: Vec<_> = adding.iter().filter(|(n, ..)| *n == narrow).collect();
    match names.as_slice() {
        [(_, index, _)] => Ok(*index),
        several => {
            let names: Vec<&str> = several.iter().map(|(.., name)| name.as_str()).collect();
            Err(format!("{}: in more than one patch: {}", path.display(), names.join(", ")))
        }
    }
}

fn stem(name: &Path) -> String {
    name.with_extension("").to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(adds: &[&str]) -> Vec<(String, Letter, Vec<PathBuf>)> {
        let letter = |adds: &str| Letter::parse(&format!("a: b\n\nc\n\nAdds: {adds}\n")).unwrap();
        adds.iter().map(|adds| ((*adds).to_owned(), letter(adds), Vec::new())).collect()
    }

    #[test]
    fn a_file_belongs_to_the_patch_with_the_narrowest_place() {
        let series = series(&["luo/", "luo/ffi/", "luo/boot.rs", "luo/de*", "luo/ffi/"]);
        let owner = |path: &str| owner(&series, Path::new(path));
        assert_eq!(owner("luo/luo.rs"), Ok(0));
        assert_eq!(owner("luo/boot.rs"), Ok(2));
        assert_eq!(owner("luo/device.rs"), Ok(3));
        assert!(owner("luo/ffi/flb.rs").unwrap_err().contains("luo/ffi/, luo/ffi/"));
        assert!(owner("core/wire.rs").unwrap_err().contains("in no patch"));
    }

    #[test]
    fn every_file_of_this_checkout_is_in_one_patch() {
        let project = crate::project::Project::open().unwrap();
        if let Err(error) = Series::of(&Overlay::of(&project.folder).unwrap()) {
            panic!("{error:#}");
        }
    }

    #[test]
    fn a_place_without_a_file_is_told() {
        let project = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = project.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let series = || Series::of(&Overlay::of(project.path()).unwrap());
        write("rust/kernel/kho.rs", "");
        write("patches/0001-a.patch", "a: b\n\nc\n\nAdds: rust/kernel/kho.rs\n");
        assert!(series().is_ok());
        write("patches/0002-b.patch", "a: b\n\nc\n\nAdds: rust/kernel/luo.rs\n");
        let error = series().unwrap_err().to_string();
        assert!(error.contains("0002-b: `Adds: rust/kernel/luo.rs` adds no file"), "{error}");
        write("patches/0002-b.patch", "b\n");
        assert!(series().unwrap_err().to_string().contains("patches/0002-b.patch cannot be sent"));
    }
}
