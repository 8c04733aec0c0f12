// SPDX-License-Identifier: MIT OR Apache-2.0

//! Mutants: kernels in which one rule is broken on purpose, to see that a test notices.
//!
//! A mutant is a patch in `selftests/mutants`. Its head has the broken rule and the names of the
//! tests that must fail. The patch never lands in the kernel: the files that it changes are in the
//! kernel tree until the next build, and its image lies in the folder of the run.

mod verdict;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum as _;

use crate::cache::{files, write_by_rename};
use crate::failure::{Failure, NextStep};
use crate::invocation::{Invocation, said};
use crate::kernel::{Hops, Profile};
use crate::source::{begins_hunks, touched_files};
use crate::suite::{self, Suite, Test};

pub(crate) use verdict::Seen;

/// Folder of the patches in the project.
pub(crate) const FOLDER: &str = "selftests/mutants";

/// The hops of a mutant that names none.
const USUAL: &str = "rust,rust";

/// A kernel in which one rule is broken.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    /// Name of the patch, without its extension.
    pub(crate) name: String,
    /// The broken rule.
    pub(crate) rule: String,
    /// The tests that must fail.
    pub(crate) tests: Vec<Test>,
    /// The kernels that each of these tests runs over.
    pub(crate) hops: Hops,
    /// Their profile, for tests that make sense under one only.
    pub(crate) profile: Option<Profile>,
    /// More parameters of these kernels, which take turns.
    pub(crate) parameters: Vec<String>,
    /// The whole text.
    pub(crate) patch: String,
}

/// All mutants of the checkout in `project`, by name.
///
/// # Errors
///
/// Those of reading the patches and of their heads.
pub(crate) fn all(project: &Path) -> Result<Vec<Mutant>> {
    let folder = project.join(FOLDER);
    let patches = files(&folder)?.into_iter();
    let patches = patches.filter(|path| path.extension().is_some_and(|of| of == "patch"));
    patches.map(|path| Mutant::read(&folder.join(path))).collect()
}

/// The mutant of this name.
///
/// # Errors
///
/// Those of [`all`]; there is no such mutant.
pub(crate) fn named(project: &Path, name: &str) -> Result<Mutant> {
    let all = all(project)?;
    let names: Vec<_> = all.iter().map(|mutant| mutant.name.clone()).collect();
    all.into_iter().find(|mutant| mutant.name == name).ok_or_else(|| {
        let what = format!("there is no mutant `{name}` in {FOLDER}");
        Failure::new(what, format!("choose some of: {}", names.join(", "))).into()
    })
}

/// The tests that no mutant names.
pub(crate) fn tests_without(mutants: &[Mutant]) -> Vec<Test> {
    let is_named = |test: &Test| mutants.iter().any(|mutant| mutant.tests.contains(test));
    suite::all().into_iter().filter(|test| !is_named(test)).collect()
}

