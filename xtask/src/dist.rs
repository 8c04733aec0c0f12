// SPDX-License-Identifier: MIT OR Apache-2.0

//! liblu as C programs find it: library, header, pkg-config file, manual pages.

mod man;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::c_header;
use crate::cache::{Cache, Lock};
use crate::crates;
use crate::process::{Job, bound};

/// The crate, in the project.
const CRATE: &str = "liblu/capi";

/// The name of a version of liblu in the names of files.
pub(crate) struct Version(String);

impl Version {
    /// The one of this checkout.
    pub(crate) fn this() -> Self {
        Self(env!("CARGO_PKG_VERSION").into())
    }

    /// The part that changes when old programs do not run any more: before 1.0, that is the minor
    /// version.
    fn of_abi(&self) -> String {
        let mut parts = self.0.split('.');
        let (major, minor) = (parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
        if major == "0" { format!("0.{minor}") } else { major.into() }
    }
}

/// The name of the shared library itself; others are links.
pub(crate) fn shared_name() -> String {
    format!("liblu.so.{}", Version::this().0)
}

/// Where it goes.
pub(crate) struct Destination {
    /// Stands before all paths, and is not part of them: the folder that a package is made in.
    pub(crate) destdir: PathBuf,
    /// Below this, absolute: `/usr/local`.
    pub(crate) prefix: PathBuf,
    /// Folder of libraries, absolute or below the prefix.
    pub(crate) libdir: PathBuf,
}

impl Destination {
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.prefix.join(path);
        let inner = path.components().filter(|part| !matches!(part, Component::RootDir));
        if self.destdir.as_os_str().is_empty() {
            path
        } else {
            self.destdir.join(inner.collect::<PathBuf>())
        }
    }
}

/// Builds the libraries, and returns the folder where they are.
pub(crate) fn build(cache: &Cache, project: &Path, log: &Path, lock: &Lock) -> Result<PathBuf> {
    let built = compile(cache, project, &["--package", "liblu-capi"], log, lock)?;
    link_shared(project, &built, log)?;
    Ok(built)
}

/// Compiles what `what` selects, in cargo's words, for systems with a C library. Returns the folder with the results.
pub(crate) fn compile(
    cache: &Cache,
    project: &Path,
    what: &[&str],
    log: &Path,
    lock: &Lock,
) -> Result<PathBuf> {
    let compiler = crates::compiler(cache, project)?;
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("the compiler does not say what it compiles for")?;
    let job = Job::new(cargo(project, host, what), log);
    with_crates(cache, project, host, lock, || {
        job.run().with_context(|| format!("build {}", what.join(" ")))
    })
}

/// Where cargo builds what is shipped, and what guests get.
fn target_folder(project: &Path) -> PathBuf {
    project.join("target/programs")
}

/// The command that builds what `what` selects for a target.
pub(crate) fn cargo(project: &Path, target: &str, what: &[&str]) -> Command {
    let mut command = bound("cargo");
    command.args(["build", "--quiet", "--locked", "--release"]).args(what);
    // It is named even if it is the host's, so that programs for guests and those for the host have crates in common.
    command.args(["--target", target, "--target-dir"]).arg(target_folder(project));
    command.current_dir(project);
    command
}

/// Runs a build with the crates of others from an earlier checkout. Returns the folder with the results.
pub(crate) fn with_crates(
    cache: &Cache,
    project: &Path,
    target: &str,
    lock: &Lock,
    build: impl FnOnce() -> Result<()>,
) -> Result<PathBuf> {
    let folder = target_folder(project);
    crates::with_seed(cache, project, &folder, "programs", lock, build)?;
    Ok(folder.join(target).join("release"))
}

/// Links the shared library from the static one: rustc knows no versions of symbols.
fn link_shared(project: &Path, built: &Path, log: &Path) -> Result<()> {
    let abi = Version::this().of_abi();
    let map = project.join(CRATE).join("liblu.map.in");
    let map = fs::read_to_string(&map).with_context(|| format!("read {}", map.display()))?;
    let script = built.join("liblu.map");
    fs::write(&script, map.replace("@ABI@", &abi)).context("write liblu.map")?;
    let option = |name: &str, value: &dyn std::fmt::Display| format!("-Wl,{name}={value}");
    let mut command = bound("cc");
    command.args(["-shared", "-o", "liblu.so.new", "-Wl,--gc-sections", "-Wl,-z,relro,-z,now"]);
    command.arg(option("-soname", &format_args!("liblu.so.{abi}")));
    command.arg(option("--version-script", &"liblu.map"));
    command.args(["-Wl,--whole-archive", "liblu.a", "-Wl,--no-whole-archive"]);
    // Rust's standard library needs them.
    command.args(["-lgcc_s", "-lpthread", "-ldl", "-lm", "-lc", "-s"]).current_dir(built);
    Job::new(command, log).run().context("link liblu.so")?;
    fs::rename(built.join("liblu.so.new"), built.join("liblu.so")).context("rename liblu.so")
}

