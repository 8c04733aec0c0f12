// SPDX-License-Identifier: MIT OR Apache-2.0

//! Places in the kernel tree, written as in MAINTAINERS.

use std::fmt;
use std::path::Path;

use anyhow::{Error, Result, ensure};
use serde::Deserialize;

/// A file (`rust/kernel/kho.rs`), files of a folder by a part of their name (`rust/kernel/kho*`), or
/// everything below a folder (`rust/kernel/kho/`).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) struct Place(String);

/// How narrow a place is: of two that both have a file, the greater one is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Narrow {
    /// Everything below a folder; the depth of the folder.
    Folder(usize),
    /// Files of a folder with a part of the name in common; its length.
    Names(usize),
    /// One file.
    File,
}

impl Place {
    /// Reads a place.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let folders = text.rsplit_once('/').map_or("", |(folders, _)| folders);
        ensure!(
            !text.is_empty() && !text.starts_with('/') && !text.contains(char::is_whitespace),
            "`{text}` is no place in the tree"
        );
        ensure!(
            !folders.contains('*') && text.matches('*').count() <= 1,
            "`{text}` has more than one `*`, or one in the name of a folder"
        );
        Ok(Self(text.to_owned()))
    }

    /// How narrow the place is for `path`, if it is there at all.
    pub(crate) fn has(&self, path: &Path) -> Option<Narrow> {
        let (place, path) = (self.0.as_str(), path.to_str()?);
        if place.ends_with('/') {
            return path.starts_with(place).then(|| Narrow::Folder(place.matches('/').count()));
        }
        let Some((front, back)) = place.split_once('*') else {
            return (path == place).then_some(Narrow::File);
        };
        let between = path.strip_prefix(front)?.strip_suffix(back)?;
        (!between.contains('/')).then_some(Narrow::Names(front.len() + back.len()))
    }
}

impl TryFrom<String> for Place {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_files_names_and_folders() {
        use Narrow::{File, Folder, Names};
        let table = [
            ("rust/kernel/kho.rs", "rust/kernel/kho.rs", Some(File)),
            ("rust/kernel/kho.rs", "rust/kernel/kho.rs.orig", None),
            ("rust/kernel/", "rust/kernel/fs/anon_inode.rs", Some(Folder(2))),
            ("rust/kernel/", "rust/kernel.rs", None),
            ("rust/kernel/kho*", "rust/kernel/kho.rs", Some(Names(15))),
            ("rust/kernel/kho*", "rust/kernel/kho/memory.rs", None),
            ("a*a", "a", None),
        ];
        for (place, path, expected) in table {
            assert_eq!(Place::parse(place).unwrap().has(Path::new(path)), expected, "{place}");
        }
        assert!(File > Names(99) && Names(1) > Folder(99) && Folder(2) > Folder(1));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "/etc/passwd", "a b", "*/x", "a*b*"] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_place_panic(text in ".*", path in ".*") {
            if let Ok(place) = Place::parse(&text) {
                place.has(Path::new(&path));
            }
        }
    }
}
