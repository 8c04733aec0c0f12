// SPDX-License-Identifier: MIT OR Apache-2.0

//! Live updates of a running kernel, for the programs that run on it.
//!
//! A machine that runs the programs of others must get another kernel now and then. With Linux's Live
//! Update Orchestrator (LUO) a process can say which of its open files the next kernel shall have:
//! the memory of a VM, the content of a cache. `reboot(KEXEC)` starts that kernel, and there the
//! process, started again, finds its files as it left them.
//!
//! This library works on every kernel with LUO, from Linux 6.19 on, with the implementation in C and with
//! the one in Rust.
//!
//! # A client
//!
//! A *session* has a label and holds files, each with a label too. Before the update files are preserved
//! in it; after the update they are retrieved, and then the session is finished. Sessions come from an
//! agent (`luod`), from the service manager, or from the device; a [`Provider`] finds out.
//!
//! ```no_run
//! use std::time::{Duration, Instant};
//! use liblu::{Claim, Provider};
//!
//! let soon = || Some(Instant::now() + Duration::from_secs(10));
//! let provider = Provider::find()?;
//! // An error is no cold start: the session may be there.
//! let memory = match provider.claim("cache", soon())? {
//!     Claim::Session(session) => {
//!         let memory = session.retrieve("memory")?;
//!         // All that is needed is there: only now.
//!         session.finish(soon())?;
//!         memory
//!     }
//!     Claim::ColdStart => {
//!         rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?
//!     }
//! };
//!
//! // At any time before the update:
//! let handover = provider.open("cache", soon())?;
//! handover.preserve("memory", &memory)?;
//! // When the update comes, and the state is final:
//! handover.set_state("memory", b"used=4096")?;
//! let ready = handover.ready()?;
//! // From here on the session must stay open until reboot(2), unless `ready.abort()` calls it off.
//! # drop(ready);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A client learns of an update by an [`Event`] of a [`Participant`], if there is an agent. Without one, a
//! service gets `SIGTERM`.
//!
//! # An agent
//!
//! [`LiveUpdate`] creates and retrieves sessions, which takes rights. [`OutgoingSession`] and
//! [`IncomingSession`] are sessions without a manifest; [`passing`] sends them to processes without
//! rights. [`kexec`] loads the next kernel and goes there.
//!
//! # Errors
//!
//! There is one [`Error`]; its [`ErrorKind`] says what to do. No error and no dropped value destroys what
//! crossed the kexec: only [`Claimed::finish`] and [`IncomingSession::finish`] do, and closing the bare
//! descriptor of a session.
//!
//! # Traps
//!
//! - **Closing the last descriptor of an unfinished [`IncomingSession`]** destroys its files with the C
//!   implementation, and so does a crash. An agent or the service manager should hold another one.
//! - **Dropping a [`Handover`] or an [`OutgoingSession`]** before the update undoes everything, and so does
//!   exiting, unless an agent or the service manager holds the session: [`Provider::discard`] tells them.
//! - **A memfd keeps the size that it has when it is preserved**, and its holes are filled.
//! - **The process that retrieves a memfd first is charged for its memory**: this should be the client.
//! - [`probe()`] says what this kernel offers, and what is known to be wrong with it.
//!
//! # In a sandbox
//!
//! A client needs no `/proc` on Linux 7.2 and later. A filter of system calls should allow
//!
//! - always: `ioctl`, `fstatfs`, `fstat`, `fcntl`, `dup`, `close`, `uname`, `clock_gettime`, `futex` (locks of
//!   several threads), `getrandom` (hash tables), and those of the allocator;
//! - for the manifest: `memfd_create`, `pread64`, `pwrite64`;
//! - for an agent or the service manager: `socket`, `connect`, `setsockopt`, `getsockopt`, `sendmsg`,
//!   `recvmsg`, `recvfrom`, `ppoll`, `newfstatat` or `statx`, `getpid`, `getuid`, `geteuid`, `getegid`;
//! - to retrieve by label: `openat`, `read`, `statx`, `lseek`, by which the room of the control group is looked at; where
//!   they fail, it is not;
//! - for the device: `openat`, `clock_nanosleep`;
//! - for texts about what is missing: `openat`, `read`, `readlinkat`, and `write` to standard error.
//!
//! The library starts no thread. It waits no longer than the deadline that the caller gives, and for the
//! device no longer than [`Backoff`] says.

#[cfg(feature = "agent")]
mod agent;
mod backoff;
#[cfg(feature = "agent")]
mod client;
mod defect;
mod device;
mod error;
mod failed;
#[cfg(feature = "agent")]
mod fd_store;
#[cfg(feature = "manifest")]
mod handover;
#[cfg(feature = "kexec")]
pub mod kexec;
#[cfg(feature = "manifest")]
mod manifest;
mod name;
#[cfg(feature = "agent")]
mod passed;
pub mod passing;
mod probe;
#[cfg(feature = "agent")]
mod provider;
mod release;
#[cfg(feature = "agent")]
mod room;
mod running;
#[cfg(feature = "agent")]
mod service;
mod session;
mod sys;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod token;
mod unavailable;

#[cfg(feature = "agent")]
pub use agent::{Agent, Event, Participant, Standstill};
pub use backoff::Backoff;
#[cfg(feature = "agent")]
pub use client::{Client, Resumed, Wake, Workload};
pub use defect::Defect;
pub use device::LiveUpdate;
pub use error::{Error, ErrorKind, Result};
pub use failed::Failed;
#[cfg(feature = "manifest")]
pub use handover::{Handover, Ready};
#[cfg(feature = "manifest")]
pub use manifest::{Entry, Manifest};
pub use name::SessionName;
#[cfg(feature = "agent")]
pub use passed::take_passed;
pub use probe::{Features, Probe, Support, probe, probe_at, probe_session};
#[cfg(feature = "agent")]
pub use provider::{Claim, Claimed, Finished, Provider, SourceKind};
pub use release::Release;
#[cfg(feature = "agent")]
pub use service::{CgroupError, ServiceName, ServiceNameError};
pub use session::{FromFdError, IncomingSession, LossHook, OutgoingSession, set_loss_hook};
pub use token::Token;
pub use unavailable::Unavailable;
