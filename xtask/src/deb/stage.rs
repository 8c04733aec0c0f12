// SPDX-License-Identifier: MIT OR Apache-2.0

//! The files of packages, in the folders where they will be.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use super::control::{Package, VERSION};
use crate::arch::ARCH;
use crate::cache::remove;
use crate::dist::{self, Destination};
use crate::process::{Job, bound};

/// The project, and the root of what is staged.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) project: &'a Path,
    pub(super) root: &'a Path,
}

impl Place<'_> {
    fn put(self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.root.join(path);
        let folder = path.parent().unwrap_or(self.root);
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, bytes))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        written.with_context(|| format!("write {}", path.display()))
    }

    fn copy(self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.put(to, &bytes, mode)
    }

    /// Compresses a file, as manual pages and change logs are.
    fn put_compressed(self, path: &str, bytes: &[u8]) -> Result<()> {
        // No name and no time: the same sources give the same bytes.
        let mut packed = GzBuilder::new().write(Vec::new(), Compression::best());
        packed.write_all(bytes)?;
        self.put(&format!("{path}.gz"), &packed.finish()?, 0o644)
    }

    /// Installs all of liblu.
    fn install_liblu(self, built: &Path) -> Result<()> {
        let destination =
            Destination { destdir: self.root.to_owned(), prefix: "/usr".into(), libdir: libdir() };
        dist::install(self.project, built, &destination).map(drop)
    }
}

/// The folder of libraries, below `/usr`.
fn libdir() -> PathBuf {
    let machine = ARCH.target.replace("-unknown", "");
    Path::new("lib").join(machine)
}

/// The shared library alone.
pub(super) fn library(place: Place<'_>, built: &Path) -> Result<()> {
    place.install_liblu(built)?;
    let libraries = place.root.join("usr").join(libdir());
    for name in ["liblu.so", "liblu.a"] {
        fs::remove_file(libraries.join(name)).with_context(|| format!("leave {name} out"))?;
    }
    let shared = libraries.join(dist::shared_name());
    let private = fs::Permissions::from_mode(0o644);
    fs::set_permissions(shared, private).context("make the library a file like others")?;
    for folder in [libraries.join("pkgconfig"), place.root.join("usr/include")] {
        remove(&folder)?;
    }
    remove(&place.root.join("usr/share"))
}

/// All but the shared library.
pub(super) fn development(place: Place<'_>, built: &Path) -> Result<()> {
    place.install_liblu(built)?;
    let libraries = place.root.join("usr").join(libdir());
    for entry in fs::read_dir(&libraries).context("list the libraries")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("liblu.so.") {
            fs::remove_file(&path).with_context(|| format!("leave {name} out"))?;
        }
    }
    let pages = place.root.join("usr/share/man");
    for folder in ["man3", "man7"] {
        for entry in fs::read_dir(pages.join(folder)).context("list the manual pages")? {
            let path = entry?.path();
            let text = fs::read(&path).context("read a manual page")?;
            fs::remove_file(&path).context("replace a manual page")?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            place.put_compressed(&format!("usr/share/man/{folder}/{name}"), &text)?;
        }
    }
    Ok(())
}

/// luod and luctl.
pub(super) fn agent(place: Place<'_>, programs: &Path, log: &Path) -> Result<()> {
    let source = place.project.join("luod");
    for (name, path) in [("luod", "usr/sbin/luod"), ("luctl", "usr/bin/luctl")] {
        program(place, &programs.join(name), path, log)?;
    }
    for unit in ["luod.service", "luod-agent.socket", "luod-manager.socket"] {
        let path = format!("usr/lib/systemd/system/{unit}");
        place.copy(&source.join("systemd").join(unit), &path, 0o644)?;
    }
    for name in ["Agent", "Manager"] {
        let name = format!("io.liveupdate.{name}.varlink");
        let path = format!("usr/share/luod/interfaces/{name}");
        place.copy(&source.join("interfaces").join(name), &path, 0o644)?;
    }
    completions(place, programs, log)?;
    manual_pages(place, programs, log)
}

