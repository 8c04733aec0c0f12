// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether cargo makes packages of the libraries, that others can build, without a warning.

use anyhow::Result;

use super::{Check, Complaint, Folders, Report};
use crate::api::LIBRARIES;
use crate::arch::ARCH;
use crate::invocation::{Invocation, said};

/// `cargo package` of the libraries together.
pub(super) struct Package;

impl Check for Package {
    fn name(&self) -> &'static str {
        "package"
    }

    fn run(&self, folders: &Folders<'_>) -> Result<Report> {
        // Packaging looks for newer crates unless it may not use the network, but then it has to
        // find what the lock file names. If this fails, it says what it did not find.
        let fetch = Invocation::new(["cargo", "fetch", "--locked", "--target", ARCH.target]);
        fetch.output(folders.project)?;

        let command = Invocation::new(["cargo", "package", "--locked", "--offline"])
            // Checks are for what is not committed yet.
            .args(["--allow-dirty"])
            .target(folders.target)
            .args(LIBRARIES.iter().flat_map(|library| ["--package", library.name]));
        let output = command.output(folders.project)?;
        let next = "correct what cargo says of Cargo.toml and of the files of the crate";
        let mut failure = Complaint::of_output(&command, &output, next);
        let text = said(&output);
        if failure.is_none() && text.lines().any(|line| line.starts_with("warning")) {
            let by_hand = command.to_string();
            failure = Some(Complaint { output: text, by_hand, next: next.to_owned() });
        }
        Ok(Report { failure, notices: Vec::new() })
    }
}
