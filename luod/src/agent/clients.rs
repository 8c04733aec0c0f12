// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions of clients: opened, claimed, restored, discarded.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use liblu::{ErrorKind, SessionName};
use rustix::time::{ClockId, clock_gettime};

use super::error::{committing, invalid_label};
use super::start::{Stored, Unknown};
use super::{Agent, Held, Session, Source, State};
use crate::custody::{Claimed, Key, Released};
use crate::label::Label;
use crate::policy::{Admission, Decision};
use crate::process::Process;
use crate::registry::{Claim, Direction, Entry, Number, StoreName};
use crate::system::formats::files;
use crate::system::peer::{Life, Peer};
use crate::update::Phase;
use crate::varlink::agent::{self as words, Error};

impl Agent {
    /// The decision of the policy on a peer, if it may take part.
    pub(super) fn admit(&self, peer: &Peer) -> Result<Decision, Error> {
        let decision = self.state().policy.of(&peer.owner, &peer.credentials);
        if decision.admission == Admission::Admitted {
            return Ok(decision);
        }
        let by = decision.by.map_or_else(
            || "only services and root may take part without a rule".to_owned(),
            |place| format!("the rule at {place} says so"),
        );
        let message = format!(
            "the policy does not let {} take part in updates: {by}; ask the administrator for a rule in \
             /etc/luod/luod.toml",
            peer.owner
        );
        Err(Error::NotAllowed { message })
    }

    fn key(peer: &Peer, label: &str) -> Result<Key, Error> {
        let parsed = label.parse().map_err(|error| invalid_label(label, error))?;
        Ok(Key { owner: peer.owner.clone(), label: parsed })
    }

    /// The outgoing session of this label, which is created if there is none.
    ///
    /// # Errors
    ///
    /// Those of `Open()` in the interface.
    pub async fn open(
        self: &Rc<Self>,
        peer: &Peer,
        label: &str,
    ) -> Result<(OwnedFd, SessionName), Error> {
        let decision = self.admit(peer)?;
        let key = Self::key(peer, label)?;
        let name = key.owner.session_name(&key.label)?;
        let mut refused = None;
        let opened = self.create(&name, |device| {
            let mut state = self.state();
            if let Some(there) = state.opened(&key, peer.process) {
                return Ok(there);
            }
            if let Err(error) = state.may_create(&key, &decision) {
                refused = Some(error);
                return Ok(None);
            }
            let there = state.take_unknown(&name, Direction::Outgoing);
            let (number, held) = match there {
                Some(there) => there,
                None => (None, Held::outgoing(device.create(&name)?)),
            };
            let made_for = state.generation();
            let entry = Entry::new(
                key.owner.clone(),
                key.label.clone(),
                crate::registry::State::Open,
                made_for,
            )?;
            refused = state.take(number, entry, Some(peer.process), held).err();
            Ok(state.opened(&key, peer.process).flatten())
        });
        let opened = opened.await;
        if let Some(error) = refused {
            return Err(error);
        }
        let (fd, name) = opened.map_err(|error| taken(&name, error))?.ok_or_else(gone)?;
        self.watch(peer.process, peer.life.clone());
        self.mark_dirty();
        self.flush().await?;
        Ok((fd, name))
    }

    /// The incoming session of this label.
    ///
    /// # Errors
    ///
    /// Those of `Claim()` in the interface.
    pub async fn claim(
        self: &Rc<Self>,
        peer: &Peer,
        label: &str,
    ) -> Result<(OwnedFd, SessionName, Source), Error> {
        self.admit(peer)?;
        let key = Self::key(peer, label)?;
        let claim = Claim::new(peer.process, since_boot());
        if let Some(claimed) = self.claim_in_custody(&key, claim)? {
            self.watch(peer.process, peer.life.clone());
            self.mark_dirty();
            return Ok(claimed);
        }
        // It is in custody unless luod has lost its registry: the kernel knows it then.
        let name = key.owner.session_name(&key.label)?;
        if self.state().restored.contains(&name) {
            return Err(no_session(&key.label));
        }
        let retrieved = self.with_device(|device| {
            let mut state = self.state();
            if state.custody.find(&key, Direction::Incoming).is_some() {
                return Ok(Ok(()));
            }
            let there = state.take_unknown(&name, Direction::Incoming);
            let (number, held) = if let Some(there) = there {
                there
            } else {
                // Retrieved and not stored, it would be lost with luod.
                if let Err(full) = state.store.check_room() {
                    return Ok(Err(full.into()));
                }
                (None, state.incoming(device.retrieve(&name)?, Source::Kernel))
            };
            let waiting = crate::registry::State::Waiting;
            let entry = Entry::new(key.owner.clone(), key.label.clone(), waiting, None)?;
            Ok(state.take(number, entry, None, held))
        });
        match retrieved.await {
            Ok(result) => result?,
            Err(error) if error.kind() == ErrorKind::NoSession => {
                return Err(no_session(&key.label));
            }
            Err(error) => return Err(error.into()),
        }
        let claimed = self.claim_in_custody(&key, claim)?;
        self.watch(peer.process, peer.life.clone());
        self.mark_dirty();
        self.flush().await?;
        claimed.ok_or_else(|| no_session(&key.label))
    }

