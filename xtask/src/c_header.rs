// SPDX-License-Identifier: MIT OR Apache-2.0

//! The C header of liblu, made from the functions that C calls.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use cbindgen::{Builder, Config};

/// The crate whose functions they are, in the project.
const CRATE: &str = "liblu/capi";

/// The header in the project, as it is installed.
pub(crate) const PATH: &str = "liblu/capi/include/liblu.h";

/// The header as it should be.
pub(crate) fn make(project: &Path) -> Result<String> {
    let folder = project.join(CRATE);
    let settings = folder.join("cbindgen.toml");
    let mut config = Config::from_file(&settings)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("read {}", settings.display()))?;
    let root = folder.join("src/lu.rs");
    let source = fs::read_to_string(&root).with_context(|| format!("read {}", root.display()))?;
    let version = env!("CARGO_PKG_VERSION").split('.');
    let parts = ["@MAJOR@", "@MINOR@", "@PATCH@"].into_iter().zip(version);
    let macros = config.after_includes.take().unwrap_or_default();
    config.after_includes = Some(parts.fold(macros, |text, (name, part)| text.replace(name, part)));
    let licence = config.header.take().unwrap_or_default();
    config.header = Some(format!("{licence}\n\n/**\n{} */", comment(&source)));
    let bindings = Builder::new().with_crate(&folder).with_config(config).generate();
    let bindings = bindings.with_context(|| format!("make the header of {CRATE}"))?;
    let mut header = Vec::new();
    bindings.write(&mut header);
    let header = String::from_utf8(header).context("the header is not UTF-8")?;
    // For C, they are rules like any other.
    Ok(header.replace(" * # Safety\n", " * Needed:\n"))
}

/// The documentation of the crate, as the inside of a comment.
fn comment(source: &str) -> String {
    let lines = source.lines().filter_map(|line| line.strip_prefix("//!"));
    lines.flat_map(|line| [" *", line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_of_the_crate_is_a_comment() {
        assert_eq!(
            comment("// x\n//! Rules:\n//!\n//! - one\n\nmod y;\n"),
            " * Rules:\n *\n * - one\n"
        );
    }
}
