// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each source of sessions: what it knows of a label.

use std::path::Path;
use std::time::Instant;

use rustix::io::Errno;

use super::claimed::{Claimed, Custodian};
use super::{Claim, owner};
use crate::fd_store::{FdStore, Stored};
use crate::{
    Agent, Backoff, Error, ErrorKind, Handover, IncomingSession, LiveUpdate, OutgoingSession,
    Result, SessionName,
};

/// A source of sessions.
#[derive(Debug)]
pub(super) enum Source {
    Agent(Agent),
    /// The device may know more about a session than the service manager.
    FdStore(FdStore, LiveUpdate),
    /// The names that an agent would have given to the sessions of this process may be there too.
    Device(LiveUpdate, Vec<String>),
}

impl Source {
    /// The session, or the word that it did not come; `None` if another source may have it.
    pub(super) fn claim(&self, label: &str, deadline: Option<Instant>) -> Result<Option<Claim>> {
        let session = match self {
            Self::Agent(agent) => match agent.claim(label, deadline) {
                Ok(session) => Claimed::new(session, label, Custodian::Agent(agent.clone())),
                Err(error) if error.kind() == ErrorKind::NoSession => return Ok(None),
                // An earlier run has finished it, and could not say so any more.
                Err(error) if error.kind() == ErrorKind::WrongDirection => {
                    agent.restored(label, deadline)?;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
            Self::FdStore(store, device) => match store.get(label)? {
                Stored::Incoming(session) => {
                    Claimed::new(session, label, Custodian::FdStore(store.clone()))
                }
                Stored::Fresh(session) => match old_session(&until(device, deadline), &session)? {
                    Some(old) => Claimed::new(old, label, Custodian::Nobody),
                    None => return Ok(Some(Claim::ColdStart)),
                },
                Stored::Finished => return Ok(Some(Claim::ColdStart)),
                Stored::Absent => return Ok(None),
            },
            Self::Device(device, owners) => {
                let device = until(device, deadline);
                match first(&device, label, owners)? {
                    Some(session) => Claimed::new(session, label, Custodian::Nobody),
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(Claim::Session(session)))
    }

    pub(super) fn open(&self, label: &str, deadline: Option<Instant>) -> Result<Option<Handover>> {
        match self {
            Self::Agent(agent) => {
                let open = || Handover::new(agent.open(label, deadline)?);
                match open() {
                    // An earlier run has left it.
                    Err(error) if error.kind() == ErrorKind::TokenTaken => {
                        agent.discard(label, deadline)?;
                        open().map(Some)
                    }
                    other => other.map(Some),
                }
            }
            Self::FdStore(store, _) => match store.get(label)? {
                Stored::Fresh(session) => match Handover::new(session) {
                    Err(error) if error.kind() == ErrorKind::TokenTaken => {
                        store.forget(label, deadline)?;
                        let why = format!(
                            "an earlier run of this service has left files in the session {label:?}; \
                             it is given up, and there is a new one when the service is started again"
                        );
                        Err(Error::new(ErrorKind::NameTaken, why))
                    }
                    other => other.map(Some),
                },
                Stored::Incoming(_) => {
                    let why =
                        format!("the session {label:?} of the previous kernel is not finished");
                    Err(Error::new(ErrorKind::NameTaken, why))
                }
                Stored::Finished => {
                    let why = format!(
                        "this kernel cannot use the session {label:?} again; there is a new one when the \
                         service is started again"
                    );
                    Err(Error::new(ErrorKind::NameTaken, why))
                }
                Stored::Absent => Ok(None),
            },
            Self::Device(device, _) => {
                let session = until(device, deadline).create(&name(label)?)?;
                Handover::new(session).map(Some)
            }
        }
    }
}

/// Whether there should be an agent. What cannot be looked at is there.
pub(super) fn is_installed(agent: &Agent) -> bool {
    let is_there = |path: &Path| match rustix::fs::stat(path) {
        Err(errno) => !matches!(errno, Errno::NOENT | Errno::NOTDIR),
        Ok(_) => true,
    };
    is_there(agent.path()) || agent.path().parent().is_some_and(is_there)
}

/// The session of the previous kernel in place of which the service manager has created one, if the device
/// can say.
fn old_session(device: &LiveUpdate, fresh: &OutgoingSession) -> Result<Option<IncomingSession>> {
    match device.retrieve(&fresh.name()?) {
        Ok(session) => Ok(Some(session)),
        Err(error) => match error.kind() {
            ErrorKind::NoSession | ErrorKind::NoPermission | ErrorKind::Unavailable => Ok(None),
            _ => Err(error),
        },
    }
}

/// The session of the device with this label, by its own name or by one that an agent has given to it.
fn first(device: &LiveUpdate, label: &str, owners: &[String]) -> Result<Option<IncomingSession>> {
    let names = [name(label)].into_iter().chain(owner::names(owners, label));
    for name in names {
        match device.retrieve(&name?) {
            Ok(session) => return Ok(Some(session)),
            Err(error) if error.is_cold_start() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The device, waited for until the deadline and no longer than it is willing to.
fn until(device: &LiveUpdate, deadline: Option<Instant>) -> LiveUpdate {
    let Some(deadline) = deadline else { return device.clone() };
    let left = deadline.saturating_duration_since(Instant::now());
    let backoff = device.backoff();
    device.clone().with_backoff(Backoff { total: backoff.total.min(left), ..backoff })
}

/// The name of a session on the device.
fn name(label: &str) -> Result<SessionName> {
    #[cfg(feature = "hash")]
    return SessionName::of_label(label);
    #[cfg(not(feature = "hash"))]
    if label.starts_with("lu-") {
        let why = "a label that begins with `lu-` takes the feature `hash`";
        return Err(Error::new(ErrorKind::InvalidName, why));
    }
    #[cfg(not(feature = "hash"))]
    SessionName::new(label)
}
