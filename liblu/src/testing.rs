// SPDX-License-Identifier: MIT OR Apache-2.0

//! A fake kernel and a fake agent, so that a program can test its live update in its own CI, without
//! rights and without `kexec(2)`.
//!
//! ```
//! use liblu::testing::FakeKernel;
//!
//! let kernel = FakeKernel::new();
//! let device = kernel.device();
//! let name = "vm-17".parse()?;
//!
//! let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC)?;
//! let session = device.create(&name)?;
//! session.preserve(1.into(), &memory)?;
//!
//! kernel.kexec();
//! let session = device.retrieve(&name)?;
//! let memory = session.retrieve(1.into())?;
//! session.finish()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "agent")]
mod agent;
pub(crate) mod kernel;

#[cfg(feature = "agent")]
pub use agent::{Answer, FakeAgent};
pub use kernel::{FakeKernel, Implementation, Operation};
