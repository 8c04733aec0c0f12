// SPDX-License-Identifier: MIT OR Apache-2.0

//! Debian systems as archives, made by mmdebstrap from packages that apt has checked.

use std::path::Path;

use anyhow::Result;

use crate::arch::ARCH;
use crate::cache::Cache;
use crate::failure::NextStep;
use crate::process::Job;
use crate::progress::Progress;
use crate::toolchain::enter::{self, Ids};

/// Variable with a Debian mirror to use instead of the usual one.
pub(crate) const MIRROR: &str = "LIVEUPDATE_DEBIAN_MIRROR";

/// A system to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bootstrap<'a> {
    /// Debian's suite.
    pub(crate) suite: &'a str,
    /// Packages beyond the minimal ones.
    pub(crate) packages: &'a [String],
    /// A package, and the least version that will do.
    pub(crate) least: Option<(&'a str, &'a str)>,
}

impl Bootstrap<'_> {
    /// Makes the system and writes it to a tar file.
    pub(crate) fn run(
        self,
        cache: &Cache,
        archive: &Path,
        log: &str,
        step: &mut Progress<'_>,
    ) -> Result<()> {
        let mut command = enter::isolated(Ids::All);
        // In a user namespace with a range of IDs, every user has enough rights.
        command.args(["--mount-proc", "--", "mmdebstrap", "--mode=root"]);
        let architectures = format!("--architectures={}", ARCH.debian);
        command.args(["--variant=minbase", "--format=tar", &architectures]);
        command.arg(format!("--include={}", self.packages.join(",")));
        // No need to wait for the disk: unfinished work is thrown away.
        command.arg("--dpkgopt=force-unsafe-io");
        for path in ["doc", "info", "locale", "man"] {
            command.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
        }
        if let Some((package, version)) = self.least {
            command.arg(format!(
                "--customize-hook=chroot \"$1\" sh -c 'there=$(dpkg-query -W -f \\${{Version}} {package}); \
                 echo {package} $there; dpkg --compare-versions $there ge {version}'"
            ));
        }
        for setting in host_settings() {
            command.arg(format!("--aptopt={setting}"));
        }
        command.arg(self.suite).arg(archive);
        if let Some(mirror) = std::env::var_os(MIRROR) {
            command.arg(mirror);
        }
        command.env("TMPDIR", cache.scratch("mmdebstrap")?);
        let log = cache.path("logs", log);
        Job::new(command, &log).on_line(|line| step.now(line)).run().or_advise(|| {
            let next = format!(
                "read {}; check the network (a proxy set for apt is used), or set {MIRROR} to a \
                 Debian mirror that you can reach",
                log.display()
            );
            (format!("cannot make a system from Debian's packages ({})", self.suite), next)
        })
    }
}

/// The settings of the host for fetching packages, as options for another apt: proxies, and whether
/// old lists are good enough (they are where a mirror stands still).
pub(crate) fn host_settings() -> Vec<String> {
    let dump = std::process::Command::new("apt-config").arg("dump").output();
    let dump = dump.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    fetch_settings(&dump.unwrap_or_default())
}

fn fetch_settings(dump: &str) -> Vec<String> {
    let is_wanted = |line: &&str| {
        let name = line.split(' ').next().unwrap_or_default();
        let known = ["Acquire::Check-Date", "Acquire::Check-Valid-Until"].contains(&name);
        // Not `Proxy-Auto-Detect`: that is a program of the host.
        let proxy = name.starts_with("Acquire::") && name.split("::").any(|part| part == "Proxy");
        (known || proxy) && !line.ends_with("\"\";")
    };
    dump.lines().filter(is_wanted).map(|line| line.trim_end_matches(';').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_host_are_found() {
        let dump = "APT \"\";\nAcquire::http::Proxy \"http://proxy:3142\";\n\
                    Acquire::https::Proxy \"\";\nAcquire::Retries \"3\";\n\
                    Acquire::Check-Valid-Until \"false\";\n\
                    Acquire::http::Proxy-Auto-Detect \"/usr/bin/x\";\n";
        let expected =
            ["Acquire::http::Proxy \"http://proxy:3142\"", "Acquire::Check-Valid-Until \"false\""];
        assert_eq!(fetch_settings(dump), expected);
    }
}
