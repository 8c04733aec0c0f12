// SPDX-License-Identifier: MIT OR Apache-2.0

//! A new build folder begins as a copy of a finished one.
//!
//! kbuild keeps with each object what it depends on, single symbols of the configuration among them.
//! So it makes again what the other configuration touches, and no more.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use walkdir::WalkDir;

use crate::cache::Cache;
use crate::kernel::{Flavour, Implementation, KernelKind, Profile, interrupted};
use crate::process::copy_folder;
use crate::progress::Progress;

/// The kinds of kernels that have most objects in common with this one, the best first.
///
/// Kernels of two profiles have only the tools of the build in common, which is half a minute of work: the debugging aids of
/// a profile change every object.
pub(crate) fn of(kind: KernelKind) -> impl Iterator<Item = KernelKind> {
    let mut others = Vec::new();
    for profile in Profile::value_variants() {
        for flavour in Flavour::value_variants() {
            for implementation in Implementation::value_variants() {
                let (implementation, profile, flavour) = (*implementation, *profile, *flavour);
                others.push(KernelKind { implementation, profile, flavour });
            }
        }
    }
    others.retain(|other| *other != kind);
    others.sort_by_key(|other| (other.profile != kind.profile, other.flavour != kind.flavour));
    others.into_iter()
}

/// Makes `folder` from the first of these build folders that is finished, if there is one.
pub(crate) fn plant(
    cache: &Cache,
    folder: &Path,
    mut seeds: impl Iterator<Item = PathBuf>,
) -> Result<()> {
    let is_finished = |seed: &PathBuf| seed.join("vmlinux").exists() && !interrupted::is(seed);
    let _alone = interrupted::no_build_begins();
    let Some(seed) = seeds.find(is_finished) else {
        return Ok(());
    };
    let step = Progress::begin(cache, "copy the build folder of a kernel much like it");
    let scratch = cache.scratch("seed")?;
    copy_folder(&seed, &scratch, cache.path("logs", "seed.log"))?;
    rename_in_commands(&scratch, &seed, folder)?;
    cache.publish(&scratch, folder)?;
    step.done();
    Ok(())
}

/// Makes commands that are remembered with the name of one folder those of another.
///
/// kbuild makes again what was made by another command; of objtool, whose commands name the folder, all
/// objects of C depend.
fn rename_in_commands(copy: &Path, from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    for entry in WalkDir::new(copy) {
        let entry = entry.with_context(|| format!("list {}", copy.display()))?;
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "cmd") {
            continue;
        }
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        if text.contains(&from) {
            fs::write(path, text.replace(&from, &to))
                .with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(implementation: Implementation, flavour: Flavour) -> KernelKind {
        KernelKind { implementation, profile: Profile::Release, flavour }
    }

    #[test]
    fn the_other_implementation_of_the_same_flavour_is_the_best_seed() {
        let (c, rust) = (Implementation::C, Implementation::Rust);
        let seeds: Vec<_> = of(kind(rust, Flavour::Host)).collect();
        assert_eq!(seeds.first(), Some(&kind(c, Flavour::Host)));
        assert!(!seeds.contains(&kind(rust, Flavour::Host)));
        let is_debug = |seed: &KernelKind| seed.profile == Profile::Debug;
        let first_debug = seeds.iter().position(is_debug).unwrap();
        let test = seeds.iter().position(|seed| *seed == kind(c, Flavour::Test)).unwrap();
        assert!(test < first_debug);
    }

    #[test]
    fn only_a_finished_build_is_a_seed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let path = |name: &str| cache.path("builds", name);
        let seeds = || ["none", "killed", "finished"].map(path).into_iter();
        plant(&cache, &path("new"), seeds()).unwrap();
        assert!(!path("new").exists());

        for name in ["killed", "finished"] {
            fs::create_dir_all(path(name)).unwrap();
            fs::write(path(name).join("vmlinux"), name).unwrap();
            fs::create_dir(path(name).join("tools")).unwrap();
            let command = format!("cc -o {0}/a.o {0}/a.c", path(name).display());
            fs::write(path(name).join("tools/.a.o.cmd"), command).unwrap();
        }
        drop(interrupted::BuildMark::set(&path("killed")).unwrap());
        plant(&cache, &path("new"), seeds()).unwrap();
        assert_eq!(fs::read(path("new").join("vmlinux")).unwrap(), b"finished");
        let command = fs::read_to_string(path("new").join("tools/.a.o.cmd")).unwrap();
        assert_eq!(command, format!("cc -o {0}/a.o {0}/a.c", path("new").display()));
    }
}
