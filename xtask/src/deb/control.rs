// SPDX-License-Identifier: MIT OR Apache-2.0

//! What dpkg wants to know of a package.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use walkdir::WalkDir;

use crate::arch::ARCH;
use crate::process::{Job, bound};

/// The version of all packages.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The date in packages, so that they do not depend on the day on which they are made: 2026-11-01.
pub(super) const DATE: &str = "1793491200";

/// The person who makes the packages, as git knows them: a package says whom to ask.
pub(super) fn maintainer(project: &Path) -> String {
    let ask = |key: &str| {
        let mut command = bound("git");
        command.args(["config", "--get", key]).current_dir(project);
        let output = command.output().ok().filter(|output| output.status.success())?;
        let value = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (!value.is_empty()).then_some(value)
    };
    match ask("user.name").zip(ask("user.email")) {
        Some((name, address)) => format!("{name} <{address}>"),
        None => "unknown <unknown@localhost.localdomain>".into(),
    }
}

/// The files of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Library,
    Development,
    Agent,
    Qemu,
    CloudHypervisor,
}

/// A package.
#[derive(Clone, Copy, Debug)]
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) part: Part,
    section: &'static str,
    /// What it needs besides the C library.
    depends: &'static str,
    summary: &'static str,
    description: &'static str,
}

/// All packages. The name of the library is that of its ABI, as Debian's policy wants it.
pub(super) const PACKAGES: &[Package] = &[
    Package {
        name: "liblu0.2",
        part: Part::Library,
        section: "libs",
        depends: "",
        summary: "live updates of a hypervisor's kernel, shared library",
        description: "With this library, virtual machine monitors and databases preserve their\n\
                      memory and their files over an update of the kernel: it has sessions, a\n\
                      list of the files in each, and the events of an update.",
    },
    Package {
        name: "liblu-dev",
        part: Part::Development,
        section: "libdevel",
        depends: concat!("liblu0.2 (= ", env!("CARGO_PKG_VERSION"), ")"),
        summary: "live updates of a hypervisor's kernel, for C programs",
        description: "The header, the static library and the manual pages of liblu, with which\n\
                      virtual machine monitors and databases survive an update of the kernel.",
    },
    Package {
        name: "luod",
        part: Part::Agent,
        section: "admin",
        depends: "init-system-helpers (>= 1.54)",
        summary: "agent of live updates of a hypervisor's kernel",
        description: "luod holds the sessions of programs that survive an update of the kernel,\n\
                      and leads them through it. Its command luctl loads the next kernel, checks\n\
                      whether an update would go well, and updates.",
    },
    Package {
        name: "lu-qemu",
        part: Part::Qemu,
        section: "admin",
        depends: "luod",
        summary: "virtual machines of QEMU survive updates of the host's kernel",
        description: "lu-qemu runs an unmodified QEMU. When luod updates the kernel, the memory\n\
                      of the guest stays where it is, and a new QEMU goes on with it.",
    },
    Package {
        name: "luod-ch",
        part: Part::CloudHypervisor,
        section: "admin",
        depends: "luod",
        summary: "virtual machines of Cloud Hypervisor survive updates of the host's kernel",
        description: "luod-ch runs an unmodified Cloud Hypervisor. When luod updates the kernel,\n\
                      it takes the guest by a local migration, and gives it to a new Cloud\n\
                      Hypervisor in the next kernel.",
    },
];

/// What is known of staged files.
#[derive(Debug)]
pub(super) struct Facts {
    /// Files, relative to the root.
    files: Vec<PathBuf>,
    kib: u64,
    /// The least version of the C library; `None` without programs.
    libc: Option<(u32, u32)>,
}

impl Facts {
    /// Looks at all files below a folder.
    pub(super) fn of(root: &Path) -> Result<Self> {
        let mut facts = Self { files: Vec::new(), kib: 0, libc: None };
        for entry in WalkDir::new(root).sort_by_file_name() {
            let entry = entry?;
            let path = entry.path();
            facts.kib += 1;
            if entry.file_type().is_file() {
                let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
                facts.kib += bytes.len() as u64 / 1024;
                if bytes.starts_with(b"\x7fELF") {
                    facts.libc = facts.libc.max(libc_of(&bytes));
                }
                let relative = path.strip_prefix(root)?.to_owned();
                facts.files.push(relative);
            }
        }
        Ok(facts)
    }
}