/// lu-qemu and its unit.
pub(super) fn qemu(place: Place<'_>, programs: &Path, log: &Path) -> Result<()> {
    program(place, &programs.join("lu-qemu"), "usr/bin/lu-qemu", log)?;
    unit(place, "contrib/qemu/lu-qemu@.service")
}

/// luod-ch and its unit.
pub(super) fn cloud_hypervisor(place: Place<'_>, programs: &Path, log: &Path) -> Result<()> {
    program(place, &programs.join("luod-ch"), "usr/bin/luod-ch", log)?;
    unit(place, "contrib/cloud-hypervisor/luod-ch@.service")
}

fn unit(place: Place<'_>, from: &str) -> Result<()> {
    let from = place.project.join(from);
    let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
    place.copy(&from, &format!("usr/lib/systemd/system/{name}"), 0o644)
}

/// A program without what debuggers need.
fn program(place: Place<'_>, from: &Path, to: &str, log: &Path) -> Result<()> {
    place.copy(from, to, 0o755)?;
    let mut command = bound("strip");
    command.arg(place.root.join(to));
    Job::new(command, log).run().with_context(|| format!("strip {to}"))
}

fn completions(place: Place<'_>, programs: &Path, log: &Path) -> Result<()> {
    for (shell, path) in [
        ("bash", "usr/share/bash-completion/completions/luctl"),
        ("zsh", "usr/share/zsh/vendor-completions/_luctl"),
        ("fish", "usr/share/fish/vendor_completions.d/luctl.fish"),
    ] {
        let mut command = bound(programs.join("luctl"));
        command.args(["completions", shell]);
        let text = Job::new(command, log).output().context("make completions")?;
        place.put(path, text.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn manual_pages(place: Place<'_>, programs: &Path, log: &Path) -> Result<()> {
    let scratch = place.root.join("man");
    let mut command = bound(programs.join("luctl"));
    command.arg("man").arg(&scratch);
    Job::new(command, log).run().context("make manual pages")?;
    for entry in fs::read_dir(&scratch).context("list manual pages")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read(&path).context("read a manual page")?;
        place.put_compressed(&format!("usr/share/man/man1/{name}"), &text)?;
    }
    remove(&scratch)?;
    for (name, section) in [("luod.8", "man8"), ("luod.toml.5", "man5")] {
        let path = place.project.join("luod/man").join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let text = text.replace("@VERSION@", VERSION);
        place.put_compressed(&format!("usr/share/man/{section}/{name}"), text.as_bytes())?;
    }
    Ok(())
}

/// The licence, and what has changed.
pub(super) fn documents(place: Place<'_>, package: &Package, maintainer: &str) -> Result<()> {
    let folder = format!("usr/share/doc/{}", package.name);
    let mit = place.project.join("LICENSES/MIT.txt");
    let mit = fs::read_to_string(&mit).context("read the licence")?;
    let mut copyright = String::from(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: liveupdate\n\n\
         Files: *\nCopyright: 2026 The liveupdate authors\nLicense: MIT or Apache-2.0\n\n\
         License: Apache-2.0\n On Debian systems, the text of the licence is in\n \
         /usr/share/common-licenses/Apache-2.0.\n\nLicense: MIT\n",
    );
    for line in mit.lines() {
        copyright.push_str(if line.trim().is_empty() { " ." } else { " " });
        copyright.push_str(line.trim());
        copyright.push('\n');
    }
    place.put(&format!("{folder}/copyright"), copyright.as_bytes(), 0o644)?;
    let changes = format!(
        "liveupdate ({VERSION}) unstable; urgency=medium\n\n  * Packages of this version.\n\n -- \
         {maintainer}  Sun, 01 Nov 2026 00:00:00 +0000\n"
    );
    place.put_compressed(&format!("{folder}/changelog"), changes.as_bytes())
}
