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

use super::{Entry, Manifest, ManifestError, check_size};
use crate::Token;

/// What says that it is one of these.
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
    /// The record as JSON, for those who keep it elsewhere.
    ///
    /// ```
    /// use liblu::Manifest;
    ///
    /// let manifest = Manifest::new();
    /// assert_eq!(Manifest::from_json(&manifest.to_json())?, manifest);
    /// # Ok::<(), liblu::ManifestError>(())
    /// ```
    pub fn to_json(&self) -> Vec<u8> {
        let files = self.entries.iter().map(FileRecord::from);
        let record =
            Record { format: FORMAT.into(), version: VERSION, files: files.collect::<Vec<_>>() };
        // Text and numbers always become JSON.
        serde_json::to_vec(&record).unwrap_or_default()
    }

    /// Reads a record, which is not trusted.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Version`] if a later version wrote it, [`ManifestError::Malformed`] for all
    /// else.
    ///
    /// ```
    /// use liblu::Manifest;
    ///
    /// let json = br#"{"format":"liblu-manifest","version":1,"news":true,
    ///     "files":[{"label":"memory","token":"0x1"}]}"#;
    /// assert_eq!(Manifest::from_json(json)?.entry("memory").unwrap().token().get(), 1);
    /// # Ok::<(), liblu::ManifestError>(())
    /// ```
    pub fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        check_size(u64::try_from(json.len()).unwrap_or(u64::MAX)).map_err(malformed)?;
        // A later version may have other files: its number comes first.
        let head: Record<serde::de::IgnoredAny> =
            serde_json::from_slice(json).map_err(malformed)?;
        if head.format != FORMAT {
            let found = head.format.chars().take(40).collect::<String>();
            return Err(malformed(format_args!("its format is `{found}`")));
        }
        if head.version > VERSION {
            return Err(ManifestError::Version { found: head.version, known: VERSION });
        }
        let record: Record<Vec<FileRecord>> = serde_json::from_slice(json).map_err(malformed)?;
        let mut manifest = Self::new();
        for file in record.files {
            let entry = file.try_into()?;
            manifest.check(&entry).map_err(malformed)?;
            let size = size_of(&entry);
            manifest.add(entry, size);
        }
        Ok(manifest)
    }
}

/// Whatever is wrong with a record that was read makes it none.
pub(super) fn malformed(why: impl Display) -> ManifestError {
    ManifestError::Malformed(why.to_string())
}

/// More than the record has around its entries.
pub(super) const MOST_AROUND: u64 = 64;

/// Bytes of an entry in the record, and of the comma behind it.
pub(super) fn size_of(entry: &Entry) -> u64 {
    let json = serde_json::to_vec(&FileRecord::from(entry)).unwrap_or_default();
    u64::try_from(json.len()).unwrap_or(u64::MAX).saturating_add(1)
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
    type Error = ManifestError;

    fn try_from(file: FileRecord) -> Result<Self, ManifestError> {
        let number = file.token.strip_prefix("0x").filter(|digits| {
            !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let token = number.and_then(Token::new).ok_or_else(|| malformed("a bad token"))?;
        let state = BASE64.decode(file.state.as_bytes()).map_err(|_| malformed("a bad state"))?;
        Ok(Self { label: file.label, token, kind: file.kind, size: file.size, state })
    }
}
