// SPDX-License-Identifier: MIT OR Apache-2.0

//! A session for the next kernel together with its manifest.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{fcntl_get_seals, fstat};

use crate::manifest::Record;
use crate::{Entry, Error, ErrorKind, Failed, Manifest, OutgoingSession, Result, Token, sys};

/// A session for the next kernel, whose files have labels and states.
///
/// Files may be preserved long before an update, and by several threads at once. The state of a file may
/// be final only when the guest is paused: [`Handover::set_state`] changes it until
/// [`Handover::ready`] completes the manifest.
///
/// Dropping it closes the session. Without a custodian this undoes everything: no file goes to the next
/// kernel, and nothing else happens to them. An agent or the service manager still holds the session then;
/// [`Provider::discard`](crate::Provider::discard) tells them to give it up.
///
/// ```no_run
/// use liblu::{Handover, LiveUpdate};
///
/// let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?;
/// let handover = Handover::new(LiveUpdate::new().create(&"vm-17".parse()?)?)?;
/// // While the guest runs:
/// handover.preserve("memory", &memory)?;
/// // When it is paused:
/// handover.set_state("memory", b"used=4096")?;
/// let ready = handover.ready()?;
/// // From here on, the process waits for the kexec, or calls `ready.abort()`.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Handover {
    session: OutgoingSession,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// With the files that are being preserved.
    manifest: Manifest,
    record: Record,
    /// The last token that was chosen here.
    last: u64,
}

/// Tokens that are tried for a file, if the session has files without labels.
const MOST_TRIES: usize = 1000;

/// A session whose manifest is complete. It must stay open until `reboot(2)`.
///
/// ```no_run
/// # let handover = liblu::Handover::new(liblu::LiveUpdate::new().create(&"vm-17".parse()?)?)?;
/// let ready = handover.ready()?;
/// // The update is off:
/// let handover = ready.abort()?;
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it undoes everything"]
pub struct Ready(Handover);

