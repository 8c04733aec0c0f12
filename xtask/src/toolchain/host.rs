// SPDX-License-Identifier: MIT OR Apache-2.0

//! The programs that the host must have for a toolchain root, and how to get them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::cache::Cache;
use crate::failure::Failure;
use crate::process::Job;
use crate::progress::Progress;
use crate::toolchain::enter::{self, Ids};

/// Where users get ranges of user and group IDs.
const SUBORDINATE: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// How many IDs Debian gives to a user.
const RANGE: u64 = 65_536;

/// Something that the host must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// A description, for people.
    pub(crate) what: String,
    /// Whether it is there.
    pub(crate) met: bool,
    /// How to get it: a command.
    pub(crate) remedy: String,
    /// Debian package to install, if that is the remedy.
    package: Option<&'static str>,
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// All needs of this user on this host.
pub(crate) fn needs() -> Vec<Need> {
    let mut needs = vec![
        program("setpriv", "util-linux"),
        program("unshare", "util-linux"),
        program("mmdebstrap", "mmdebstrap"),
        keyring(),
    ];
    if !is_root() {
        needs.push(program("newuidmap", "uidmap"));
        needs.extend(SUBORDINATE.map(subordinate_ids));
    }
    needs.push(namespaces());
    needs
}

/// Sees to it that all needs are met: installs what is missing if it may.
pub(crate) fn meet(cache: &Cache) -> Result<()> {
    let missing: Vec<Need> = needs().into_iter().filter(|need| !need.met).collect();
    let packages: Vec<&str> = missing.iter().filter_map(|need| need.package).collect();
    if !packages.is_empty() && is_root() && find("apt-get").is_some() {
        install(cache, &packages)?;
        return match needs().into_iter().find(|need| !need.met) {
            None => Ok(()),
            Some(need) => Err(Failure::new(format!("missing: {}", need.what), need.remedy).into()),
        };
    }
    if missing.is_empty() {
        return Ok(());
    }
    let what: Vec<&str> = missing.iter().map(|need| need.what.as_str()).collect();
    let mut remedies: Vec<&str> = missing.iter().map(|need| need.remedy.as_str()).collect();
    remedies.dedup();
    let next = format!("run as root:\n{}", remedies.join("\n"));
    Err(Failure::new(format!("this machine lacks {}", what.join(", ")), next).into())
}

fn install(cache: &Cache, packages: &[&str]) -> Result<()> {
    let step = Progress::begin(cache, format!("install {}", packages.join(" ")));
    let log = cache.path("logs", "apt-install.log");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // Lists may be missing or old on a fresh machine; the installed package decides.
    let _ = Job::new(apt(&["update"]), &log).run();
    let mut command = apt(&["install", "--no-install-recommends"]);
    command.args(packages);
    Job::new(command, &log).run().map_err(|error| {
        let what = format!("cannot install {}", packages.join(" "));
        let next = "check the network and the apt sources of this machine".to_owned();
        error.context(Failure::new(what, next))
    })?;
    step.done();
    Ok(())
}

fn program(name: &str, package: &'static str) -> Need {
    Need {
        what: format!("`{name}`"),
        met: find(name).is_some(),
        remedy: install_command(package),
        package: Some(package),
    }
}

/// Debian's keys: every Debian has them, its derivatives may not.
fn keyring() -> Need {
    let package = "debian-archive-keyring";
    Need {
        what: "the keys of the Debian archive".into(),
        met: Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists(),
        remedy: install_command(package),
        package: Some(package),
    }
}

fn install_command(package: &str) -> String {
    format!("apt-get install --no-install-recommends {package}")
}

/// Where a program lies.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.is_file());
    // Those that belong to root are not on every user's PATH.
    found.or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file()))
}

/// Packages of Debian own files of several users, so a range of user IDs is needed to unpack them.
fn subordinate_ids(file: &str) -> Need {
    let uid = rustix::process::getuid().as_raw().to_string();
    let user = user_name();
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let name = if user.is_empty() { uid.clone() } else { user.clone() };
    let first = free_range(&[&read(SUBORDINATE[0]), &read(SUBORDINATE[1])]);
    let range = format!("{first}-{}", first + RANGE - 1);
    Need {
        what: format!("a range for you in {file}"),
        met: has_range(&read(file), &user, &uid),
        remedy: format!("usermod --add-subuids {range} --add-subgids {range} {name}"),
        package: None,
    }
}

/// The name of this user; the environment may know another one.
fn user_name() -> String {
    let output = Command::new("id").arg("-un").output();
    let name = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    name.unwrap_or_default()
}

/// The first ID above all IDs in use.
fn free_range(files: &[&str]) -> u64 {
    let ends = files.iter().flat_map(|file| file.lines()).filter_map(|line| {
        let mut numbers = line.trim().split(':').skip(1).map(str::parse::<u64>);
        numbers.next()?.ok()?.checked_add(numbers.next()?.ok()?)
    });
    ends.max().unwrap_or_default().max(100_000)
}

fn has_range(text: &str, user: &str, uid: &str) -> bool {
    text.lines().any(|line| {
        let mut fields = line.trim().split(':');
        let who = fields.next().unwrap_or_default();
        let count = fields.nth(1).and_then(|count| count.parse::<u64>().ok());
        !who.is_empty() && (who == user || who == uid) && count.is_some_and(|count| count >= RANGE)
    })
}

/// Every command in the toolchain root has namespaces of its own.
fn namespaces() -> Need {
    let mut command = enter::isolated(Ids::Own);
    command.args(["--", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    let (what, remedy) = if is_root() {
        let remedy = "# a container needs CAP_SYS_ADMIN: docker run --privileged";
        ("the right to make namespaces", remedy)
    } else {
        let remedy = "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000 \
                      kernel.apparmor_restrict_unprivileged_userns=0 (those that exist)";
        ("user namespaces for unprivileged users", remedy)
    };
    Need {
        what: what.into(),
        met: command.status().is_ok_and(|status| status.success()),
        remedy: remedy.into(),
        package: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_belongs_to_a_name_or_a_number() {
        let file = "alice:100000:65536\n1001:200000:65536\ncarol:300000:10\n";
        assert!(has_range(file, "alice", "1000"));
        assert!(has_range(file, "bob", "1001"));
        assert!(!has_range(file, "carol", "1002"), "too small");
        assert!(!has_range(file, "", "1003"));
        assert!(!has_range("", "alice", "1000"));
    }

    #[test]
    fn a_new_range_is_nobodys() {
        assert_eq!(free_range(&["", ""]), 100_000);
        assert_eq!(free_range(&["a:100000:65536\nb:300000:10\n", "c:200000:200000\nx\n"]), 400_000);
        assert_eq!(free_range(&["a:x:1\nb:18446744073709551615:1"]), 100_000);
    }

    #[test]
    fn programs_are_found() {
        assert!(program("sh", "dash").met);
        let need = program("no-such-program", "a-package");
        assert!(!need.met && need.remedy.ends_with("a-package"));
    }
}
