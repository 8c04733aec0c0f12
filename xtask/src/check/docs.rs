// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether the documentation builds without a warning, private items included.

use anyhow::Result;

use super::invocation::Invocation;
use super::{Check, Place, Report};

/// `cargo doc`, with every warning an error.
pub(super) struct Docs;

impl Check for Docs {
    fn name(&self) -> &'static str {
        "docs"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        let command = Invocation::new(["cargo", "doc", "--workspace", "--no-deps"])
            .args(["--document-private-items", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .quiet();
        command.report(place.project, "correct the doc comments")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::sample::with_code;

    #[test]
    fn tells_links_that_lead_nowhere() {
        let table = [
            ("//! See [`main`].\nfn main() {}\n", true),
            ("//! See [`nothing`].\nfn main() {}\n", false),
        ];
        for (code, good) in table {
            with_code(code, |place| {
                let failure = Docs.run(place).unwrap().failure;
                assert_eq!(failure.is_none(), good, "{code}: {failure:?}");
                if let Some(failure) = failure {
                    let shown = "RUSTDOCFLAGS='-D warnings' cargo doc --workspace";
                    assert!(failure.by_hand.starts_with(shown), "{failure:?}");
                }
            });
        }
    }
}