/// The newest version of the C library whose symbols a program names.
fn libc_of(program: &[u8]) -> Option<(u32, u32)> {
    const MARK: &[u8] = b"GLIBC_";
    let places = program.windows(MARK.len()).enumerate().filter(|(_, it)| *it == MARK);
    let versions = places.filter_map(|(at, _)| {
        let rest = program.get(at + MARK.len()..)?;
        let text = rest.split(|byte| !byte.is_ascii_digit() && *byte != b'.').next()?;
        let mut parts = str::from_utf8(text).ok()?.split('.').map(str::parse::<u32>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    });
    versions.max()
}

/// Writes the files for dpkg.
pub(super) fn write(
    package: &Package,
    root: &Path,
    facts: &Facts,
    maintainer: &str,
    log: &Path,
) -> Result<()> {
    let mut command = bound("md5sum");
    command.arg("--").args(&facts.files).current_dir(root);
    let sums = Job::new(command, log).output().context("sum the files up")?;
    let folder = root.join("DEBIAN");
    fs::create_dir_all(&folder).context("make DEBIAN")?;
    let put = |name: &str, text: &str, mode: u32| {
        let path = folder.join(name);
        let written = fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        written.with_context(|| format!("write {}", path.display()))
    };
    put("control", &control(package, facts, maintainer), 0o644)?;
    put("md5sums", &sums, 0o644)?;
    match package.part {
        Part::Library => {
            put("triggers", "activate-noawait ldconfig\n", 0o644)?;
            let name = package.name;
            let abi = name.trim_start_matches("liblu");
            put("shlibs", &format!("liblu {abi} {name} (>= {VERSION})\n"), 0o644)
        }
        Part::Development | Part::Qemu | Part::CloudHypervisor => Ok(()),
        Part::Agent => {
            put("postinst", POSTINST, 0o755)?;
            put("prerm", PRERM, 0o755)?;
            put("postrm", POSTRM, 0o755)
        }
    }
}

fn control(package: &Package, facts: &Facts, maintainer: &str) -> String {
    let libc = facts.libc.map(|(major, minor)| format!("libc6 (>= {major}.{minor}), libgcc-s1"));
    let depends = [libc.as_deref().unwrap_or_default(), package.depends];
    let depends: Vec<_> = depends.into_iter().filter(|it| !it.is_empty()).collect();
    let Package { name, section, summary, description, .. } = package;
    let mut text = format!(
        "Package: {name}\nSource: liveupdate\nVersion: {VERSION}\nArchitecture: {}\nMaintainer: \
         {maintainer}\nInstalled-Size: {}\nSection: {section}\nPriority: optional\n",
        ARCH.debian, facts.kib
    );
    if !depends.is_empty() {
        let _ = writeln!(text, "Depends: {}", depends.join(", "));
    }
    if package.part == Part::Library {
        text.push_str("Multi-Arch: same\n");
    }
    let _ = writeln!(text, "Description: {summary}");
    for line in description.lines() {
        let _ = writeln!(text, " {line}");
    }
    text
}

/// Units are enabled and started, and luod is started again after an upgrade: the service manager keeps its
/// sessions meanwhile. This is what `dh_installsystemd` writes.
const POSTINST: &str = r#"#!/bin/sh
set -e
units="luod-agent.socket luod-manager.socket luod.service"
case "$1" in
configure | abort-upgrade | abort-deconfigure | abort-remove)
    for unit in $units; do
        deb-systemd-helper unmask "$unit" >/dev/null || true
        if deb-systemd-helper --quiet was-enabled "$unit"; then
            deb-systemd-helper enable "$unit" >/dev/null || true
        else
            deb-systemd-helper update-state "$unit" >/dev/null || true
        fi
    done
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then
            deb-systemd-invoke restart luod.service >/dev/null || true
        else
            deb-systemd-invoke start $units >/dev/null || true
        fi
    fi
    ;;
esac
"#;

/// Sessions stay in the fd store when luod is removed: only `luctl discard` gives them up.
const PRERM: &str = r#"#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop luod-agent.socket luod-manager.socket luod.service >/dev/null || true
fi
"#;

const POSTRM: &str = r#"#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ] && command -v deb-systemd-helper >/dev/null; then
    deb-systemd-helper purge luod-agent.socket luod-manager.socket luod.service >/dev/null || true
fi
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_named_by_its_abi() {
        let mut parts = VERSION.split('.');
        let abi = [parts.next(), parts.next()].map(Option::unwrap).join(".");
        assert!(PACKAGES.iter().any(|it| it.name == format!("liblu{abi}")), "rename the package");
    }

    #[test]
    fn the_newest_symbol_of_the_c_library_counts() {
        assert_eq!(
            libc_of(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0"),
            Some((2, 34))
        );
        assert_eq!(libc_of(b"no program"), None);
    }
}