impl Handover {
    /// A handover without files. The session gets its manifest at once, which is completed later.
    ///
    /// # Errors
    ///
    /// Those of [`OutgoingSession::preserve`]; [`ErrorKind::NoResources`] without memory for the manifest.
    ///
    /// ```no_run
    /// # let session = liblu::LiveUpdate::new().create(&"vm-17".parse()?)?;
    /// let handover = liblu::Handover::new(session)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn new(session: OutgoingSession) -> Result<Self> {
        let record = Record::new(&session)?;
        let state = State { manifest: Manifest::default(), record, last: 0 };
        Ok(Self { session, state: Mutex::new(state) })
    }

    /// Preserves a file under a label. It stays open here. The token is one more than the last one, from 1.
    ///
    /// Files that depend on each other must be preserved one after the other, in the order in which they
    /// do. For memfds there is no order: several threads may preserve them side by side.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`], [`ErrorKind::LabelTaken`], [`ErrorKind::TooLarge`], and those of
    /// [`OutgoingSession::preserve`]. Nothing has changed then.
    ///
    /// ```no_run
    /// # let handover = liblu::Handover::new(liblu::LiveUpdate::new().create(&"vm-17".parse()?)?)?;
    /// # let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?;
    /// let token = handover.preserve("memory", &memory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn preserve(&self, label: &str, file: impl AsFd) -> Result<Token> {
        let file = file.as_fd();
        let mut tries = 0;
        loop {
            match self.preserve_under(None, label, file) {
                // The session has files without labels.
                Err(error) if error.kind() == ErrorKind::TokenTaken && tries < MOST_TRIES => {
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    /// As [`Handover::preserve`], under a token of the client's choice.
    ///
    /// # Errors
    ///
    /// Those of [`Handover::preserve`].
    ///
    /// ```no_run
    /// # let handover = liblu::Handover::new(liblu::LiveUpdate::new().create(&"vm-17".parse()?)?)?;
    /// # let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?;
    /// handover.preserve_as(liblu::Token::from(0x1000), "memory", &memory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn preserve_as(&self, token: Token, label: &str, file: impl AsFd) -> Result<()> {
        self.preserve_under(Some(token), label, file.as_fd()).map(drop)
    }

    fn preserve_under(
        &self,
        token: Option<Token>,
        label: &str,
        file: BorrowedFd<'_>,
    ) -> Result<Token> {
        let kind = kind(file);
        let token = self.lock().reserve(token, label, kind, &self.session)?;
        // No lock is held: other threads preserve their files meanwhile.
        if let Err(error) = self.session.preserve(token, file) {
            let mut state = self.lock();
            state.manifest.take_back(label);
            // Only a token that the session has must be passed over.
            if error.kind() != ErrorKind::TokenTaken && state.last == token.get() {
                state.last -= 1;
            }
            return Err(error);
        }
        // The size is fixed from the ioctl on.
        let size = fstat(file).map(|stat| stat.st_size).unwrap_or_default();
        self.lock().manifest.set_size(label, u64::try_from(size).unwrap_or_default());
        Ok(token)
    }

    /// Sets the client's own bytes about a file, in place of those before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoFile`]; [`ErrorKind::TooLarge`] if there are more than [`Manifest::MAX_STATE`] bytes,
    /// or too many in all. Nothing has changed then.
    ///
    /// ```no_run
    /// # let handover = liblu::Handover::new(liblu::LiveUpdate::new().create(&"vm-17".parse()?)?)?;
    /// handover.set_state("memory", b"used=4096")?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn set_state(&self, label: &str, state: &[u8]) -> Result<()> {
        if state.len() > Manifest::MAX_STATE {
            let (max, there) = (Manifest::MAX_STATE, state.len());
            let why = format!(
                "the state of a file has at most {max} bytes, not {there}; keep bulk state in a memfd"
            );
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        self.lock().set_state(label, state, &self.session)
    }

    /// Completes the manifest: the last step before the update. From here on, nothing is added.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if the manifest cannot be written. The handover comes back.
    ///
    /// ```no_run
    /// # let handover = liblu::Handover::new(liblu::LiveUpdate::new().create(&"vm-17".parse()?)?)?;
    /// let ready = handover.ready()?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn ready(self) -> std::result::Result<Ready, Failed<Self>> {
        let state = self.lock();
        let completed = state.record.complete(&state.manifest);
        drop(state);
        match completed {
            Ok(()) => Ok(Ready(self)),
            Err(error) => Err(Failed::new(self, error)),
        }
    }

    /// The session itself, for files without a label.
    ///
    /// ```no_run
    /// # let handover = liblu::Handover::new(liblu::LiveUpdate::new().create(&"vm-17".parse()?)?)?;
    /// println!("{}", handover.session().name()?);
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn session(&self) -> &OutgoingSession {
        &self.session
    }

    /// The manifest as it is now.
    ///
    /// ```no_run
    /// # let handover = liblu::Handover::new(liblu::LiveUpdate::new().create(&"vm-17".parse()?)?)?;
    /// assert!(handover.manifest().entries().is_empty());
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn manifest(&self) -> Manifest {
        self.lock().manifest.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes a file down that is about to be preserved.
    fn reserve(
        &mut self,
        token: Option<Token>,
        label: &str,
        kind: String,
        session: &OutgoingSession,
    ) -> Result<Token> {
        let next = self.manifest.last_token().max(self.last).checked_add(1).and_then(Token::new);
        let is_chosen_here = token.is_none();
        let token = token.or(next).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "no token follows the highest one; choose one")
        })?;
        self.manifest.check(label, token)?;
        if is_chosen_here {
            self.last = token.get();
        }
        self.manifest.put(Entry::new(label, token, kind));
        let reserved = self.record.reserve(self.manifest.record_size(), session);
        reserved.inspect_err(|_| self.manifest.take_back(label))?;
        Ok(token)
    }

    fn set_state(&mut self, label: &str, bytes: &[u8], session: &OutgoingSession) -> Result<()> {
        let before = self.manifest.expect(label)?.clone();
        let mut entry = before.clone();
        bytes.clone_into(entry.state_mut());
        self.manifest.put(entry);
        let reserved = self.record.reserve(self.manifest.record_size(), session);
        reserved.inspect_err(|_| self.manifest.put(before))
    }
}

impl Ready {
    /// The update is off: the files stay preserved for the next one, and the manifest is open again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if the manifest cannot be written. The session comes back.
    ///
    /// ```no_run
    /// # let handover = liblu::Handover::new(liblu::LiveUpdate::new().create(&"vm-17".parse()?)?)?;
    /// # let ready = handover.ready()?;
    /// let handover = ready.abort()?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn abort(self) -> std::result::Result<Handover, Failed<Self>> {
        let reopened = self.0.lock().record.reopen();
        match reopened {
            Ok(()) => Ok(self.0),
            Err(error) => Err(Failed::new(self, error)),
        }
    }

    /// The bare descriptor of the session, for a custodian. Closing the last one undoes everything.
    ///
    /// ```no_run
    /// # let handover = liblu::Handover::new(liblu::LiveUpdate::new().create(&"vm-17".parse()?)?)?;
    /// let fd: std::os::fd::OwnedFd = handover.ready()?.into_fd();
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn into_fd(self) -> OwnedFd {
        self.0.session.into_fd()
    }
}

impl AsFd for Handover {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.session.as_fd()
    }
}

impl AsFd for Ready {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The kind of a file: memfds have seals, and all others the text of their link.
fn kind(file: BorrowedFd<'_>) -> String {
    if fcntl_get_seals(file).is_ok() {
        return "memfd".into();
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = sys::link(path.as_ref()).unwrap_or_default();
    let link = String::from_utf8_lossy(&link);
    if link.starts_with('/') {
        return "file".into();
    }
    // The name of the one file follows in brackets or behind a blank.
    link.split(' ').next().unwrap_or_default().chars().take(64).collect()
}

#[cfg(test)]
mod tests;
