// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether cargo makes packages of the libraries, that others can build, without a warning.

use anyhow::Result;

use super::invocation::{Invocation, said};
use super::{Check, Failure, Place, Report};
use crate::api::LIBRARIES;
use crate::arch::ARCH;

/// `cargo package` of these crates together.
pub(super) struct Package(pub(super) &'static [&'static str]);

/// That of all libraries.
pub(super) const PACKAGE: Package = {
    let [uapi, liblu] = LIBRARIES;
    Package(&[uapi.name, liblu.name])
};

impl Check for Package {
    fn name(&self) -> &'static str {
        "package"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        // Packaging looks for newer crates unless it may not use the network, but then it has to
        // find what the lock file names. If this fails, it says what it did not find.
        let fetch = Invocation::new(["cargo", "fetch", "--locked", "--target", ARCH.target]);
        fetch.output(place.project)?;

        let command = Invocation::new(["cargo", "package", "--locked", "--offline"])
            // Checks are for what is not committed yet.
            .args(["--allow-dirty"])
            .args(self.0.iter().flat_map(|name| ["--package", name]));
        let output = command.output(place.project)?;
        let next = "correct what cargo says of Cargo.toml and of the files of the crate";
        let mut failure = command.failure(&output, next);
        let text = said(&output);
        if failure.is_none() && text.lines().any(|line| line.starts_with("warning")) {
            let by_hand = command.to_string();
            failure = Some(Failure { output: text, by_hand, next: next.to_owned() });
        }
        Ok(Report { failure, notices: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::sample::with_code;
    use std::fs;

    #[test]
    fn tells_packages_without_warnings() {
        let table = [
            ("description = \"x\"\nlicense = \"MIT\"\nhomepage = \"x\"\n", true),
            ("description = \"x\"\nlicense = \"MIT\"\n", false),
            ("description = \"x\"\nlicense = \"MIT\"\nhomepage = \"x\"\nreadme = \"no\"\n", false),
        ];
        for (lines, good) in table {
            with_code("fn main() {}\n", |place| {
                let path = place.project.join("Cargo.toml");
                let manifest = fs::read_to_string(&path).unwrap();
                fs::write(&path, manifest + lines).unwrap();
                let failure = Package(&["sample"]).run(place).unwrap().failure;
                assert_eq!(failure.is_none(), good, "{lines}: {failure:?}");
            });
        }
    }
}