impl Mutant {
    fn read(path: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&name, text).or_advise(|| {
            let what = format!("the head of {FOLDER}/{name}.patch is not that of a mutant");
            (what, "docs/testing.md shows how a mutant is written")
        })
    }

    fn parse(name: &str, patch: String) -> Result<Self> {
        let (mut rule, mut tests, mut parameters) = (Vec::new(), Vec::new(), Vec::new());
        let (mut hops, mut profile) = (None, None);
        for line in patch.lines().take_while(|line| !begins_hunks(line)) {
            if let Some(test) = line.strip_prefix("Test: ") {
                tests.extend(suite::select(Suite::All, &[test])?);
            } else if let Some(list) = line.strip_prefix("Hops: ") {
                hops = Some(list.parse().map_err(anyhow::Error::msg)?);
            } else if let Some(name) = line.strip_prefix("Profile: ") {
                profile = Some(Profile::from_str(name, false).map_err(anyhow::Error::msg)?);
            } else if let Some(more) = line.strip_prefix("Parameters: ") {
                parameters.push(more.to_owned());
            } else if !line.starts_with('#') {
                rule.push(line);
            }
        }
        let rule = rule.join(" ").trim().to_owned();
        ensure!(!rule.is_empty(), "it does not say which rule is broken");
        ensure!(!tests.is_empty(), "it has no line `Test: NAME`");
        let hops: Hops = hops.map_or_else(|| USUAL.parse(), Ok).map_err(anyhow::Error::msg)?;
        if let Some(test) = tests.iter().find(|test| !test.applies(&hops)) {
            bail!("the test {} makes no sense over {hops}", test.name);
        }
        Ok(Self { name: name.to_owned(), rule, tests, hops, profile, parameters, patch })
    }

    /// The files of the project that it changes, with their mutated content.
    ///
    /// # Errors
    ///
    /// The patch does not apply to the files as they are.
    pub(crate) fn files(&self, project: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let touched = touched_files(&self.patch);
        ensure!(!touched.is_empty(), "the mutant {} changes nothing", self.name);
        let scratch = tempfile::tempdir().context("make a folder")?;
        let folder = scratch.path();
        for file in &touched {
            let content = fs::read(project.join(file));
            let content = content.with_context(|| format!("read {}", file.display()))?;
            write_by_rename(&folder.join(file), &content)?;
        }
        let patch = folder.join("mutant.patch");
        fs::write(&patch, &self.patch).context("write the patch")?;
        // The folder is outside of any repository, so git only patches files.
        let git = Invocation::new(["git", "apply", "--whitespace=nowarn", "mutant.patch"]);
        let output = git.output(folder)?;
        if !output.status.success() {
            let what = format!("{FOLDER}/{}.patch does not apply: {}", self.name, said(&output));
            return Err(Failure::new(what, "adapt the patch to the files as they are now").into());
        }
        let mutated = |file: PathBuf| {
            let content = fs::read(folder.join(&file)).context("read a mutated file")?;
            ensure!(fs::read(project.join(&file))? != content, "{} stays", file.display());
            Ok((file, content))
        };
        touched.into_iter().map(mutated).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Project;
    use crate::source::Overlay;

    fn parse(head: &str) -> Result<Mutant> {
        Mutant::parse("x", format!("# SPDX\n{head}--- a/kernel/a.rs\n+++ b/kernel/a.rs\n"))
    }

    #[test]
    fn every_mutant_of_the_checkout_applies() {
        let project = Project::open().unwrap().folder;
        let right = Overlay::of(&project).unwrap().key;
        for mutant in all(&project).unwrap() {
            let files = mutant.files(&project).unwrap_or_else(|error| panic!("{error:#}"));
            let key = Overlay::with(&project, files).unwrap().key;
            assert_ne!(key, right, "{} changes no kernel", mutant.name);
        }
    }

    #[test]
    fn a_head_names_rule_tests_and_hops() {
        let mutant = parse("One rule,\nbroken.\nTest: kho\nTest: flb\nHops: c,rust\n").unwrap();
        assert_eq!(mutant.rule, "One rule, broken.");
        assert_eq!(mutant.tests.iter().map(|it| &it.name).collect::<Vec<_>>(), ["kho", "flb"]);
        assert_eq!(mutant.hops.to_string(), "c → rust");
        let usual = parse("Rule.\nTest: kho\n").unwrap();
        assert_eq!((&*usual.hops.to_string(), usual.profile), ("rust → rust", None));
        let debug = parse("Rule.\nTest: kho\nProfile: debug\n").unwrap();
        assert_eq!(debug.profile, Some(Profile::Debug));
        let with_parameters = parse("Rule.\nTest: kho\nParameters: a=1 b\n").unwrap();
        assert_eq!(with_parameters.parameters, ["a=1 b"]);
    }

    #[test]
    fn a_head_that_lacks_something_is_refused() {
        let refused = |head: &str| parse(head).unwrap_err().to_string();
        assert!(refused("Test: kho\n").contains("which rule"));
        assert!(refused("Rule.\n").contains("Test: NAME"));
        assert!(refused("Rule.\nTest: kho_\n").contains("no test `kho_`"));
        assert!(refused("Rule.\nTest: kunit\nHops: c,c\n").contains("makes no sense over c → c"));
        assert!(refused("Rule.\nTest: kho\nHops: rust\n").contains("two hops"));
        assert!(refused("Rule.\nTest: kho\nProfile: fast\n").contains("fast"));
    }

    #[test]
    fn a_patch_applies_or_says_that_it_does_not() {
        let project = tempfile::tempdir().unwrap();
        fs::create_dir_all(project.path().join("kernel")).unwrap();
        let file = project.path().join("kernel/a.rs");
        let head = "Rule.\nTest: kho\n--- a/kernel/a.rs\n+++ b/kernel/a.rs\n";
        let mutant = Mutant::parse("x", format!("{head}@@ -1 +1 @@\n-right\n+wrong\n")).unwrap();
        fs::write(&file, "right\n").unwrap();
        let files = mutant.files(project.path()).unwrap();
        assert_eq!(files[Path::new("kernel/a.rs")], b"wrong\n");
        assert_eq!(fs::read(&file).unwrap(), b"right\n");
        fs::write(&file, "moved\n").unwrap();
        let error = mutant.files(project.path()).unwrap_err().to_string();
        assert!(error.contains("x.patch does not apply"), "{error}");
    }
}