    /// Claims a session that is in custody. One that its client has finished is none any more.
    fn claim_in_custody(
        self: &Rc<Self>,
        key: &Key,
        claim: Claim,
    ) -> Result<Option<(OwnedFd, SessionName, Source)>, Error> {
        self.forget_dead_holder(key);
        let mut state = self.state();
        let Some(number) = state.custody.find(key, Direction::Incoming) else { return Ok(None) };
        let entry = state.custody.registry().get(number).map(Entry::state);
        if let Some(crate::registry::State::Claimed(other)) = entry
            && other.by != claim.by
        {
            return Err(held_by(&key.label, other));
        }
        let Some(held) = state.custody.fd(number) else { return Ok(None) };
        if held.is_finished()? {
            let finished = state.custody.remove(number);
            drop(state);
            if let Some(finished) = finished {
                tracing::info!("session {:?} of {} was finished", key.label.as_str(), key.owner);
                self.end_custody(finished);
            }
            return Err(no_session(&key.label));
        }
        // All that can fail comes before the claim, which holds others off.
        let (fd, source) = (held.copy()?, held.source);
        match state.custody.claim(key, claim) {
            Claimed::Held(other) => Err(held_by(&key.label, &other)),
            Claimed::Absent => Ok(None),
            Claimed::Session(..) => {
                let name = state.custody.registry().get(number).map(|entry| *entry.name());
                Ok(name.map(|name| (fd, name, source)))
            }
        }
    }

    /// A process that has claimed this session and has ended must not hold it, also if nobody watches it.
    fn forget_dead_holder(self: &Rc<Self>, key: &Key) {
        let holder = {
            let state = self.state();
            let number = state.custody.find(key, Direction::Incoming);
            let entry = number.and_then(|number| state.custody.registry().get(number));
            match entry.map(Entry::state) {
                Some(crate::registry::State::Claimed(claim)) => claim.by,
                _ => return,
            }
        };
        if matches!(Life::find(holder), Ok(None)) {
            self.ended(holder);
        }
    }

    /// The custody of an incoming session ends for good.
    fn end_custody(&self, released: Released<Held>) {
        self.state().restored.insert(*released.entry.name());
        self.give_up(released);
    }

    /// The client has all that it needs of an incoming session.
    ///
    /// # Errors
    ///
    /// Those of `Restored()` in the interface.
    pub async fn restored(&self, peer: &Peer, label: &str) -> Result<(), Error> {
        self.admit(peer)?;
        let key = Self::key(peer, label)?;
        let released = {
            let mut state = self.state();
            let number = state.custody.find(&key, Direction::Incoming);
            let number = number.ok_or_else(|| no_session(&key.label))?;
            let entry = state.custody.registry().get(number).map(Entry::state);
            // A claim is forgotten if luod is killed just after it.
            let is_finished =
                || state.custody.fd(number).is_some_and(|it| it.is_finished().unwrap_or_default());
            if entry == Some(&crate::registry::State::Waiting) && !is_finished() {
                let message = format!(
                    "no process has claimed session {:?}, so none can have restored it; claim it first",
                    key.label.as_str()
                );
                return Err(Error::NotAllowed { message });
            }
            state.custody.remove(number)
        };
        self.end_custody(released.ok_or_else(|| no_session(&key.label))?);
        Ok(self.flush().await?)
    }

    /// The client gives an outgoing session up.
    ///
    /// # Errors
    ///
    /// Those of `Discard()` in the interface.
    pub async fn discard(&self, peer: &Peer, label: &str) -> Result<(), Error> {
        self.admit(peer)?;
        let key = Self::key(peer, label)?;
        let released = {
            let mut state = self.state();
            if matches!(state.machine.phase(), Phase::Committing { .. }) {
                return Err(Error::Committing { message: committing() });
            }
            let number = state.custody.find(&key, Direction::Outgoing);
            let other = number.and_then(|number| state.custody.other_client(number, peer.process));
            if let Some(other) = other {
                let message = format!(
                    "process {} has session {:?} open and lives; end it first",
                    other.pid,
                    key.label.as_str()
                );
                return Err(Error::NotAllowed { message });
            }
            state.custody.release(&key, Direction::Outgoing)
        };
        self.give_up(released.ok_or_else(|| not_open(&key.label))?);
        Ok(self.flush().await?)
    }

    /// The outgoing session of this label is complete.
    ///
    /// # Errors
    ///
    /// Those of `Keep()` in the interface.
    pub async fn keep(&self, peer: &Peer, label: &str) -> Result<(), Error> {
        self.admit(peer)?;
        let key = Self::key(peer, label)?;
        if !self.state().custody.keep(&key) {
            return Err(not_open(&key.label));
        }
        self.write_registry();
        Ok(self.flush().await?)
    }

