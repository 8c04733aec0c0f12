// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs that are linked with liblu: its examples, which are run over a kexec.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cache::{Cache, Lock, remove};
use crate::dist::{self, Destination};
use crate::failure::NextStep;
use crate::process::Job;
use crate::products::Product;
use crate::project::Project;
use crate::static_build;
use crate::toolchain::Root;

/// Those in Rust: examples of the crate `liblu`.
const IN_RUST: [&str; 2] = ["cache", "handoff"];

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
cc -std=gnu11 -Wall -Wextra -Werror -O2 -static -s -o "$program" "$source" $flags
"#;

/// The programs, built.
#[derive(Clone, Debug)]
pub(crate) struct Clients(Vec<(&'static str, PathBuf)>);

impl Clients {
    /// Builds them, if they are not there.
    pub(crate) fn build(
        cache: &Cache,
        project: &Project,
        root: &Root,
        lock: &Lock,
    ) -> Result<Self> {
        let what = ["--package", "liblu", "--examples"];
        let files = IN_RUST.map(|name| format!("examples/{name}"));
        let files = files.each_ref().map(String::as_str);
        let rust = static_build::build(cache, project, &what, &files, lock)?;
        let product = Product { kind: "clients", of: &[&root.key] };
        let c = product
            .prepare(cache, &project.folder, lock, |to| in_c(cache, project, root, lock, to))?;
        let rust = IN_RUST.iter().map(|name| (*name, rust.join(name)));
        let all = rust.chain(IN_C.iter().map(|(name, _)| (*name, c.join(name)))).collect();
        Ok(Self(all))
    }

    /// Name and path of each.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        self.0.iter().cloned()
    }
}

/// Builds those in C into the folder `to`.
fn in_c(cache: &Cache, project: &Project, root: &Root, lock: &Lock, to: &Path) -> Result<()> {
    let log = cache.path("logs", "clients.log");
    let dist = cache.scratch("dist")?;
    let destination =
        Destination { destdir: dist.clone(), prefix: "/usr".into(), libdir: "lib".into() };
    let library = dist::build(cache, &project.folder, &log, lock)?;
    dist::install(&project.folder, &library, &destination)?;
    for (name, source) in IN_C {
        let source = project.folder.join("liblu/capi/examples").join(source);
        let mut command = root.command("sh", to, &[&project.folder]);
        command.args(["-ec", COMPILE, "compile"]).args([&dist, &source, &to.join(name)]);
        Job::new(command, &log).run().or_advise(|| {
            let next = format!("mend the error above; the whole output is in {}", log.display());
            (format!("{} does not build", source.display()), next)
        })?;
    }
    remove(&dist)
}
