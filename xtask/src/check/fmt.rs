// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether all Rust code is formatted by rustfmt.

use anyhow::Result;

use super::invocation::Invocation;
use super::{Check, Place, Report};

/// `cargo fmt --all --check`.
pub(super) struct Fmt;

impl Check for Fmt {
    fn name(&self) -> &'static str {
        "fmt"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        let command = Invocation::new(["cargo", "fmt", "--all", "--check"]);
        command.report(place.project, "run `cargo fmt --all`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::sample::with_code;

    #[test]
    fn tells_formatted_code() {
        for (code, good) in [("fn main() {}\n", true), ("fn main () {}\n", false)] {
            with_code(code, |place| {
                let failure = Fmt.run(place).unwrap().failure;
                assert_eq!(failure.is_none(), good, "{code}");
                if let Some(failure) = failure {
                    assert!(failure.output.contains("\n+fn main() {}"), "{failure:?}");
                    assert_eq!(failure.by_hand, "cargo fmt --all --check");
                }
            });
        }
    }
}
