// SPDX-License-Identifier: MIT OR Apache-2.0

//! Live updates of a running kernel, for the programs that run on it.
//!
//! A machine that runs other people's work must now and then get another kernel. With Linux's Live
//! Update Orchestrator (LUO) a process can say which of its open files the next kernel shall have:
//! the memory of a VM, the content of a cache. `reboot(KEXEC)` starts that kernel, and there the
//! process, started again, finds its files as it left them.
//!
//! This library makes the right thing the short thing on any kernel with LUO, from Linux 6.19 on.
//!
//! # The happy path
//!
//! A *session* has a name and holds files, each under a *token*. Before the update it is *outgoing*:
//! files are preserved in it. After the update it is *incoming*: they are retrieved, and then the
//! session is finished.
//!
//! ```no_run
//! use liblu::{LiveUpdate, Manifest, Error};
//!
//! let device = LiveUpdate::new();
//! let name = "cache".parse()?;
//! let memory = match device.retrieve(&name) {
//!     // An update lies behind us.
//!     Ok(session) => {
//!         let found = Manifest::of(&session).and_then(|it| it.retrieve(&session, "memory"));
//!         let Ok(memory) = found else {
//!             // Nothing more is lost while somebody has the session open.
//!             keep(session.into_custody());
//!             return Err(found.unwrap_err().into());
//!         };
//!         // Everything that is needed is there: only now.
//!         session.finish()?;
//!         memory
//!     }
//!     // It is the first start, or there are no live updates here.
//!     Err(Error::NoSession(_) | Error::Unavailable(_)) => {
//!         rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?
//!     }
//!     Err(error) => return Err(error.into()),
//! };
//!
//! // ... until somebody says that an update comes:
//! let session = device.create(&name)?;
//! let mut manifest = Manifest::new();
//! manifest.preserve(&session, "memory", &memory, b"")?;
//! manifest.seal(&session)?;
//! // Now it must stay open until reboot(2): whoever ends here takes it along.
//! # std::mem::forget(session);
//! # fn keep(session: std::os::fd::OwnedFd) {}
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`LiveUpdate`] takes rights, [`OutgoingSession`] and [`IncomingSession`] do not: an agent creates
//! and retrieves sessions and sends them ([`passing`]) to whoever they are for. [`kexec`] loads the
//! next kernel and goes there.
//!
//! # The unhappy paths
//!
//! | what | what it means | what to do |
//! | --- | --- | --- |
//! | [`Error::Unavailable`] | there are no live updates here; the text says why | work without, and tell somebody |
//! | [`Error::Busy`] | somebody holds the device for longer than a moment | find out who; systemd needs it too |
//! | [`Error::Damaged`] | this kernel could not read what the last one left | nothing can be had any more; read the log |
//! | [`Error::NoSession`] | nothing came: a cold start | start from nothing |
//! | [`Error::Held`] | somebody else has taken the session over | ask them for it |
//! | [`Error::NotPreservable`] | this kernel cannot preserve such a file | do without that file, on purpose: no file is skipped in silence |
//! | [`Error::AlreadyPreserved`] | the file is in a session already | preserve each file once |
//! | [`Error::RetrieveFailed`] | the file is lost, for ever | use the others, finish the session, start this part from nothing; but see `retrieve-retry` among the [`Defect`]s |
//! | [`FinishError`] | a device waits for more files, or the kernel is being left | retrieve them, and finish again: the session comes back. After [`Error::RetrieveFailed`], keep it open |
//! | `reboot(2)` fails ([`kexec::reboot`]) | a file could not be frozen | everything is as before; see the log, and try again |
//!
//! # Traps
//!
//! - **Dropping an unfinished [`IncomingSession`]** destroys what is in it with the C implementation,
//!   and so does a crash. Keep another descriptor with somebody else until it is finished
//!   ([`IncomingSession::into_custody`]).
//! - **Dropping an [`OutgoingSession`]** before the update undoes everything. So does exiting.
//! - **A memfd keeps the size that it has when it is preserved**, and its holes are filled: preserve
//!   what is used, not what might be.
//! - **Whoever retrieves a memfd first is charged for its memory**, and that should be the client.
//! - [`probe()`] says what this kernel offers, and what is known to be wrong with it.

mod backoff;
mod defect;
mod device;
mod error;
#[cfg(test)]
mod fake;
pub mod kexec;
mod manifest;
mod name;
pub mod passing;
mod probe;
mod release;
mod session;
mod sys;
mod token;
mod unavailable;

pub use backoff::Backoff;
pub use defect::Defect;
pub use device::LiveUpdate;
pub use error::{Error, Result};
pub use manifest::{Entry, Manifest, ManifestError};
pub use name::{NameError, SessionName};
pub use probe::{Features, Probe, Support, probe, probe_at, probe_session};
pub use release::Release;
pub use session::{
    FinishError, FromFdError, IncomingSession, LossHook, OutgoingSession, set_loss_hook,
};
pub use token::Token;
pub use unavailable::Unavailable;
