// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask kernel series`: the kernel side as mails for maintainers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::cache::{Lock, remove, write_by_rename};
use crate::failure::{Failure, NextStep};
use crate::series::{
    Allowed, Cover, Identity, Mails, Patch, PatchBuilds, Pristine, Series, author, checkpatch, date,
};
use crate::setup::BuildSetup;
use crate::source::Tree;
use crate::task::vm_test::BuildOptions;

/// The letter in front, in the project.
const COVER: &str = "patches/cover-letter.md";

/// What is left to do in the cover letter.
const UNFINISHED: &str = "TODO";

/// What to do.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Write the mails into this folder, which must be new or empty
    #[arg(long, value_name = "DIR", required_unless_present_any = ["check", "builds"])]
    out: Option<PathBuf>,
    /// See that `git am` takes the mails, that checkpatch.pl has nothing to say that is not listed
    /// in patches/checkpatch.toml, and that they end in the tree that is tested
    #[arg(long)]
    check: bool,
    /// As --check, and see that the tree builds after each patch
    #[arg(long = "build")]
    builds: bool,
    /// Which version of the series: 2 makes it `[PATCH v2 01/20]`
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    reroll: u32,
    /// Ask for comments: `[RFC PATCH 01/20]`
    #[arg(long)]
    rfc: bool,
    #[command(flatten)]
    how: BuildOptions,
}

/// Runs the task.
pub(crate) fn run(options: &Options) -> Result<()> {
    let request = options.how.request();
    if let Some(out) = &options.out {
        check_free(out)?;
    }
    // What is wrong with heads should be told before anything long begins.
    let project = crate::project::Project::open()?.folder;
    let (author, date) = (signer(&project, options)?, date(&project)?);
    let series = Series::of(&crate::source::Overlay::of(&project)?)?;
    let cover = cover(&project)?;
    let allowed = Allowed::of(&project)?;

    let (setup, lock) = BuildSetup::open(request.linux.as_deref(), &[])?;
    setup.fetch(&lock)?;
    let (cache, root, source) = (&setup.cache, &setup.root, &setup.source);
    let touched = setup.overlay.patched(cache, root, source)?;
    let patches = series.patches(&setup.overlay, touched);
    let scratch = cache.scratch("series")?;
    let mails = Mails {
        cache,
        source,
        author: &author,
        date: &date,
        cover: &cover,
        version: options.reroll,
        prefix: if options.rfc { "RFC PATCH" } else { "PATCH" },
    };
    let mails = mails.write(&patches, &scratch)?;
    if options.check || options.builds {
        let files = setup.overlay.files(cache, root, source)?;
        let pristine =
            Pristine::open(cache, source, files.keys().cloned(), (&author, &date), &lock)?;
        let tree = setup.tree(&lock)?;
        let commits = check(&setup, &tree, &files, &pristine, &patches, &mails, &allowed)?;
        if options.builds {
            pristine.complete(cache, root, source)?;
            let (project, profile) = (&setup.project, request.profile);
            let (pristine, jobs) = (&pristine, request.jobs);
            let builds = PatchBuilds { cache, root, source, project, pristine, profile, jobs };
            let built = builds.build(&commits)?;
            let before = commits.len().saturating_sub(built);
            eprintln!("each patch builds: {built} were built now, {before} before");
        }
    }
    if let Some(out) = &options.out {
        deliver(&mails, out)?;
        if cover.text.contains(UNFINISHED) {
            eprintln!("note: {COVER} says {UNFINISHED}: write that before the series is sent");
        }
        eprintln!("{} mails in {}; send them with `git send-email`", mails.len(), out.display());
    }
    remove(&scratch)?;
    drop::<Lock>(lock);
    Ok(())
}

/// Applies the mails as a maintainer would; returns the commits.
fn check(
    setup: &BuildSetup,
    tree: &Tree,
    files: &BTreeMap<PathBuf, Vec<u8>>,
    pristine: &Pristine,
    series: &[Patch],
    mails: &[PathBuf],
    allowed: &Allowed,
) -> Result<Vec<String>> {
    let (_cover, patches) = mails.split_first().context("there is no mail")?;
    let commits = pristine.apply(patches)?;
    pristine.compare(files)?;
    let names = series.iter().map(|patch| patch.name.as_str());
    let mails: Vec<_> = names.zip(patches.iter().map(PathBuf::as_path)).collect();
    let warnings = checkpatch(&setup.cache, &tree.folder, &mails, allowed)?;
    eprintln!(
        "{} mails apply to Linux {}, and end in the tree that is tested; checkpatch.pl: no error, \
         {warnings} warnings, all listed",
        commits.len(),
        setup.source.version,
    );
    Ok(commits)
}

/// Who signs the mails off; mails that are only checked need nobody.
fn signer(project: &Path, options: &Options) -> Result<Identity> {
    match author(project) {
        Err(_) if options.out.is_none() => {
            Ok(Identity { name: "Nobody Yet".into(), email: "nobody@example.org".into() })
        }
        author => Ok(author?),
    }
}

fn cover(project: &Path) -> Result<Cover> {
    let text = fs::read_to_string(project.join(COVER)).context("read it");
    text.and_then(|text| Cover::parse(&text)).or_advise(|| {
        let what = format!("{COVER} cannot be sent");
        (what, "write the licence as a comment, the subject, an empty line, and the text")
    })
}

/// Refuses a folder with something in it: mails of two series must not mix.
fn check_free(out: &Path) -> Result<(), Failure> {
    let is_free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    let what = format!("--out {} is not an empty folder", out.display());
    Err(Failure::new(what, "give a new folder, or empty this one"))
}

fn deliver(mails: &[PathBuf], out: &Path) -> Result<()> {
    for mail in mails {
        let name = mail.file_name().context("a mail without a name")?;
        let content = fs::read(mail).with_context(|| format!("read {}", mail.display()))?;
        write_by_rename(&out.join(name), &content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_free(folder.path()).is_ok());
        assert!(check_free(&folder.path().join("new")).is_ok());
        fs::write(folder.path().join("0001-a.patch"), "").unwrap();
        assert!(check_free(folder.path()).is_err());
    }

    #[test]
    fn the_cover_letter_of_this_checkout_can_be_sent() {
        let cover = cover(&crate::project::Project::open().unwrap().folder).unwrap();
        assert!(cover.text.lines().all(|line| line.chars().count() <= 78), "{}", cover.text);
    }
}
