// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a session holds, by label.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::io::{Errno, pread};

use crate::{Error, IncomingSession, OutgoingSession, Token, sys};

mod format;

/// A record of what a session holds, kept in the session itself under [`Token::MANIFEST`].
///
/// Whoever is started after the update finds its files by label, with the few bytes that it wants to
/// know about each. The record is JSON in a sealed memfd, so that others can read it too; readers
/// ignore what they do not know, and refuse what a later version says they must not.
///
/// ```no_run
/// use liblu::{LiveUpdate, Manifest};
///
/// let name = "cache".parse()?;
/// let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?;
/// let session = LiveUpdate::new().create(&name)?;
/// let mut manifest = Manifest::new();
/// manifest.preserve(&session, "memory", &memory, b"used=4096")?;
/// manifest.seal(&session)?;
///
/// // In the next kernel:
/// let session = LiveUpdate::new().retrieve(&name)?;
/// let manifest = Manifest::of(&session)?;
/// let memory = manifest.retrieve(&session, "memory")?;
/// assert_eq!(manifest.entry("memory").unwrap().state(), b"used=4096");
/// session.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    /// Where each label is.
    labels: HashMap<String, usize>,
    tokens: BTreeSet<Token>,
    /// Bytes of all entries in the record.
    size: u64,
}

/// What a manifest says about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    label: String,
    token: Token,
    kind: String,
    size: u64,
    state: Vec<u8>,
}

impl Entry {
    /// What the client calls the file.
    ///
    /// ```
    /// # let json = br#"{"format":"liblu-manifest","version":1,"files":[
    /// #     {"label":"memory","token":"0x1","kind":"memfd","size":4096,"state":"QUI="}]}"#;
    /// # let manifest = liblu::Manifest::from_json(json)?;
    /// # let entry = manifest.entry("memory").unwrap();
    /// assert_eq!(entry.label(), "memory");
    /// # Ok::<(), liblu::ManifestError>(())
    /// ```
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What the kernel calls it.
    ///
    /// ```
    /// # let json = br#"{"format":"liblu-manifest","version":1,"files":[
    /// #     {"label":"memory","token":"0x1","kind":"memfd","size":4096,"state":"QUI="}]}"#;
    /// # let manifest = liblu::Manifest::from_json(json)?;
    /// # let entry = manifest.entry("memory").unwrap();
    /// assert_eq!(entry.token().get(), 1);
    /// # Ok::<(), liblu::ManifestError>(())
    /// ```
    pub fn token(&self) -> Token {
        self.token
    }

    /// What kind of file it was: `memfd`, or the beginning of the text of its link, such as
    /// `anon_inode:kvm-vm`.
    ///
    /// ```
    /// # let json = br#"{"format":"liblu-manifest","version":1,"files":[
    /// #     {"label":"memory","token":"0x1","kind":"memfd","size":4096,"state":"QUI="}]}"#;
    /// # let manifest = liblu::Manifest::from_json(json)?;
    /// # let entry = manifest.entry("memory").unwrap();
    /// assert_eq!(entry.kind(), "memfd");
    /// # Ok::<(), liblu::ManifestError>(())
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
    /// # Ok::<(), liblu::ManifestError>(())
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
    /// # Ok::<(), liblu::ManifestError>(())
    /// ```
    pub fn state(&self) -> &[u8] {
        &self.state
    }
}

/// Why a manifest could not be written or read.
///
/// ```
/// use liblu::{Manifest, ManifestError};
///
/// assert!(matches!(Manifest::from_json(b"{}"), Err(ManifestError::Malformed(_))));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A label is empty, or has more than 255 bytes.
    #[error("a label has 1 to {max} bytes, not {0}", max = Manifest::MAX_LABEL)]
    Label(usize),
    /// Another file has the label.
    #[error("there is a file called `{0}` already")]
    LabelTaken(String),
    /// No file has the label.
    #[error("there is no file called `{0}`")]
    NoLabel(String),
    /// Another file has the token.
    #[error("two files have the token {0}")]
    TokenTaken(Token),
    /// The highest token is taken: choose one.
    #[error("no token follows the highest one")]
    NoToken,
    /// The record would have more than 16 MiB.
    #[error("a manifest has at most {max} bytes, not {0}", max = Manifest::MAX_SIZE)]
    TooLarge(u64),
    /// It was written by a later version, whose rules are not known here.
    #[error("the manifest is of version {found}; {known} is the last that is known here")]
    Version {
        /// What it says.
        found: u64,
        /// What is understood here.
        known: u64,
    },
    /// It is not what a manifest is.
    #[error("this is no manifest: {0}")]
    Malformed(String),
    /// The session failed.
    #[error(transparent)]
    Session(#[from] Error),
}

