// SPDX-License-Identifier: MIT OR Apache-2.0

//! The documentation of the Rust crates that the kernel side adds or changes.
//!
//! `make rustdoc` knows the crates in `rust/` only, and takes minutes for those of Rust itself. kbuild
//! keeps the command that compiled each crate, and rustdoc takes the same options.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Builder, Kbuild};
use crate::failure::NextStep;
use crate::kernel::Recipe;
use crate::process::Job;
use crate::progress::Progress;
use crate::source::Tree;

/// The folder of objects and the name of each crate.
const CRATES: [(&str, &str); 6] = [
    ("rust", "kernel"),
    ("kernel/liveupdate/uapi", "liveupdate_uapi"),
    ("kernel/liveupdate/core", "luo_core"),
    ("kernel/liveupdate/luo", "luo"),
    ("kernel/liveupdate/memfd", "luo_memfd"),
    ("kernel/liveupdate/test", "luo_test"),
];

/// Upstream's crate: its private items may have links that only its authors' settings resolve.
const UPSTREAM: &str = "kernel";

/// The part of the kernel that is built: all of these crates, and what they need.
const TARGET: &str = "kernel/liveupdate/";

/// The name of the compiler in the commands that kbuild keeps.
const COMPILER: &str = "clippy-driver";

impl Builder<'_> {
    /// Documents the crates, and returns the folder of their pages; a link that leads nowhere is an
    /// error.
    pub(crate) fn document(&self, recipe: &Recipe, tree: &Tree, jobs: usize) -> Result<PathBuf> {
        let folder = self.planted_folder(recipe)?;
        let log = self.cache.path("logs", "kernel-docs.log");
        let kbuild = Kbuild { root: self.root, tree: &tree.folder, folder: &folder, log };
        let mut step = Progress::begin(self.cache, "document the crates of the kernel");
        kbuild.marked(|| self.make(recipe, &kbuild, &mut step, TARGET, jobs)).or_advise(|| {
            let next = format!("read the log {}", kbuild.log.display());
            ("the crates of the kernel do not build", next)
        })?;
        let pages = folder.join("pages");
        for (objects, name) in CRATES {
            step.now(name);
            let path = folder.join(objects).join(format!(".{name}.o.cmd"));
            let kept = fs::read_to_string(&path);
            let kept = kept.with_context(|| format!("read {}", path.display()))?;
            let options = if name == UPSTREAM { "" } else { "--document-private-items" };
            let script = rustdoc(&kept, options);
            let script = script.with_context(|| format!("no compiler in {}", path.display()))?;
            let mut command = self.root.command("sh", &folder, &[&tree.folder]);
            command.args(["-c", &script, "rustdoc"]).arg(&pages);
            // The kernel's crates use features that are not stable yet.
            command.env("RUSTC_BOOTSTRAP", "1");
            Job::new(command, &kbuild.log).run().or_advise(|| {
                let next = format!("correct the doc comments; all are in {}", kbuild.log.display());
                (format!("the documentation of the crate `{name}` has faults"), next)
            })?;
        }
        step.done();
        Ok(pages)
    }
}

/// The shell command that documents a crate into the folder `$1`, from the one that compiled it.
///
/// What is compiled and linted stays out of it. After the first `;`, the object is checked.
fn rustdoc(kept: &str, options: &str) -> Option<String> {
    let (_, command) = kept.lines().next()?.split_once(":=")?;
    let (before, after) = command.split(" ; ").next()?.split_once(COMPILER)?;
    let is_of_compiler = |word: &&str| {
        ["--emit=", "-Wclippy::", "-Aclippy::"].iter().any(|begin| word.starts_with(begin))
    };
    let mut words = after.split_whitespace().filter(|word| !is_of_compiler(word));
    let mut kept_words = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--out-dir" => drop(words.next()),
            word => kept_words.push(word),
        }
    }
    let (before, words) = (before.trim(), kept_words.join(" "));
    // A page of private items may link to them.
    let lints = "-Arustdoc::private_intra_doc_links";
    Some(format!("{before} rustdoc --output \"$1\" {options} {words} {lints}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_the_compiler_becomes_one_of_rustdoc() {
        let kept = "savedcmd_luo.o := OBJTREE=/b clippy-driver --edition=2021 -Wclippy::all \
                    -Aclippy::x -Dwarnings -Zcrate-attr='feature(a,b)' --out-dir luo/ \
                    --emit=dep-info=luo/.luo.o.d --emit=obj=luo/luo.o /t/luo.rs   ; ./objtool luo.o\n\
                    source_luo.o := /t/luo.rs\n";
        let expected = "OBJTREE=/b rustdoc --output \"$1\" -x --edition=2021 -Dwarnings \
                        -Zcrate-attr='feature(a,b)' /t/luo.rs -Arustdoc::private_intra_doc_links";
        assert_eq!(rustdoc(kept, "-x").as_deref(), Some(expected));
        assert_eq!(rustdoc("savedcmd_a.o := gcc -c a.c\n", ""), None);
    }
}
