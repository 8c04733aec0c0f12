// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether clippy and rustc have nothing to say about any target.

use anyhow::Result;

use super::invocation::Invocation;
use super::{Check, Place, Report};

/// `cargo clippy` on everything, with every warning an error.
pub(super) struct Clippy;

impl Check for Clippy {
    fn name(&self) -> &'static str {
        "clippy"
    }

    fn run(&self, place: &Place<'_>) -> Result<Report> {
        let command = Invocation::new(["cargo", "clippy", "--workspace", "--all-targets"])
            .args(["--locked", "--", "-D", "warnings"])
            .quiet();
        let next = "correct the code; where a lint is wrong, `#[expect(..., reason = \"...\")]`";
        command.report(place.project, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::sample::with_code;

    #[test]
    fn tells_clean_code() {
        let table = [
            ("fn main() {}\n", true),
            ("fn main() {\n    let unused = 1;\n}\n", false),
            ("fn main() {\n    return ();\n}\n", false),
            ("#[cfg(test)]\nmod tests {\n    fn unused() {}\n}\nfn main() {}\n", false),
        ];
        for (code, good) in table {
            with_code(code, |place| {
                let failure = Clippy.run(place).unwrap().failure;
                assert_eq!(failure.is_none(), good, "{code}: {failure:?}");
                let output = failure.map(|failure| failure.output);
                assert!(!output.unwrap_or_default().contains("Checking sample"));
            });
        }
    }
}
