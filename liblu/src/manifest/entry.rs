// SPDX-License-Identifier: MIT OR Apache-2.0

//! A file in a manifest.

use crate::Token;

/// A file of a session, as the manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(super) label: String,
    pub(super) token: Token,
    pub(super) kind: String,
    pub(super) size: u64,
    pub(super) state: Vec<u8>,
}

impl Entry {
    /// A file of which the size and the state follow.
    pub(crate) fn new(label: &str, token: Token, kind: String) -> Self {
        Self { label: label.to_owned(), token, kind, size: 0, state: Vec::new() }
    }

    pub(crate) fn state_mut(&mut self) -> &mut Vec<u8> {
        &mut self.state
    }

    /// The client's name for the file.
    ///
    /// ```
    /// # let json = br#"{"format":"liblu-manifest","version":1,"files":[
    /// #     {"label":"memory","token":"0x1","kind":"memfd","size":4096,"state":"QUI="}]}"#;
    /// # let manifest = liblu::Manifest::from_json(json)?;
    /// # let entry = manifest.entry("memory").unwrap();
    /// assert_eq!(entry.label(), "memory");
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The token of the file in the session.
    ///
    /// ```
    /// # let json = br#"{"format":"liblu-manifest","version":1,"files":[
    /// #     {"label":"memory","token":"0x1","kind":"memfd","size":4096,"state":"QUI="}]}"#;
    /// # let manifest = liblu::Manifest::from_json(json)?;
    /// # let entry = manifest.entry("memory").unwrap();
    /// assert_eq!(entry.token().get(), 1);
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn token(&self) -> Token {
        self.token
    }

    /// The kind of the file: `memfd`, `file`, or the beginning of the text of its link, such as
    /// `anon_inode:kvm-vm`. Empty if `/proc` could not be read.
    ///
    /// ```
    /// # let json = br#"{"format":"liblu-manifest","version":1,"files":[
    /// #     {"label":"memory","token":"0x1","kind":"memfd","size":4096,"state":"QUI="}]}"#;
    /// # let manifest = liblu::Manifest::from_json(json)?;
    /// # let entry = manifest.entry("memory").unwrap();
    /// assert_eq!(entry.kind(), "memfd");
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its size in bytes when it was preserved; 0 if it has none.
    ///
    /// ```
    /// # let json = br#"{"format":"liblu-manifest","version":1,"files":[
    /// #     {"label":"memory","token":"0x1","kind":"memfd","size":4096,"state":"QUI="}]}"#;
    /// # let manifest = liblu::Manifest::from_json(json)?;
    /// # let entry = manifest.entry("memory").unwrap();
    /// assert_eq!(entry.size(), 4096);
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The client's own bytes about it.
    ///
    /// ```
    /// # let json = br#"{"format":"liblu-manifest","version":1,"files":[
    /// #     {"label":"memory","token":"0x1","kind":"memfd","size":4096,"state":"QUI="}]}"#;
    /// # let manifest = liblu::Manifest::from_json(json)?;
    /// # let entry = manifest.entry("memory").unwrap();
    /// assert_eq!(entry.state(), b"AB");
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn state(&self) -> &[u8] {
        &self.state
    }
}
