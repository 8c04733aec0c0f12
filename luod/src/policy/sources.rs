// SPDX-License-Identifier: MIT OR Apache-2.0

//! The files of the policy: which there are, and their text. This is the only input of the policy.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Fault, Place, PolicyError};

/// A file of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path, for messages.
    pub path: Arc<PathBuf>,
    /// Its text, in TOML.
    pub text: String,
}

/// The folders in which the files of the policy are.
///
/// The rules are those of systemd: the main file is that of the first folder that has one, and drop-ins of
/// all folders are read after it. Hidden files and those that do not end in `.toml` are left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The one that counts most comes first.
    folders: Vec<PathBuf>,
}

const MAIN: &str = "luod.toml";
const DROP_INS: &str = "luod.toml.d";

/// More bytes than a person writes into one file.
const MAX_SIZE: u64 = 1 << 20;
/// More drop-ins than a person writes.
const MAX_FILES: usize = 1000;

/// The device number of `/dev/null`.
const NULL: u64 = 0x103;

impl Sources {
    /// The folders of this machine.
    pub fn system() -> Self {
        Self::beneath("/")
    }

    /// The same folders beneath another root.
    pub fn beneath(root: impl AsRef<Path>) -> Self {
        let folders = ["etc/luod", "run/luod", "usr/lib/luod"];
        Self { folders: folders.map(|folder| root.as_ref().join(folder)).into() }
    }

    /// All files, of which later ones count more.
    ///
    /// # Errors
    ///
    /// A file or a folder is there and cannot be read, or is unlike all that a person writes.
    pub fn read(&self) -> Result<Vec<File>, PolicyError> {
        let mut paths = Vec::new();
        for path in self.folders.iter().map(|folder| folder.join(MAIN)) {
            // A link that leads nowhere is there, too.
            if found(&path, path.symlink_metadata())?.is_some() {
                paths.push(path);
                break;
            }
        }
        paths.extend(self.drop_ins()?);
        let files = paths.iter().map(|path| File::read(path));
        files.filter_map(Result::transpose).collect()
    }

    /// The drop-ins, sorted by name; of those with the same name the one that counts most.
    fn drop_ins(&self) -> Result<Vec<PathBuf>, PolicyError> {
        let mut all: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for folder in self.folders.iter().rev().map(|folder| folder.join(DROP_INS)) {
            let Some(entries) = found(&folder, fs::read_dir(&folder))? else { continue };
            for entry in entries {
                let entry = entry.map_err(|source| unreadable(&folder, source))?;
                let name = entry.file_name();
                let bytes = name.as_bytes();
                if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
                    all.insert(name, entry.path());
                }
                if all.len() > MAX_FILES {
                    return Err(PolicyError::TooManyFiles { path: folder, max: MAX_FILES });
                }
            }
        }
        Ok(all.into_values().collect())
    }
}

impl File {
    /// A file by its path; `None` if it is `/dev/null`, by which others are masked.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no text that a person writes.
    pub fn read(path: &Path) -> Result<Option<Self>, PolicyError> {
        let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
        if metadata.file_type().is_char_device() && metadata.rdev() == NULL {
            return Ok(None);
        }
        // To open a pipe might take for ever.
        if !metadata.is_file() {
            return Err(PolicyError::NotAFile { path: path.into() });
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(|source| unreadable(path, source))?;
        let read = file.take(MAX_SIZE + 1).read_to_end(&mut bytes);
        read.map_err(|source| unreadable(path, source))?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(PolicyError::TooLarge { path: path.into(), max: MAX_SIZE });
        }
        Self::new(path, bytes).map(Some)
    }

    /// A file by its path and its bytes.
    ///
    /// # Errors
    ///
    /// [`Fault::Encoding`].
    pub fn new(path: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self, PolicyError> {
        let path = Arc::new(path.into());
        String::from_utf8(bytes).map(|text| Self { path: Arc::clone(&path), text }).map_err(
            |error| {
                let good = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
                let line = 1 + good.filter(|byte| **byte == b'\n').count();
                let (place, key) = (Place { path, line }, String::new());
                PolicyError::Wrong { place, key, fault: Fault::Encoding }
            },
        )
    }
}

/// What was found at `path`; `None` if nothing is there.
fn found<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>, PolicyError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(unreadable(path, source)),
    }
}

fn unreadable(path: &Path, source: io::Error) -> PolicyError {
    PolicyError::Read { path: path.into(), source }
}
