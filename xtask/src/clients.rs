// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs that are linked with liblu: its examples, which are run over a kexec.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::c_header;
use crate::cache::{Cache, Lock};
use crate::dist::{self, Destination};
use crate::failure::NextStep;
use crate::process::Job;
use crate::project::Project;
use crate::static_build;
use crate::toolchain::Root;

/// Those in Rust: examples of the crate `liblu`.
const IN_RUST: &[&str] = &["cache", "handoff"];

/// Those in C: names in the guest, and sources in `liblu/capi/examples`.
const IN_C: &[(&str, &str)] = &[("cache-c", "cache.c"), ("vmm", "vmm.c")];

/// Compiles a program as its author would, but for the place of liblu, and static: there is no C
/// library in the guest.
///
/// Arguments: where liblu is installed, the source, the program.
const COMPILE: &str = r#"
dist=$1 source=$2 program=$3
export PKG_CONFIG_SYSROOT_DIR="$dist" PKG_CONFIG_LIBDIR="$dist/usr/lib/pkgconfig"
# pkg-config would leave out /usr/include and /usr/lib, where compilers look anyway: not in here.
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
flags=$(pkg-config --static --cflags --libs liblu)
cc -std=gnu11 -Wall -Wextra -Werror -O2 -static -s -o "$program.new" "$source" $flags
mv "$program.new" "$program"
"#;

/// The programs, built.
#[derive(Clone, Debug)]
pub(crate) struct Clients(Vec<(&'static str, PathBuf)>);

impl Clients {
    /// Builds what has changed.
    pub(crate) fn build(
        cache: &Cache,
        project: &Project,
        root: &Root,
        lock: &Lock,
    ) -> Result<Self> {
        let folder =
            static_build::build(cache, project, &["--package", "liblu", "--examples"], lock)?;
        let mut all: Vec<_> =
            IN_RUST.iter().map(|name| (*name, folder.join("examples").join(name))).collect();
        all.extend(in_c(cache, project, root, lock)?);
        Ok(Self(all))
    }

    /// Name and path of each.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        self.0.iter().cloned()
    }
}

fn in_c(
    cache: &Cache,
    project: &Project,
    root: &Root,
    lock: &Lock,
) -> Result<Vec<(&'static str, PathBuf)>> {
    let folder = project.folder.join("target/clients");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let log = cache.path("logs", "clients.log");
    let destination =
        Destination { destdir: folder.join("dist"), prefix: "/usr".into(), libdir: "lib".into() };
    let library = dist::build(cache, &project.folder, &log, lock)?;
    let header = project.folder.join(c_header::PATH);
    let liblu = [&header, &library.join("liblu.a")].map(|path| modified(path)).into_iter().max();
    let all = IN_C.iter().map(|(name, source)| {
        (*name, project.folder.join("liblu/capi/examples").join(source), folder.join(name))
    });
    let all: Vec<_> = all.collect();
    let is_old =
        |source: &Path, program: &Path| modified(program) <= modified(source).max(liblu.flatten());
    let old: Vec<_> = all.iter().filter(|(_, source, program)| is_old(source, program)).collect();
    if !old.is_empty() {
        dist::install(&project.folder, &library, &destination)?;
    }
    for (_, source, program) in old {
        let mut command = root.command("sh", &folder, &[&project.folder]);
        command.args(["-ec", COMPILE, "compile"]).args([&destination.destdir, source, program]);
        Job::new(command, &log).run().or_advise(|| {
            let next = format!("mend the error above; the whole output is in {}", log.display());
            (format!("{} does not build", source.display()), next)
        })?;
    }
    Ok(all.into_iter().map(|(name, _, program)| (name, program)).collect())
}

/// When a file was written; `None`, which is less than any time, if it is not there.
fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|there| there.modified()).ok()
}