    /// The sessions of a peer's owner.
    ///
    /// # Errors
    ///
    /// Those of `List()` in the interface.
    pub fn list(&self, peer: &Peer) -> Result<Vec<words::Session>, Error> {
        self.admit(peer)?;
        let state = self.state();
        let all = state.custody.registry().of_owner(&peer.owner);
        let count = |number| state.custody.fd(number).and_then(files).map(|files| files.len());
        Ok(all.map(|(number, entry)| session(entry, count(number))).collect())
    }
}

impl State {
    /// A copy of the outgoing session of this key, for one more process.
    #[expect(clippy::option_option, reason = "no session, and one that cannot be copied")]
    fn opened(&mut self, key: &Key, client: Process) -> Option<Option<(OwnedFd, SessionName)>> {
        let (number, held) = self.custody.open(key, client)?;
        let fd = held.copy().ok();
        let name = self.custody.registry().get(number).map(|entry| *entry.name());
        Some(fd.zip(name))
    }

    /// Whether one more session may be created for an owner.
    fn may_create(&self, key: &Key, decision: &Decision) -> Result<(), Error> {
        if matches!(self.machine.phase(), Phase::Committing { .. }) {
            return Err(Error::Committing { message: committing() });
        }
        let limit = decision.sessions;
        if self.custody.count(&key.owner) >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let message = format!(
                "the policy lets {} have {limit} sessions at a time; discard one, or ask the administrator \
                 for more (`sessions` of a rule)",
                key.owner
            );
            return Err(Error::TooManySessions { message, limit });
        }
        Ok(self.store.check_room()?)
    }

    /// Takes a session into custody, and puts it into the fd store, unless it has a number there.
    pub(super) fn take(
        &mut self,
        number: Option<Number>,
        entry: Entry,
        client: Option<Process>,
        held: Held,
    ) -> Result<(), Error> {
        let name = *entry.name();
        // A second name for an fd that is in the store would be ignored.
        let copy = match number {
            Some(_) => None,
            None => match held.copy() {
                Ok(copy) => Some(copy),
                Err(error) => {
                    self.set_aside(&name, number, held);
                    return Err(error.into());
                }
            },
        };
        let taken = match number {
            Some(number) => self.custody.insert_as(number, entry, client, held),
            None => self.custody.insert(entry, client, held),
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err((error, held)) => {
                self.set_aside(&name, number, held);
                let limit = u32::try_from(crate::registry::MAX_SESSIONS).unwrap_or(u32::MAX);
                return Err(Error::TooManySessions { message: error.to_string(), limit });
            }
        };
        self.given_up.remove(&name);
        if let Some(copy) = copy {
            self.store.keep(&StoreName::Session(taken), copy);
        }
        Ok(())
    }

    /// Keeps an incoming session that cannot be taken into custody, so that it can be claimed later. One for the
    /// next kernel, which nobody has yet, is closed.
    fn set_aside(&mut self, name: &SessionName, number: Option<Number>, held: Held) {
        match held.session {
            Session::Incoming(_) => {
                let fd = Stored::Session(held);
                self.unknown.push(Unknown { name: name.to_string(), number, fd });
            }
            Session::Outgoing(session) => super::close_elsewhere(session),
        }
    }

    /// An incoming session that luod has retrieved.
    pub(super) fn incoming(&self, session: liblu::IncomingSession, source: Source) -> Held {
        // Dropping one that nobody else has would destroy it on some kernels.
        let session = if self.store.is_managed() { session.held_elsewhere() } else { session };
        Held::incoming(session, source)
    }
}

/// A session as its owner sees it.
fn session(entry: &Entry, files: Option<usize>) -> words::Session {
    words::Session {
        label: entry.label().as_str().into(),
        session_name: entry.name().to_string(),
        direction: entry.state().direction().into(),
        state: entry.state().into(),
        files: files.and_then(|files| files.try_into().ok()),
    }
}

/// The time since boot.
pub(super) fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

fn no_session(label: &Label) -> Error {
    let message = format!(
        "no session {:?} came from the previous kernel, or it is restored: this is a cold start",
        label.as_str()
    );
    Error::NoSession { message, label: label.as_str().into() }
}

fn not_open(label: &Label) -> Error {
    let message = format!("no outgoing session {:?} is open", label.as_str());
    Error::NotOpen { message, label: label.as_str().into() }
}

fn held_by(label: &Label, claim: &Claim) -> Error {
    let since = since_boot().saturating_sub(claim.since());
    let message = format!(
        "process {} has claimed session {:?} and lives; end it first",
        claim.by.pid,
        label.as_str()
    );
    let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Error::Held { message, label: label.as_str().into(), pid: claim.by.pid, since }
}

/// Another program has created a session of this name.
fn taken(name: &SessionName, error: liblu::Error) -> Error {
    if error.kind() == ErrorKind::NameTaken {
        tracing::warn!("session {name} is there, and luod does not have it");
    }
    error.into()
}

fn gone() -> Error {
    let message = "luod has no file descriptor left for a copy of the session".to_owned();
    Error::KernelError { message, errno_name: "EMFILE".into(), errno: 24 }
}
