// SPDX-License-Identifier: MIT OR Apache-2.0

//! One way to be a client, wherever sessions come from.

use std::time::Instant;

use crate::fd_store::{FdStore, Stored};
use crate::{Agent, Error, ErrorKind, Handover, LiveUpdate, Participant, Result};

mod claimed;
mod owner;
mod source;

pub use claimed::{Claimed, Finished};
use source::{Source, is_installed};

/// The source of sessions, in the order in which they are asked.
///
/// ```
/// use liblu::{LiveUpdate, Provider, SourceKind};
///
/// let provider = Provider::device(LiveUpdate::new());
/// assert_eq!(provider.sources(), [SourceKind::Device]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceKind {
    /// An agent: `luod`.
    Agent,
    /// The service manager: sessions of `LUOSession=`, and those in the fd store of the service.
    FdStore,
    /// The device, which takes rights.
    Device,
}

/// A source of sessions by label: an agent, the service manager, or the device.
///
/// ```no_run
/// use std::time::{Duration, Instant};
/// use liblu::{Claim, Provider};
///
/// let soon = Some(Instant::now() + Duration::from_secs(10));
/// let provider = Provider::find()?;
/// match provider.claim("vm-17", soon)? {
///     Claim::Session(session) => {
///         let memory = session.retrieve("memory")?;
///         // The guest runs again; only then:
///         session.finish(soon)?;
///     }
///     Claim::ColdStart => println!("the guest starts from nothing"),
/// }
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Debug)]
pub struct Provider(Vec<Source>);

/// The outcome of a claim.
///
/// ```no_run
/// use liblu::{Claim, Provider};
///
/// if let Claim::ColdStart = Provider::find()?.claim("vm-17", None)? {
///     println!("the guest starts from nothing");
/// }
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each start of a program")]
pub enum Claim {
    /// The session came.
    Session(Claimed),
    /// Each source that could have it says that nothing came. No error is a cold start.
    ColdStart,
}

impl Provider {
    /// The sources that there are: the agent, if it is installed; the service manager, if it has passed
    /// sessions to this process; and the device, if there is no agent.
    ///
    /// An agent is there if its socket or the folder of the socket is. The device is asked for the names
    /// that an agent gives to the sessions of this process, too: so a session is found although the agent is
    /// not there any more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if the service manager has passed its descriptors wrongly.
    /// [`ErrorKind::Unsupported`] if it has passed sessions, and the kernel is older than 7.2.
    ///
    /// ```no_run
    /// let provider = liblu::Provider::find()?;
    /// println!("sessions come from {:?}", provider.sources());
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn find() -> Result<Self> {
        Ok(Self::of(Agent::new(), FdStore::find()?, LiveUpdate::new()))
    }

    fn of(agent: Agent, store: Option<FdStore>, device: LiveUpdate) -> Self {
        let store = store.map(|store| Source::FdStore(store, device.clone()));
        let first = if is_installed(&agent) {
            // An agent takes custody of all sessions, so the device has none besides.
            (Some(Source::Agent(agent)), None)
        } else {
            (None, Some(Source::Device(device, owner::of_this_process())))
        };
        Self(first.0.into_iter().chain(store).chain(first.1).collect())
    }

    /// An agent alone.
    ///
    /// ```
    /// let provider = liblu::Provider::agent(liblu::Agent::new());
    /// ```
    pub fn agent(agent: Agent) -> Self {
        Self(vec![Source::Agent(agent)])
    }

