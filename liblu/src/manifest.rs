// SPDX-License-Identifier: MIT OR Apache-2.0

//! The list of the files of a session, by label.

use std::collections::{BTreeSet, HashMap};

use crate::{Error, ErrorKind, IncomingSession, Result, Token};

mod entry;
mod format;
mod record;

pub use entry::Entry;
pub(crate) use record::Record;

/// The files of a session: their labels, tokens and states.
///
/// It is kept in the session itself, under [`Token::MANIFEST`]: JSON in a memfd, so that other programs
/// can read it too. Readers ignore members that they do not know, and refuse a later version.
/// [`Handover`](crate::Handover) writes it.
///
/// ```
/// use liblu::Manifest;
///
/// let json = br#"{"format":"liblu-manifest","version":1,"files":[
///     {"label":"memory","token":"0x1","kind":"memfd","size":4096}]}"#;
/// let manifest = Manifest::from_json(json)?;
/// assert_eq!(manifest.entry("memory").unwrap().size(), 4096);
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    /// The place of each label.
    labels: HashMap<String, usize>,
    tokens: BTreeSet<Token>,
    /// Bytes of all entries in the record.
    size: usize,
}

impl Manifest {
    /// Bytes of the whole record at most. Bulk state belongs into a memfd.
    ///
    /// ```
    /// assert_eq!(liblu::Manifest::MAX_SIZE, 1 << 20);
    /// ```
    pub const MAX_SIZE: usize = 1 << 20;

    /// Bytes of a label at most.
    ///
    /// ```
    /// assert_eq!(liblu::Manifest::MAX_LABEL, 255);
    /// ```
    pub const MAX_LABEL: usize = 255;

    /// Bytes of the state of a file at most.
    ///
    /// ```
    /// assert_eq!(liblu::Manifest::MAX_STATE, 16 << 10);
    /// ```
    pub const MAX_STATE: usize = 16 << 10;

    /// Reads the manifest of a session.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoManifest`] if the session has none; [`ErrorKind::Incomplete`] if its owner never
    /// said that it was ready; those of [`Manifest::from_json`] and of [`IncomingSession::retrieve`].
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().retrieve(&"cache".parse()?)?;
    /// let manifest = liblu::Manifest::of(&session)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(session: &IncomingSession) -> Result<Self> {
        for (place, token) in Record::TOKENS.into_iter().enumerate() {
            let file = session.retrieve(token).map_err(|error| match (error.kind(), place) {
                (ErrorKind::NoFile, 0) => {
                    Error::new(ErrorKind::NoManifest, "the session has no manifest")
                }
                (ErrorKind::NoFile, _) => format::malformed("a larger record is missing"),
                _ => error,
            })?;
            if let Some(manifest) = record::read(&file)? {
                return Ok(manifest);
            }
        }
        Err(format::malformed("no record is the last"))
    }

    /// The files, in the order in which they were preserved.
    ///
    /// ```
    /// # let json = br#"{"format":"liblu-manifest","version":1,"files":[]}"#;
    /// # let manifest = liblu::Manifest::from_json(json)?;
    /// for entry in manifest.entries() {
    ///     println!("{} is {} bytes of {}", entry.label(), entry.size(), entry.kind());
    /// }
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The file with this label.
    ///
    /// ```
    /// # let json = br#"{"format":"liblu-manifest","version":1,"files":[]}"#;
    /// # let manifest = liblu::Manifest::from_json(json)?;
    /// assert!(manifest.entry("memory").is_none());
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn entry(&self, label: &str) -> Option<&Entry> {
        self.labels.get(label).and_then(|at| self.entries.get(*at))
    }

    /// The file with this label, or the error that there is none.
    pub(crate) fn expect(&self, label: &str) -> Result<&Entry> {
        let missing =
            || Error::new(ErrorKind::NoFile, format!("there is no file called `{label}`"));
        self.entry(label).ok_or_else(missing)
    }

    /// The highest token.
    pub(crate) fn last_token(&self) -> u64 {
        self.tokens.last().map_or(0, |token| token.get())
    }

    /// Whether a file with this label and token may be added.
    pub(crate) fn check(&self, label: &str, token: Token) -> Result<()> {
        if label.is_empty() || label.len() > Self::MAX_LABEL {
            let why = format!("a label has 1 to {} bytes, not {}", Self::MAX_LABEL, label.len());
            return Err(Error::new(ErrorKind::InvalidName, why));
        }
        if self.entry(label).is_some() {
            let why = format!("there is a file called `{label}` already");
            return Err(Error::new(ErrorKind::LabelTaken, why));
        }
        if token.is_reserved() || self.tokens.contains(&token) {
            return Err(token_taken(token));
        }
        Ok(())
    }

    /// Adds a file that was checked, or puts another description of it in its place.
    pub(crate) fn put(&mut self, entry: Entry) {
        let size = format::size_of(&entry);
        let at = self.labels.get(&entry.label);
        if let Some(there) = at.and_then(|at| self.entries.get_mut(*at)) {
            self.size = self.size.saturating_sub(format::size_of(there));
            *there = entry;
        } else {
            self.labels.insert(entry.label.clone(), self.entries.len());
            self.tokens.insert(entry.token);
            self.entries.push(entry);
        }
        self.size = self.size.saturating_add(size);
    }

    /// Sets the size of a file that is there.
    pub(crate) fn set_size(&mut self, label: &str, size: u64) {
        if let Some(mut entry) = self.entry(label).cloned() {
            entry.size = size;
            self.put(entry);
        }
    }

    /// Removes a file that was just added.
    pub(crate) fn take_back(&mut self, label: &str) {
        let Some(at) = self.labels.remove(label) else { return };
        if at < self.entries.len() {
            let entry = self.entries.remove(at);
            self.tokens.remove(&entry.token);
            self.size = self.size.saturating_sub(format::size_of(&entry));
        }
        self.labels.values_mut().filter(|place| **place > at).for_each(|place| *place -= 1);
    }

    /// Bytes that the record needs.
    pub(crate) fn record_size(&self) -> usize {
        self.size.saturating_add(format::MOST_AROUND)
    }
}

fn token_taken(token: Token) -> Error {
    let why = format!("another file has the token {token}, or it is reserved");
    Error::new(ErrorKind::TokenTaken, why).about(token)
}

#[cfg(test)]
mod tests;
