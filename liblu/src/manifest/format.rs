// SPDX-License-Identifier: MIT OR Apache-2.0

//! The record as JSON.
//!
//! ```json
//! {"format":"liblu-manifest","version":1,"files":[
//!   {"label":"memory","token":"0x1","kind":"memfd","size":4096,"state":"dXNlZD00MDk2"}]}
//! ```
//!
//! Tokens are hexadecimal text, because JSON's numbers are 53 bits wide in many languages; `state` is
//! base64. Members that a reader does not know are ignored. `version` grows only if they must not be.

use std::fmt::Display;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::{Entry, Manifest};
use crate::{Error, ErrorKind, Result, Token};

/// The name of the format.
const FORMAT: &str = "liblu-manifest";

/// The version that is written, and the latest that is read.
const VERSION: u64 = 1;

#[derive(Deserialize, Serialize)]
struct Record<F> {
    format: String,
    version: u64,
    #[serde(default)]
    files: F,
}

#[derive(Deserialize, Serialize)]
struct FileRecord {
    label: String,
    token: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    state: String,
}

impl Manifest {
    /// The manifest as JSON, to keep it elsewhere.
    ///
    /// ```
    /// use liblu::Manifest;
    ///
    /// let json = br#"{"format":"liblu-manifest","version":1,"files":[]}"#;
    /// assert_eq!(Manifest::from_json(json)?.to_json(), json);
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn to_json(&self) -> Vec<u8> {
        let files = self.entries.iter().map(FileRecord::from);
        let record =
            Record { format: FORMAT.into(), version: VERSION, files: files.collect::<Vec<_>>() };
        // Text and numbers always become JSON.
        serde_json::to_vec(&record).unwrap_or_default()
    }

    /// Reads JSON, which is not trusted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NewerManifest`] if a later version wrote it, [`ErrorKind::BadManifest`] for everything
    /// else.
    ///
    /// ```
    /// use liblu::Manifest;
    ///
    /// let json = br#"{"format":"liblu-manifest","version":1,"news":true,
    ///     "files":[{"label":"memory","token":"0x1"}]}"#;
    /// assert_eq!(Manifest::from_json(json)?.entry("memory").unwrap().token().get(), 1);
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn from_json(json: &[u8]) -> Result<Self> {
        if json.len() > Self::MAX_SIZE {
            return Err(malformed(format_args!("it has over {} bytes", Self::MAX_SIZE)));
        }
        // A later version may have other files: its number comes first.
        let head: Record<serde::de::IgnoredAny> =
            serde_json::from_slice(json).map_err(malformed)?;
        if head.format != FORMAT {
            let found = head.format.chars().take(40).collect::<String>();
            return Err(malformed(format_args!("its format is `{found}`")));
        }
        if head.version > VERSION {
            let found = head.version;
            let why =
                format!("the manifest has version {found}, and {VERSION} is the last known one");
            return Err(Error::new(ErrorKind::NewerManifest, why));
        }
        let record: Record<Vec<FileRecord>> = serde_json::from_slice(json).map_err(malformed)?;
        let mut manifest = Self::default();
        for file in record.files {
            let entry = Entry::try_from(file)?;
            manifest.check(&entry.label, entry.token).map_err(malformed)?;
            manifest.put(entry);
        }
        Ok(manifest)
    }
}

/// Each fault of a record makes it none.
pub(super) fn malformed(why: impl Display) -> Error {
    Error::new(ErrorKind::BadManifest, format!("this is no manifest: {why}"))
}

/// More than the record has around its entries.
pub(super) const MOST_AROUND: usize = 64;

/// Bytes of an entry in the record, and of the comma behind it. The size of a file is not known before the
/// file is preserved, so it counts with as many digits as it may have.
pub(super) fn size_of(entry: &Entry) -> usize {
    let longest = FileRecord { size: u64::MAX, ..FileRecord::from(entry) };
    let json = serde_json::to_vec(&longest).unwrap_or_default();
    json.len().saturating_add(1)
}

impl From<&Entry> for FileRecord {
    fn from(entry: &Entry) -> Self {
        Self {
            label: entry.label.clone(),
            token: entry.token.to_string(),
            kind: entry.kind.clone(),
            size: entry.size,
            state: BASE64.encode(&entry.state),
        }
    }
}

impl TryFrom<FileRecord> for Entry {
    type Error = Error;

    fn try_from(file: FileRecord) -> Result<Self> {
        let number = file.token.strip_prefix("0x").filter(|digits| {
            !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let token = number.and_then(Token::new).ok_or_else(|| malformed("a bad token"))?;
        let state = BASE64.decode(file.state.as_bytes()).map_err(|_| malformed("a bad state"))?;
        Ok(Self { label: file.label, token, kind: file.kind, size: file.size, state })
    }
}