    /// The sessions that the service manager has passed to this process, alone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if it has passed none, and that of [`Provider::find`].
    ///
    /// ```no_run
    /// let provider = liblu::Provider::fd_store()?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn fd_store() -> Result<Self> {
        let none = || {
            let why = "the service manager has passed no session; set LUOSession= in the unit";
            Error::new(ErrorKind::Unsupported, why)
        };
        let store = FdStore::find()?.ok_or_else(none)?;
        Ok(Self(vec![Source::FdStore(store, LiveUpdate::new())]))
    }

    /// The device alone. The name of a session is its label, or a hash of it; without the feature `hash`,
    /// longer labels than 63 bytes and those that begin with `lu-` are refused.
    ///
    /// ```
    /// let provider = liblu::Provider::device(liblu::LiveUpdate::new());
    /// ```
    pub fn device(device: LiveUpdate) -> Self {
        Self(vec![Source::Device(device, Vec::new())])
    }

    /// The sources, in the order in which they are asked.
    ///
    /// ```
    /// let provider = liblu::Provider::agent(liblu::Agent::new());
    /// assert_eq!(provider.sources(), [liblu::SourceKind::Agent]);
    /// ```
    pub fn sources(&self) -> Vec<SourceKind> {
        let kind = |source: &Source| match source {
            Source::Agent(_) => SourceKind::Agent,
            Source::FdStore(..) => SourceKind::FdStore,
            Source::Device(..) => SourceKind::Device,
        };
        self.0.iter().map(kind).collect()
    }

    /// Takes over the session of this label from the previous kernel.
    ///
    /// # Errors
    ///
    /// Every error means that it is not known whether the session came: do not start from nothing. See
    /// [`Agent::claim`] and [`LiveUpdate::retrieve`].
    ///
    /// The service manager may report a cold start although a session came: it creates a new one if it could
    /// not retrieve the old one when the machine booted. Where this process may open the device, the device is
    /// asked.
    ///
    /// ```no_run
    /// let claim = liblu::Provider::find()?.claim("vm-17", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn claim(&self, label: &str, deadline: Option<Instant>) -> Result<Claim> {
        for source in &self.0 {
            if let Some(claim) = source.claim(label, deadline)? {
                return Ok(claim);
            }
        }
        Ok(Claim::ColdStart)
    }

    /// The session of this label for the next kernel.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NameTaken`] if another process has the session open, or an earlier run of the program has
    /// left files in it, and it cannot be created anew now. Else see [`Agent::open`], [`LiveUpdate::create`]
    /// and [`Handover::new`].
    ///
    /// If an earlier run has left the session to an agent, the agent gives that session up, and creates
    /// another one.
    ///
    /// ```no_run
    /// let handover = liblu::Provider::find()?.open("vm-17", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn open(&self, label: &str, deadline: Option<Instant>) -> Result<Handover> {
        for source in &self.0 {
            if let Some(handover) = source.open(label, deadline)? {
                return Ok(handover);
            }
        }
        let why = format!("no source of sessions has one for {label:?}");
        Err(Error::new(ErrorKind::Unsupported, why))
    }

    /// Gives up the session of this label for the next kernel: custodians close theirs. The kernel undoes
    /// everything when the program has closed its own, too.
    ///
    /// # Errors
    ///
    /// See [`Agent::discard`]. That there is no such session is no error.
    ///
    /// ```no_run
    /// # let handover = liblu::Provider::find()?.open("vm-17", None)?;
    /// drop(handover);
    /// liblu::Provider::find()?.discard("vm-17", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn discard(&self, label: &str, deadline: Option<Instant>) -> Result<()> {
        for source in &self.0 {
            let discarded = match source {
                Source::Agent(agent) => agent.discard(label, deadline),
                Source::FdStore(store, _) => match store.get(label)? {
                    Stored::Fresh(_) => store.forget(label, deadline),
                    _ => Ok(()),
                },
                Source::Device(..) => Ok(()),
            };
            match discarded {
                Err(error) if error.kind() == ErrorKind::NoFile => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Tells the custodian once more that the session of this label from the previous kernel is finished,
    /// if [`Claimed::finish`] could not.
    ///
    /// # Errors
    ///
    /// See [`Agent::restored`]. That there is no such session is no error.
    ///
    /// ```no_run
    /// liblu::Provider::find()?.restored("vm-17", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn restored(&self, label: &str, deadline: Option<Instant>) -> Result<()> {
        for source in &self.0 {
            let told = match source {
                Source::Agent(agent) => agent.restored(label, deadline),
                Source::FdStore(store, _) => match store.get(label)? {
                    Stored::Finished => store.forget(label, deadline),
                    _ => Ok(()),
                },
                Source::Device(..) => Ok(()),
            };
            match told {
                Err(error) if error.kind() == ErrorKind::NoSession => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Takes part in updates, for the sessions with these labels.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] without an agent: the service manager and the device announce no update.
    /// A service learns of one by `SIGTERM`. Else see [`Agent::participate`].
    ///
    /// ```no_run
    /// let participant = liblu::Provider::find()?.participate(&["vm-17"], None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn participate(&self, labels: &[&str], deadline: Option<Instant>) -> Result<Participant> {
        let agent = self.0.iter().find_map(|source| match source {
            Source::Agent(agent) => Some(agent),
            _ => None,
        });
        let none = || {
            let why = "only an agent announces updates, and there is none";
            Error::new(ErrorKind::Unsupported, why)
        };
        agent.ok_or_else(none)?.participate(labels, deadline)
    }
}

#[cfg(test)]
mod tests;