/// Installs everything; the libraries are in the folder `built`. Returns what was written.
pub(crate) fn install(
    project: &Path,
    built: &Path,
    destination: &Destination,
) -> Result<Vec<PathBuf>> {
    let version = Version::this();
    let mut writer = Writer { destination, written: Vec::new() };
    let libdir = &destination.libdir;
    let shared = shared_name();
    let soname = format!("liblu.so.{}", version.of_abi());
    writer.copy(&built.join("liblu.so"), &libdir.join(&shared), 0o755)?;
    if soname != shared {
        writer.link(&shared, &libdir.join(&soname))?;
    }
    writer.link(&soname, &libdir.join("liblu.so"))?;
    writer.copy(&built.join("liblu.a"), &libdir.join("liblu.a"), 0o644)?;

    let text = |path: PathBuf| {
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let header = text(project.join(c_header::PATH))?;
    writer.write("include/liblu.h", &header)?;
    let fill = |text: &str, values: &[(&str, &str)]| {
        values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    };
    let absolute = destination.prefix.join(libdir);
    let settings = [
        ("@PREFIX@", &*destination.prefix.to_string_lossy()),
        ("@LIBDIR@", &*absolute.to_string_lossy()),
        ("@VERSION@", &version.0),
    ];
    let pc = fill(&text(project.join(CRATE).join("liblu.pc.in"))?, &settings);
    writer.write(libdir.join("pkgconfig/liblu.pc"), &pc)?;

    let functions = man::functions(&header);
    for function in &functions {
        let path = format!("share/man/man3/{}.3", function.name);
        writer.write(path, &function.page(&version.0))?;
    }
    let overview = text(project.join(CRATE).join("man/liblu.7"))?;
    let (rules, list) = (man::rules(&header), man::list(&functions));
    let values = [("@VERSION@", &*version.0), ("@RULES@", &*rules), ("@FUNCTIONS@", &*list)];
    writer.write("share/man/man7/liblu.7", &fill(&overview, &values))?;
    Ok(writer.written)
}

/// Writes files so that each name stands for all of it or for what was there before.
struct Writer<'a> {
    destination: &'a Destination,
    written: Vec<PathBuf>,
}

impl Writer<'_> {
    fn write(&mut self, path: impl AsRef<Path>, text: &str) -> Result<()> {
        self.put(path.as_ref(), |to| {
            fs::write(to, text)?;
            fs::set_permissions(to, fs::Permissions::from_mode(0o644))
        })
    }

    fn copy(&mut self, from: &Path, path: &Path, mode: u32) -> Result<()> {
        self.put(path, |to| {
            fs::copy(from, to)?;
            fs::set_permissions(to, fs::Permissions::from_mode(mode))
        })
    }

    fn link(&mut self, target: &str, path: &Path) -> Result<()> {
        self.put(path, |to| symlink(target, to))
    }

    fn put(&mut self, path: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
        let path = self.destination.at(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let scratch = path.with_file_name(format!(".{name}.new"));
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)
            .and_then(|()| match fs::remove_file(&scratch) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => make(&scratch),
            })
            .and_then(|()| fs::rename(&scratch, &path))
            .with_context(|| format!("install {}", path.display()))?;
        self.written.push(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destdir_stands_before_everything() {
        let destination = |destdir: &str| Destination {
            destdir: destdir.into(),
            prefix: "/usr".into(),
            libdir: "lib/x86_64-linux-gnu".into(),
        };
        assert_eq!(
            destination("/tmp/x").at("include/liblu.h"),
            Path::new("/tmp/x/usr/include/liblu.h")
        );
        assert_eq!(destination("/tmp/x").at("/opt/lib/a"), Path::new("/tmp/x/opt/lib/a"));
        assert_eq!(destination("").at("include/liblu.h"), Path::new("/usr/include/liblu.h"));
    }

    #[test]
    fn before_1_0_every_minor_version_has_its_own_name() {
        let abi = |version: &str| Version(version.into()).of_abi();
        assert_eq!([abi("0.1.7"), abi("1.2.3"), abi("2.0.0")], ["0.1", "1", "2"]);
    }
}
