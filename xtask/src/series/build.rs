// SPDX-License-Identifier: MIT OR Apache-2.0

//! Building the tree after each patch.
//!
//! All trees have the configuration of the Rust kernel. kconfig leaves out what a tree does not know
//! yet, so those before the choice build the C implementation. A tree that was built once is not built
//! again until a patch changes it.

use anyhow::Result;

use crate::cache::{Cache, Key, Passed};
use crate::failure::NextStep;
use crate::kernel::{Flavour, Fragments, Implementation, Kbuild, KernelKind, Profile, Recipe};
use crate::progress::Progress;
use crate::project::Project;
use crate::series::Pristine;
use crate::source::Source;
use crate::toolchain::Root;

/// Patches after which the tree was built.
const RECORD: &str = "series-built.json";

/// Builds the trees of an applied series.
pub(crate) struct PatchBuilds<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) root: &'a Root,
    pub(crate) source: &'a Source,
    pub(crate) project: &'a Project,
    pub(crate) pristine: &'a Pristine,
    pub(crate) profile: Profile,
    pub(crate) jobs: usize,
}

impl PatchBuilds<'_> {
    /// Builds the trees of `commits` in order, and says how many had to be.
    pub(crate) fn build(&self, commits: &[String]) -> Result<usize> {
        let (implementation, profile) = (Implementation::Rust, self.profile);
        let kind = KernelKind { implementation, profile, flavour: Flavour::Test };
        let recipe = Recipe { kind, fragments: Vec::new() };
        let fragments = Fragments::of(&recipe, self.project)?;
        let name = format!("{}-{}-series-{profile}", self.root.key, self.source.name);
        let folder = self.cache.path("builds", name);
        let log = self.cache.path("logs", "series-build.log");
        let kbuild = Kbuild { root: self.root, tree: self.pristine.folder(), folder: &folder, log };
        let mut known = Passed::open(self.cache, RECORD);
        let mut built = 0;
        for (number, commit) in (1..).zip(commits) {
            let is_last = number == commits.len();
            let content = self.pristine.built_from(commit)?;
            let key = Key::of("series-step", 3).with(&self.root.key).with(&self.source.key);
            let key = key.with(content).with(fragments.text()).finish();
            if known.has(&key) {
                continue;
            }
            let subject = self.pristine.subject(commit)?;
            let name = format!("build after patch {number} of {}: {subject}", commits.len());
            let mut step = Progress::begin(self.cache, name);
            self.pristine.checkout(commit)?;
            let work = || {
                let made = kbuild.configuration(&fragments)?;
                // Only the last tree knows all symbols.
                if is_last {
                    fragments.check(&made)?;
                }
                kbuild.make(&made, &["vmlinux"], self.jobs, &mut step)
            };
            kbuild.marked(work).or_advise(|| {
                let what = format!(
                    "the tree does not build after patch {number} of the series, `{subject}`"
                );
                (what, format!("read the log {}", kbuild.log.display()))
            })?;
            step.done();
            built += 1;
            known.add(key)?;
        }
        Ok(built)
    }
}
