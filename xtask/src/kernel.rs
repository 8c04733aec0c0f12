// SPDX-License-Identifier: MIT OR Apache-2.0

//! Kernels: which there are, and how they are configured and built.

mod build;
mod config;
mod interrupted;
mod seed;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use serde::Deserialize;

pub(crate) use build::{Builder, Image, Kbuild};
pub(crate) use config::Fragments;

/// An implementation of the Live Update Orchestrator.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Implementation {
    /// Upstream's.
    C,
    /// Upstream's, in a kernel whose KHO takes memory over by runs, as the Rust one has it.
    #[value(name = "c+runs")]
    #[serde(rename = "c+runs")]
    CRuns,
    /// Upstream's, with this project's handler of memfds.
    #[value(name = "c+memfd_rust")]
    #[serde(rename = "c+memfd_rust")]
    CMemfdRust,
    /// This project's, with upstream's handler of memfds.
    #[value(name = "rust+memfd_c")]
    #[serde(rename = "rust+memfd_c")]
    RustMemfdC,
    /// This project's.
    Rust,
}

impl Implementation {
    /// Its configuration fragments; a later one wins.
    fn fragments(self) -> &'static [&'static str] {
        match self {
            Self::C => &["c"],
            Self::CRuns => &["c", "c+runs"],
            Self::CMemfdRust => &["c", "c+memfd_rust"],
            Self::RustMemfdC => &["rust", "rust+memfd_c"],
            Self::Rust => &["rust"],
        }
    }

    /// Whether its orchestrator is this project's.
    pub(crate) fn is_rust(self) -> bool {
        matches!(self, Self::Rust | Self::RustMemfdC)
    }

    /// Whether it has anything of this project.
    pub(crate) fn has_rust(self) -> bool {
        self.is_rust() || self == Self::CMemfdRust
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::C => "c",
            Self::CRuns => "c+runs",
            Self::CMemfdRust => "c+memfd_rust",
            Self::RustMemfdC => "rust+memfd_c",
            Self::Rust => "rust",
        })
    }
}

/// How a kernel is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Optimised as users have it, with what tests need: test devices, an open `/dev/mem`.
    #[default]
    Release,
    /// With KASAN, lockdep and other checks.
    Debug,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Release => "release",
            Self::Debug => "debug",
        })
    }
}

/// The purpose of a kernel: the parts of Linux that it has.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Flavour {
    /// As little as the tests need: it is built and booted in seconds.
    #[default]
    Test,
    /// A host of virtual machines: systemd, control groups, disks, network, KVM. Its guests boot it too.
    Host,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Test => "test",
            Self::Host => "host",
        })
    }
}

/// A kernel: what it is, how it is built, what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelKind {
    pub(crate) implementation: Implementation,
    pub(crate) profile: Profile,
    pub(crate) flavour: Flavour,
}

/// As part of a file name: `rust-release`, `c-debug-host`.
impl fmt::Display for KernelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.implementation, self.profile)?;
        match self.flavour {
            Flavour::Test => Ok(()),
            flavour @ Flavour::Host => write!(f, "-{flavour}"),
        }
    }
}

/// The most hops of a run: more is a slip of the pen, and takes days.
const MOST_HOPS: usize = 100_000;

/// The kernels of a run, in the order in which they are booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hops(pub(crate) Vec<Implementation>);

impl Hops {
    /// As a file name: `c-rust`, `rustx50`.
    pub(crate) fn file_name(&self) -> String {
        join(&self.names(), "x", "-")
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Whether all kernels are of this implementation.
    pub(crate) fn is_all(&self, implementation: Implementation) -> bool {
        self.0.iter().all(|kernel| *kernel == implementation)
    }
}

impl FromStr for Hops {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut hops = Vec::new();
        for part in text.split(',') {
            let (name, count) = part.split_once('*').unwrap_or((part, "1"));
            let kernel = Implementation::from_str(name.trim(), false).map_err(|_| {
                let all: Vec<_> =
                    Implementation::value_variants().iter().map(|it| format!("`{it}`")).collect();
                format!(
                    "`{}` is no kernel; hops are {}, as in `c,rust,c` or `c,rust*3`",
                    name.trim(),
                    all.join(", ")
                )
            })?;
            let count = count.trim().parse().ok().filter(|count| (1..=MOST_HOPS).contains(count));
            let count =
                count.ok_or_else(|| format!("`{part}`: give a count from 1 to {MOST_HOPS}"))?;
            hops.extend(std::iter::repeat_n(kernel, count));
            if hops.len() > MOST_HOPS {
                return Err(format!("more than {MOST_HOPS} hops"));
            }
        }
        if hops.len() < 2 {
            return Err("a live update needs two hops or more, as in `c,rust` or `rust*2`".into());
        }
        Ok(Self(hops))
    }
}

impl fmt::Display for Hops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&path(&self.names()))
    }
}

/// Kernels with arrows between them, three and more of the same as `rust × 3`.
pub(crate) fn path<S: AsRef<str> + PartialEq>(labels: &[S]) -> String {
    join(labels, " × ", " → ")
}

/// Labels with `between` them; three and more of the same are one with `times` and their number.
fn join<S: AsRef<str> + PartialEq>(labels: &[S], times: &str, between: &str) -> String {
    let runs = labels.chunk_by(|one, other| one == other).map(|run| {
        let name = run.first().map_or("", AsRef::as_ref);
        match run.len() {
            count @ 3.. => format!("{name}{times}{count}"),
            count => vec![name; count].join(between),
        }
    });
    runs.collect::<Vec<_>>().join(between)
}

/// The choices for a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Which kernel.
    pub(crate) kind: KernelKind,
    /// Configuration fragments of the user's.
    pub(crate) fragments: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hops_are_a_list_of_two_or_more() {
        use Implementation::{C, Rust};
        assert_eq!("c,rust, c".parse(), Ok(Hops(vec![C, Rust, C])));
        assert!("c".parse::<Hops>().unwrap_err().contains("two hops"));
        assert!("c,go".parse::<Hops>().unwrap_err().contains("`go` is no kernel"));
        assert!("c,,c".parse::<Hops>().is_err());
        assert_eq!(Hops(vec![C, Rust]).to_string(), "c → rust");
    }

    #[test]
    fn hops_may_be_repeated() {
        use Implementation::{C, Rust};
        assert_eq!("c,rust*3".parse(), Ok(Hops(vec![C, Rust, Rust, Rust])));
        assert_eq!("c * 2".parse(), Ok(Hops(vec![C, C])));
        assert_eq!("rust*50".parse::<Hops>().unwrap().0.len(), 50);
        for wrong in ["c*0", "c*", "c*1", "c*100001", "c*-2", "c*60000,c*60000", "c*2*2", "*3"] {
            assert!(wrong.parse::<Hops>().is_err(), "{wrong}");
        }
        let hops: Hops = "c*2,rust*4".parse().unwrap();
        assert_eq!(hops.to_string(), "c → c → rust × 4");
        assert_eq!(hops.file_name(), "c-c-rustx4");
    }

    proptest! {
        #[test]
        fn no_list_of_hops_makes_the_parser_panic(text in "(.*|[crust,* 0-9]*)") {
            let _ = text.parse::<Hops>();
        }
    }
}
