// SPDX-License-Identifier: MIT OR Apache-2.0

//! This checkout: where it lies, and what `kernel.toml` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::kernel::Flavour;

/// The checkout that this program was built from.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// Its top folder.
    pub(crate) folder: PathBuf,
    /// `xtask/kernel.toml`.
    pub(crate) settings: Settings,
}

/// Toolchain and source of the kernels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) root: RootSettings,
    pub(crate) source: SourceSettings,
    pub(crate) guests: GuestSettings,
    /// Configuration fragments of each flavour of kernels, by their names in `xtask/configs`.
    pub(crate) flavours: BTreeMap<Flavour, Vec<String>>,
}

/// The toolchain root.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootSettings {
    /// Debian suite.
    pub(crate) suite: String,
    /// Packages beyond the minimal ones.
    pub(crate) packages: Vec<String>,
}

/// Guests that have a distribution.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuestSettings {
    pub(crate) debian: DebianSettings,
}

/// The guest with Debian and systemd.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DebianSettings {
    /// Debian suite.
    pub(crate) suite: String,
    /// The least version of systemd.
    pub(crate) systemd: String,
    /// Packages beyond the minimal ones.
    pub(crate) packages: Vec<String>,
    /// A kernel without live updates.
    pub(crate) stock: StockSettings,
}

/// A kernel that Debian has built.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StockSettings {
    /// Debian suite.
    pub(crate) suite: String,
    /// The package that depends on the newest image.
    pub(crate) package: String,
}

/// The kernel source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceSettings {
    /// The series that this project is for: `7.3`.
    pub(crate) series: String,
    /// Debian package that holds the source.
    pub(crate) package: String,
    /// Suites that may offer it.
    pub(crate) suites: Vec<String>,
    /// Version that this checkout was last tried with.
    pub(crate) tried: String,
}

impl Project {
    /// Finds the checkout and reads its settings.
    pub(crate) fn open() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folder = folder.canonicalize().context(
            "the checkout that this program was built from is gone: run it by `cargo xtask`",
        )?;
        let path = folder.join("xtask/kernel.toml");
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        let settings =
            toml::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
        Ok(Self { folder, settings })
    }

    /// Whether this checkout has the Rust implementation.
    pub(crate) fn has_rust(&self) -> bool {
        self.folder.join("kernel/liveupdate/luo/luo.rs").exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn the_settings_of_this_checkout_are_understood() {
        let project = Project::open().unwrap();
        assert!(project.settings.source.package.ends_with(&project.settings.source.series));
        assert!(project.settings.source.tried.starts_with(&project.settings.source.series));
        for flavour in Flavour::value_variants() {
            assert!(project.settings.flavours.contains_key(flavour), "{flavour}");
        }
    }
}
