// SPDX-License-Identifier: MIT OR Apache-2.0

//! apt inside the toolchain root, with folders of its own: it knows the archive's keys there, needs no rights,
//! and changes nothing of the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::failure::NextStep;
use crate::process::Job;
use crate::toolchain::{MIRROR, Root, host_settings};

/// apt with folders of its own.
pub(crate) struct Apt<'a> {
    cache: &'a Cache,
    root: &'a Root,
    /// Name of its folder in the cache.
    name: &'static str,
}

impl<'a> Apt<'a> {
    /// apt with its folder of this name in the cache.
    pub(crate) fn new(cache: &'a Cache, root: &'a Root, name: &'static str) -> Self {
        Self { cache, root, name }
    }

    fn folder(&self) -> PathBuf {
        self.cache.folder().join(self.name)
    }

    /// Where all that it says is kept.
    pub(crate) fn log(&self) -> PathBuf {
        self.cache.path("logs", "source.log")
    }

    /// Writes the configuration: the suites, from the mirror that the root was made from.
    pub(crate) fn configure(&self, suites: &[String]) -> Result<()> {
        let folder = self.folder();
        for part in ["lists/partial", "archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
        }
        let path = self.root.folder().join("etc/apt/sources.list");
        let list = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let wanted = std::env::var(MIRROR).ok();
        let mirror = wanted.as_deref().or_else(|| mirror(&list));
        let mirror = mirror.with_context(|| format!("no archive in {}", path.display()))?;
        let suites = suites.iter().map(|suite| format!("deb {mirror} {suite} main\n"));
        fs::write(folder.join("sources.list"), suites.collect::<String>())
            .context("write the sources of apt")?;
        fs::write(folder.join("status"), "").context("write the status of apt")?;
        fs::write(folder.join("apt.conf"), configuration(&folder)).context("write apt.conf")
    }

    /// A program of apt.
    pub(crate) fn command(&self, program: &str, cwd: &Path) -> Command {
        let folder = self.folder();
        let mut command = self.root.command("env", cwd, &[&folder]);
        command.arg(format!("APT_CONFIG={}", folder.join("apt.conf").display())).arg(program);
        command
    }

    /// The output of a program of apt.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program, &self.folder());
        command.args(arguments);
        Job::new(command, self.log()).output()
    }

    /// Fetches the package lists.
    pub(crate) fn update(&self) -> Result<()> {
        let output = self.run("apt-get", &["-q", "-o", "APT::Update::Error-Mode=any", "update"]);
        output.map(drop).or_advise(|| {
            let next = "check the network (a proxy set for apt is used), or give a kernel tree with \
                        --linux DIR";
            ("cannot fetch the package lists of the Debian archive", next)
        })
    }
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    let mut text = format!(
        "Dir::State \"{folder}\";\nDir::State::lists \"{folder}/lists\";\n\
         Dir::State::status \"{folder}/status\";\nDir::Cache \"{folder}\";\n\
         Dir::Cache::archives \"{folder}/archives\";\n\
         Dir::Etc::SourceList \"{folder}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
         Dir::Etc::PreferencesParts \"/dev/null\";\n\
         APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
    );
    for setting in host_settings() {
        text += &format!("{setting};\n");
    }
    text
}

/// The mirror of the first archive in a one-line-style list.
fn mirror(list: &str) -> Option<&str> {
    let mut lines = list.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut words| {
        let is_archive = words.next() == Some("deb");
        words.find(|word| is_archive && word.contains("://"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_mirror_is_the_archive_of_the_root() {
        let list = "# comment\ndeb [signed-by=/x.gpg] http://mirror/debian trixie main\n\
                    deb http://security/debian trixie-security main\n";
        assert_eq!(mirror(list), Some("http://mirror/debian"));
        assert_eq!(mirror("deb-src http://mirror/debian trixie main"), None);
    }

    proptest! {
        #[test]
        fn no_list_makes_the_parser_panic(text in "(?s).*") {
            mirror(&text);
        }
    }
}
