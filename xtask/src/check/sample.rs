// SPDX-License-Identifier: MIT OR Apache-2.0

//! A crate for the tests of those checks that cargo does.

use std::fs;

use super::Place;

/// Lets `check` look at a crate whose `main.rs` is `code`.
pub(super) fn with_code(code: &str, check: impl FnOnce(&Place<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path();
    let package = "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    let lock = "version = 4\n\n[[package]]\nname = \"sample\"\nversion = \"0.1.0\"\n";
    fs::create_dir(project.join("src")).unwrap();
    fs::write(project.join("Cargo.toml"), package).unwrap();
    fs::write(project.join("Cargo.lock"), lock).unwrap();
    fs::write(project.join("src/main.rs"), code).unwrap();
    let tools = project;
    check(&Place { project, tools });
}
