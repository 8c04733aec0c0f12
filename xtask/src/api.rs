// SPDX-License-Identifier: MIT OR Apache-2.0

//! The public API of the libraries as text, in one file for each: programs notice its changes.

mod rustdoc;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::generated::Texts;
use crate::invocation::{Invocation, said};

/// A crate that others link.
pub(crate) struct Library {
    /// Its name for cargo.
    pub(crate) name: &'static str,
    /// Where it lies in the project.
    pub(crate) folder: &'static str,
}

/// All of them, each after those that it needs. None has features, so each has one API.
pub(crate) const LIBRARIES: [Library; 2] = [
    Library { name: "liveupdate_uapi", folder: "uapi" },
    Library { name: "liblu", folder: "liblu" },
];

/// The output of cargo about the workspace.
#[derive(Deserialize)]
struct Workspace {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

/// The output of cargo about a crate.
#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    rust_version: Option<String>,
}

/// The files of all libraries as they should be.
pub(crate) fn make(project: &Path) -> Result<Texts> {
    let Workspace { packages, target_directory } = workspace(project)?;
    let make = |Library { name, folder }: &Library| {
        let package = packages.iter().find(|package| package.name == *name);
        let package = package.with_context(|| format!("cargo knows no {name} in {folder}/"))?;
        let items = rustdoc::items(project, &target_directory, name)?;
        let text = text(package.license.as_deref().unwrap_or_default(), &items);
        Ok((Path::new(folder).join("api.txt"), text))
    };
    LIBRARIES.iter().map(make).collect()
}

/// The oldest Rust that a crate of the workspace promises; empty if it promises none.
pub(crate) fn rust_version(project: &Path, name: &str) -> Result<String> {
    let packages = workspace(project)?.packages;
    let package = packages.into_iter().find(|package| package.name == name);
    let package = package.with_context(|| format!("cargo knows no {name}"))?;
    Ok(package.rust_version.unwrap_or_default())
}

fn workspace(project: &Path) -> Result<Workspace> {
    let metadata = Invocation::new(["cargo", "metadata", "--no-deps", "--format-version", "1"]);
    let output = metadata.output(project)?;
    ensure!(output.status.success(), "`{metadata}` said: {}", said(&output));
    serde_json::from_slice(&output.stdout).with_context(|| format!("read what `{metadata}` said"))
}

/// The file of a library under `licence` with these items.
fn text(licence: &str, items: &[String]) -> String {
    let mut text = format!("# SPDX-License-Identifier: {licence}\n");
    text += "# The public API, written by `cargo xtask api`.\n";
    for item in items {
        text += item;
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_a_line() {
        let lines = ["#[non_exhaustive] pub enum a::B", "pub a::B::C"].map(str::to_owned);
        let text = text("MIT", &lines);
        assert!(text.starts_with("# SPDX-License-Identifier: MIT\n"), "{text}");
        assert!(text.ends_with("\n#[non_exhaustive] pub enum a::B\npub a::B::C\n"), "{text}");
    }
}