impl ManifestError {
    /// The kernel's number that comes nearest.
    ///
    /// ```
    /// use liblu::ManifestError;
    ///
    /// assert_eq!(ManifestError::Label(0).errno(), rustix::io::Errno::INVAL);
    /// ```
    pub fn errno(&self) -> Errno {
        match self {
            Self::Label(_) | Self::NoToken => Errno::INVAL,
            Self::LabelTaken(_) | Self::TokenTaken(_) => Errno::EXIST,
            Self::NoLabel(_) => Errno::NOENT,
            Self::TooLarge(_) => Errno::TOOBIG,
            Self::Version { .. } => Errno::PROTONOSUPPORT,
            Self::Malformed(_) => Errno::BADMSG,
            Self::Session(error) => error.errno(),
        }
    }
}

impl Manifest {
    /// Bytes of the whole record at most.
    ///
    /// ```
    /// assert_eq!(liblu::Manifest::MAX_SIZE, 16 << 20);
    /// ```
    pub const MAX_SIZE: u64 = 16 << 20;

    /// Bytes of a label at most.
    ///
    /// ```
    /// assert_eq!(liblu::Manifest::MAX_LABEL, 255);
    /// ```
    pub const MAX_LABEL: usize = 255;

    /// A record of nothing.
    ///
    /// ```
    /// assert!(liblu::Manifest::new().entries().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Preserves a file and writes down what it is. The token is one more than the highest so far.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Label`], [`ManifestError::LabelTaken`], [`ManifestError::TooLarge`], and those
    /// of [`OutgoingSession::preserve`]. Nothing has changed then.
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().create(&"cache".parse()?)?;
    /// # let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?;
    /// let token = liblu::Manifest::new().preserve(&session, "memory", &memory, b"")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn preserve(
        &mut self,
        session: &OutgoingSession,
        label: &str,
        file: impl AsFd,
        state: &[u8],
    ) -> Result<Token, ManifestError> {
        let last = self.tokens.last().map_or(0, |token| token.get());
        let token = last.checked_add(1).and_then(Token::new).ok_or(ManifestError::NoToken)?;
        self.preserve_as(session, token, label, file, state)?;
        Ok(token)
    }

    /// Like [`Manifest::preserve`], under a token of the client's choice.
    ///
    /// # Errors
    ///
    /// Those of [`Manifest::preserve`].
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().create(&"vm-17".parse()?)?;
    /// # let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?;
    /// let token = liblu::Token::from(0x1000);
    /// liblu::Manifest::new().preserve_as(&session, token, "memory", &memory, b"")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn preserve_as(
        &mut self,
        session: &OutgoingSession,
        token: Token,
        label: &str,
        file: impl AsFd,
        state: &[u8],
    ) -> Result<(), ManifestError> {
        let file = file.as_fd();
        let size = fstat(file).map(|stat| stat.st_size).unwrap_or_default();
        let entry = Entry {
            label: label.to_owned(),
            token,
            kind: kind(file),
            size: u64::try_from(size).unwrap_or_default(),
            state: state.to_vec(),
        };
        self.check(&entry)?;
        let size = format::size_of(&entry);
        check_size(self.size.saturating_add(size).saturating_add(format::MOST_AROUND))?;
        session.preserve(token, file)?;
        self.add(entry, size);
        Ok(())
    }

    /// Writes the record into the session: the last thing to do before the update.
    ///
    /// # Errors
    ///
    /// [`ManifestError::TooLarge`] if it came from [`Manifest::from_json`], those of
    /// [`OutgoingSession::preserve`], and what the system says if there is no memory.
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().create(&"cache".parse()?)?;
    /// liblu::Manifest::new().seal(&session)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn seal(&self, session: &OutgoingSession) -> Result<(), ManifestError> {
        let json = self.to_json();
        check_size(u64::try_from(json.len()).unwrap_or(u64::MAX))?;
        let record = record(&json)
            .map_err(|source| Error::System { doing: "make the manifest's memfd", source })?;
        Ok(session.preserve(Token::MANIFEST, record)?)
    }

    /// Reads the record of a session.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`] if the session has none, those of [`Manifest::from_json`], and the others of
    /// [`IncomingSession::retrieve`].
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().retrieve(&"cache".parse()?)?;
    /// let manifest = liblu::Manifest::of(&session)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(session: &IncomingSession) -> Result<Self, ManifestError> {
        let record = session.retrieve(Token::MANIFEST)?;
        let failed = |source| Error::System { doing: "read the manifest", source };
        let size = fstat(&record).map_err(failed)?.st_size;
        check_size(u64::try_from(size).unwrap_or(u64::MAX)).map_err(format::malformed)?;
        let size = usize::try_from(size).unwrap_or_default();
        let mut json = Vec::new();
        json.try_reserve_exact(size).map_err(|_| failed(Errno::NOMEM))?;
        json.resize(size, 0);
        let mut there = 0;
        while let Some(rest) = json.get_mut(there..).filter(|rest| !rest.is_empty()) {
            match pread(&record, rest, u64::try_from(there).unwrap_or(u64::MAX)) {
                Ok(0) => break,
                Ok(count) => there += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno).into()),
            }
        }
        Self::from_json(json.get(..there).unwrap_or_default())
    }

    /// Retrieves the file that the client calls `label`.
    ///
    /// # Errors
    ///
    /// [`ManifestError::NoLabel`], and those of [`IncomingSession::retrieve`].
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().retrieve(&"cache".parse()?)?;
    /// let memory = liblu::Manifest::of(&session)?.retrieve(&session, "memory")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retrieve(
        &self,
        session: &IncomingSession,
        label: &str,
    ) -> Result<OwnedFd, ManifestError> {
        let entry = self.entry(label).ok_or_else(|| ManifestError::NoLabel(label.to_owned()))?;
        Ok(session.retrieve(entry.token)?)
    }

    /// What there is, in the order in which it was preserved.
    ///
    /// ```
    /// for entry in liblu::Manifest::new().entries() {
    ///     println!("{} is {} bytes of {}", entry.label(), entry.size(), entry.kind());
    /// }
    /// ```
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What is called `label`.
    ///
    /// ```
    /// assert!(liblu::Manifest::new().entry("memory").is_none());
    /// ```
    pub fn entry(&self, label: &str) -> Option<&Entry> {
        self.labels.get(label).and_then(|at| self.entries.get(*at))
    }

    /// Whether an entry keeps the rules.
    fn check(&self, entry: &Entry) -> Result<(), ManifestError> {
        if entry.label.is_empty() || entry.label.len() > Self::MAX_LABEL {
            return Err(ManifestError::Label(entry.label.len()));
        }
        if self.entry(&entry.label).is_some() {
            return Err(ManifestError::LabelTaken(entry.label.clone()));
        }
        // The record itself has this one.
        if entry.token == Token::MANIFEST || self.tokens.contains(&entry.token) {
            return Err(ManifestError::TokenTaken(entry.token));
        }
        Ok(())
    }

    /// Adds an entry that was checked, and takes so many bytes in the record.
    fn add(&mut self, entry: Entry, size: u64) {
        self.size = self.size.saturating_add(size);
        self.labels.insert(entry.label.clone(), self.entries.len());
        self.tokens.insert(entry.token);
        self.entries.push(entry);
    }
}

fn check_size(size: u64) -> Result<(), ManifestError> {
    if size <= Manifest::MAX_SIZE { Ok(()) } else { Err(ManifestError::TooLarge(size)) }
}

/// A sealed memfd with these bytes.
fn record(json: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut record = File::from(memfd_create("liblu-manifest", flags)?);
    record.write_all(json).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&record, seals)?;
    Ok(record.into())
}

/// What kind of file it is, by the text of its link.
fn kind(file: impl AsFd) -> String {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let link = sys::link(path.as_ref()).unwrap_or_default();
    let link = String::from_utf8_lossy(&link);
    if link.starts_with("/memfd:") {
        return "memfd".into();
    }
    if link.starts_with('/') {
        return "file".into();
    }
    // What follows in brackets or behind a blank is the name of one such file.
    link.split(' ').next().unwrap_or_default().chars().take(64).collect()
}

#[cfg(test)]
mod tests;
