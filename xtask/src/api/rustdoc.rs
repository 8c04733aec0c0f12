// SPDX-License-Identifier: MIT OR Apache-2.0

//! The public items, as rustdoc lists them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use public_api::Builder;
use serde::Deserialize;

use crate::invocation::{Invocation, said};

/// Format of rustdoc's JSON that the library `public-api` reads, of the version in `Cargo.toml`.
const FORMAT: u32 = 57;

/// Folder in cargo's target folder.
///
/// Crates are built again when `RUSTC_BOOTSTRAP` changes, so those for all other purposes are
/// elsewhere.
const TARGET: &str = "api";

/// Traits that stable programs cannot name, and that another compiler may not have.
const UNSTABLE: [&str; 3] =
    ["core::marker::Freeze", "core::marker::StructuralPartialEq", "core::marker::UnsafeUnpin"];

/// The beginning of rustdoc's JSON.
#[derive(Deserialize)]
struct Header {
    format_version: u32,
}

/// The public items of the library of the crate `name`, a line each.
///
/// `target` is cargo's target folder.
pub(super) fn items(project: &Path, target: &Path, name: &str) -> Result<Vec<String>> {
    let target = target.join(TARGET);
    let command = Invocation::new(["cargo", "rustdoc", "--locked", "--lib", "--package", name])
        .args([Path::new("--target-dir"), &target])
        .args(["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"])
        // JSON has no stable format yet; of a pinned toolchain it has one.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTDOCFLAGS", "")
        .quiet();
    let output = command.output(project)?;
    ensure!(output.status.success(), "`{command}` said:\n{}", said(&output));

    let path = target.join("doc").join(name.replace('-', "_")).with_extension("json");
    let json = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let header = serde_json::from_str::<Header>(&json);
    let format = header.with_context(|| format!("understand {}", path.display()))?.format_version;
    ensure!(
        format == FORMAT,
        "rustdoc writes format {format} and public-api reads {FORMAT}: take the version of \
         public-api that is for the compiler, in Cargo.toml and in xtask/src/api/rustdoc.rs"
    );
    let api = Builder::from_rustdoc_json(&path)
        // All types have those.
        .omit_blanket_impls(true)
        .build()
        .with_context(|| format!("understand {}", path.display()))?;
    Ok(telling(api.items().map(ToString::to_string)))
}

/// The `lines` that say something of their own, each once.
///
/// Methods of a trait are as the trait has them, and an `impl` written by hand does not look like
/// a derived one.
fn telling(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut method = None;
    let mut seen = BTreeSet::new();
    let mut is_telling = |line: &String| {
        if line.starts_with("impl") {
            let (head, _) = line.split_once(" where ").unwrap_or((line, ""));
            let (of, on) = head.split_once(" for ").unwrap_or_default();
            method = (!on.is_empty()).then(|| format!("fn {on}::"));
            // That a type is not `Send` is said by the lack of a line that it is.
            let is_negative = of.contains(" !");
            if is_negative || UNSTABLE.iter().any(|unstable| of.ends_with(unstable)) {
                return false;
            }
        } else if method.as_ref().is_some_and(|method| line.contains(method)) {
            return false;
        }
        seen.insert(line.clone())
    };
    lines.filter(|line| is_telling(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_say_nothing_are_left_out() {
        let table: &[(&[&str], &[usize])] = &[
            (&["pub struct a::B", "impl a::B", "pub fn a::B::c()"], &[]),
            (&["impl Clone for a::B", "pub fn a::B::clone(&self)", "pub fn a::c()"], &[1]),
            (&["impl From<a::B> for u8", "pub fn u8::from(a::B)", "pub fn a::B::d()"], &[1]),
            (&["impl<T> D for a::B<T> where T: X", "pub unsafe fn a::B<T>::d()"], &[1]),
            (&["impl D for a::B", "pub type a::B::E", "pub const a::B::F: u8"], &[]),
            (&["impl D for a::B", "pub fn a::B::d()", "impl a::B", "pub fn a::B::e()"], &[1]),
            (&["impl D for a::B", "pub trait a::D", "impl D for a::B"], &[2]),
            (&["impl core::marker::Freeze for a::B", "impl core::marker::Send for a::B"], &[0]),
            (&["impl !core::marker::Send for a::B", "impl<T> !core::marker::Sync for T"], &[0, 1]),
        ];
        for (lines, left_out) in table {
            let kept = telling(lines.iter().map(ToString::to_string));
            let is_kept = |(index, _): &(usize, _)| !left_out.contains(index);
            let expected = lines.iter().enumerate().filter(is_kept).map(|(_, line)| *line);
            assert!(expected.clone().eq(kept.iter()), "{lines:?}: {kept:?}");
        }
    }
}
