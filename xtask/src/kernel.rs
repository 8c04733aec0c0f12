// SPDX-License-Identifier: MIT OR Apache-2.0

//! Kernels: which there are, and how they are configured and built.

mod build;
mod config;
mod interrupted;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

pub(crate) use build::{Builder, Image};
pub(crate) use config::Fragments;

/// An implementation of the Live Update Orchestrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Implementation {
    /// Upstream's.
    C,
    /// This project's.
    Rust,
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::C => "c",
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

/// The kernels of a run, in the order in which they are booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hops(pub(crate) Vec<Implementation>);

impl Hops {
    /// Whether all kernels are of this implementation.
    pub(crate) fn is_all(&self, implementation: Implementation) -> bool {
        self.0.iter().all(|kernel| *kernel == implementation)
    }
}

impl FromStr for Hops {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hop = |name: &str| {
            let name = name.trim();
            Implementation::from_str(name, false).map_err(|_| {
                format!("`{name}` is no kernel; hops are `c` and `rust`, as in `c,rust,c`")
            })
        };
        let hops: Vec<_> = text.split(',').map(hop).collect::<Result<_, _>>()?;
        if hops.len() < 2 {
            return Err("a live update needs two hops or more, as in `c,rust`".into());
        }
        Ok(Self(hops))
    }
}

impl fmt::Display for Hops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(" → "))
    }
}

/// What is asked of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Which implementation.
    pub(crate) implementation: Implementation,
    /// How it is built.
    pub(crate) profile: Profile,
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

    proptest! {
        #[test]
        fn no_list_of_hops_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<Hops>();
        }
    }
}
