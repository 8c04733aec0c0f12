// SPDX-License-Identifier: MIT OR Apache-2.0

//! What an image says of its kernel.

use std::fmt;

use super::{Config, Formats, Layers, Unread};

/// What an image says of its kernel.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The layers around the kernel.
    pub layers: Layers,
    /// The machines that it runs on.
    pub architecture: Option<Architecture>,
    /// The release, as in `uname -r`.
    pub release: Option<String>,
    /// The command line in a UKI (`.cmdline`).
    pub cmdline: Option<String>,
    /// `os-release(5)` of a UKI (`.osrel`).
    pub os_release: Option<String>,
    /// The configuration, if the kernel contains it (`CONFIG_IKCONFIG=y`).
    pub config: Option<Config>,
    /// The formats of handovers.
    pub formats: Formats,
    /// LUO has left its name in the image, though maybe no format.
    pub mentions_liveupdate: bool,
    /// Why the image was not read to its end, if so.
    pub unread: Option<Unread>,
}

/// The machines that a kernel runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64.
    X86_64,
    /// x86 with 32 bits.
    X86,
    /// arm64.
    Arm64,
    /// Any other, with its number in ELF headers.
    Other(u16),
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86_64 => f.write_str("x86-64"),
            Self::X86 => f.write_str("x86"),
            Self::Arm64 => f.write_str("arm64"),
            Self::Other(machine) => write!(f, "ELF machine {machine}"),
        }
    }
}
