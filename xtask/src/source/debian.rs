// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel source from Debian's archive, by way of apt's signed lists.
//!
//! apt runs inside the toolchain root with folders of its own: it knows the archive's keys there,
//! needs no rights, and changes nothing of the host.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Key, Lock, remove};
use crate::failure::{Failure, NextStep};
use crate::interrupt;
use crate::process::Job;
use crate::progress::Progress;
use crate::project::{Project, SourceSettings};
use crate::source::Source;
use crate::toolchain::{Apt, Root};

/// Folder of apt in the cache.
const FOLDER: &str = "apt";

/// Record of the version that was chosen.
const RECORD: &str = "source.json";

/// The version that this cache works with until it is told to look again.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Chosen {
    /// Key of the settings that it was chosen by.
    settings: String,
    /// Debian version: `7.3.4-1~bpo13+1`.
    version: String,
}

impl Chosen {
    /// The source of this version, downloaded or not.
    fn source(&self, cache: &Cache) -> Source {
        let key = Key::of("source", 1).with(&self.version).finish();
        Source {
            folder: cache.path("sources", &key),
            version: self.version.clone(),
            is_given: false,
            name: key.clone(),
            key,
        }
    }
}

/// The source chosen earlier for these settings, which need not be there.
pub(crate) fn chosen(cache: &Cache, settings: &SourceSettings) -> Option<Source> {
    let chosen: Chosen = cache.read_record(RECORD)?;
    let source = chosen.source(cache);
    (chosen.settings == settings_key(settings)).then_some(source)
}

/// The source, chosen if it is not. What is built from it may be there without it.
pub(crate) fn choose(cache: &Cache, project: &Project, root: &Root, lock: &Lock) -> Result<Source> {
    match chosen(cache, &project.settings.source) {
        Some(source) => Ok(source),
        None => update(cache, project, root, lock),
    }
}

/// Downloads and unpacks a chosen source if it is not there.
pub(crate) fn fetch(
    cache: &Cache,
    project: &Project,
    root: &Root,
    source: &Source,
    _: &Lock,
) -> Result<()> {
    if source.is_given || source.folder.exists() {
        return Ok(());
    }
    download(cache, &project.settings.source, root, source)
}

/// Asks the archive for the newest version, fetches and remembers it.
pub(crate) fn update(cache: &Cache, project: &Project, root: &Root, _: &Lock) -> Result<Source> {
    let settings = &project.settings.source;
    let step = Progress::begin(cache, "look for the newest kernel source");
    let apt = Apt::new(cache, root, FOLDER);
    apt.configure(&settings.suites)?;
    let fetched = apt.update();
    let offered = parse_madison(&apt.run("apt-cache", &["madison", &settings.package])?);
    let version = match (newest(&apt, settings, offered)?, fetched) {
        (Some(version), Ok(())) => version,
        (Some(version), Err(error)) => {
            interrupt::check()?;
            eprintln!("note: not every package list could be fetched:");
            for line in complaints(&error.root_cause().to_string()) {
                eprintln!("      {line}");
            }
            version
        }
        (None, Err(error)) => return Err(error),
        (None, Ok(())) => {
            let suites = settings.suites.join(", ");
            let what = format!("none of the suites {suites} offers {} any more", settings.package);
            let next = "give a Linux 7.3 tree of your own with --linux DIR, or name other suites \
                        in xtask/kernel.toml";
            return Err(Failure::new(what, next).into());
        }
    };
    step.done();
    if version != settings.tried {
        let tried = &settings.tried;
        eprintln!("note: Linux {version} is not the version that was tried ({tried})");
    }
    let chosen = Chosen { settings: settings_key(settings), version };
    let source = chosen.source(cache);
    if !source.folder.exists() {
        download(cache, settings, root, &source)?;
    }
    cache.write_record(RECORD, &chosen)?;
    Ok(source)
}

fn download(cache: &Cache, settings: &SourceSettings, root: &Root, source: &Source) -> Result<()> {
    let apt = Apt::new(cache, root, FOLDER);
    let step = Progress::begin(cache, format!("download Linux {}", source.version));
    apt.configure(&settings.suites)?;
    let folder = cache.path("downloads", &source.key);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let package = format!("{}={}", settings.package, source.version);
    let mut command = apt.command("apt-get", &folder);
    command.args(["-q", "download", &package]);
    Job::new(command, apt.log()).run().or_advise(|| {
        (format!("cannot download {package}"), "check the network, then run the same command again")
    })?;
    step.done();

    let step = Progress::begin(cache, format!("unpack Linux {}", source.version));
    let scratch = cache.scratch("source")?;
    let mut command = root.command("sh", &scratch, &[&folder]);
    command.args(["-ec", UNPACK, "unpack"]).arg(&folder);
    Job::new(command, apt.log()).run().context("unpack the kernel source")?;
    cache.publish(&scratch.join("linux"), &source.folder)?;
    remove(&scratch)?;
    remove(&folder)?;
    step.done();
    Ok(())
}

/// Unpacks the tar file of the only package in folder `$1` into `./linux`.
const UNPACK: &str = r#"
mkdir package linux
dpkg-deb --extract "$1"/*.deb package
tar --extract --no-same-owner --strip-components=1 --directory=linux --file package/usr/src/linux-source-*.tar.xz
"#;

/// The marks of errors in the output of apt.
fn complaints(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter(|line| line.starts_with("E: ") || line.starts_with("W: "))
}

/// Versions in the output of `apt-cache madison`: `package | version | where`.
fn parse_madison(text: &str) -> Vec<String> {
    let versions = text.lines().filter_map(|line| {
        let mut fields = line.split('|').map(str::trim);
        let (version, place) = (fields.nth(1)?, fields.next()?);
        (!version.is_empty() && place.ends_with("Packages")).then(|| version.to_owned())
    });
    versions.collect()
}

/// The newest version of the series, by dpkg's order.
fn newest(
    apt: &Apt<'_>,
    settings: &SourceSettings,
    versions: Vec<String>,
) -> Result<Option<String>> {
    let series = format!("{}.", settings.series);
    let mut best: Option<String> = None;
    for version in versions.into_iter().filter(|version| version.starts_with(&series)) {
        let newer = match &best {
            None => true,
            Some(best) => {
                let script = "dpkg --compare-versions \"$1\" gt \"$2\" && echo newer || echo older";
                let arguments = ["-c", script, "compare", &version, best];
                apt.run("sh", &arguments)?.trim() == "newer"
            }
        };
        if newer {
            best = Some(version);
        }
    }
    Ok(best)
}

fn settings_key(settings: &SourceSettings) -> String {
    let key = Key::of("choice", 1).with(&settings.series).with(&settings.package);
    key.with(settings.suites.join(" ")).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn madison_is_understood() {
        let text = " linux-source-7.3 | 7.3.4-1~bpo13+1 | http://mirror/debian suite/main amd64 Packages\n\
                    linux-source-7.3 |    7.3.6-1 | http://mirror/debian sid/main amd64 Packages\n\
                    linux |    7.3.6-1 | http://mirror/debian sid/main Sources\n\
                    W: something else\n";
        assert_eq!(parse_madison(text), ["7.3.4-1~bpo13+1", "7.3.6-1"]);
        assert!(parse_madison("").is_empty());
    }

    proptest! {
        #[test]
        fn no_list_makes_the_parsers_panic(text in "(?s).*") {
            parse_madison(&text);
        }
    }
}
