// SPDX-License-Identifier: MIT OR Apache-2.0

//! Upstream's own test programs: from the kernel tree, unmodified, built when they are needed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{Cache, Key, Lock, remove};
use crate::failure::NextStep;
use crate::process::Job;
use crate::progress::Progress;
use crate::source::{Overlay, Source, Tree};
use crate::toolchain::Root;

/// Raise it when the way of building changes.
const VERSION: u32 = 2;

/// `tools/testing/selftests/liveupdate`: the API tests, run in every hop.
pub(crate) const API: &str = "liveupdate";

/// The same folder: programs with a stage on each side of the kexec.
pub(crate) const STAGED: &[&str] =
    &["luo_kexec_simple", "luo_multi_session", "luo_stress_files", "luo_stress_sessions"];

/// `tools/testing/selftests/memfd`: files and seals as such, run in every hop, for the series changes shmem.
pub(crate) const MEMFD: &str = "memfd_test";

/// Builds the programs of `selftests/liveupdate` as upstream's `vmtest.sh` does: static, against the tree's nolibc.
/// [`MEMFD`] needs the C library.
///
/// Arguments: the tree, a scratch folder, the program of memfds, the other programs.
const BUILD: &str = r#"
tree=$1 out=$2 memfd=$3; shift 3
make -s -C "$tree" O="$out/headers.build" LLVM=1 headers_install INSTALL_HDR_PATH="$out/headers"
tests=$tree/tools/testing/selftests/liveupdate
mkdir -p "$out/bin"
for program; do
    gcc -static -O2 -nostdinc -nostdlib \
        -I "$out/headers/include" -I "$tree/tools/include/nolibc" -I "$tests/lib/include" \
        -o "$out/bin/$program" "$tests/$program.c" "$tests/lib/lu_utils.c"
done
tests=$tree/tools/testing/selftests/memfd
gcc -static -O2 -D_FILE_OFFSET_BITS=64 -I "$out/headers/include" -I "$tree/tools/testing/selftests" \
    -o "$out/bin/$memfd" "$tests/$memfd.c" "$tests/common.c"
"#;

/// Upstream's programs, built.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The programs of a source, built or not.
    pub(crate) fn of(cache: &Cache, root: &Root, source: &Source, overlay: &Overlay) -> Self {
        let key = Key::of("upstream", VERSION).with(&root.key).with(&source.key);
        let key = key.with(overlay.headers_key());
        Self { folder: cache.path("upstream", key.finish()) }
    }

    /// Whether they are there.
    pub(crate) fn exist(&self) -> bool {
        self.folder.exists()
    }

    /// Name and path of each.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        names().map(|name| (name, self.folder.join(name)))
    }

    /// Builds them if they are not there.
    pub(crate) fn prepare(&self, cache: &Cache, root: &Root, tree: &Tree, _: &Lock) -> Result<()> {
        if self.exist() {
            return Ok(());
        }
        let step = Progress::begin(cache, "build upstream's selftests");
        let scratch = cache.scratch("upstream")?;
        let mut command = root.command("sh", &scratch, &[&tree.folder]);
        command.args(["-ec", BUILD, "build"]).arg(&tree.folder).arg(&scratch);
        command.arg(MEMFD).arg(API).args(STAGED);
        let log = cache.path("logs", "upstream.log");
        Job::new(command, &log).run().or_advise(|| {
            let what = "upstream's selftests do not build";
            (what, format!("read the log {}; is the tree whole?", log.display()))
        })?;
        check_there(&scratch.join("bin"))?;
        cache.publish(&scratch.join("bin"), &self.folder)?;
        remove(&scratch)?;
        step.done();
        Ok(())
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    [API, MEMFD].into_iter().chain(STAGED.iter().copied())
}

/// Every program is there and not empty.
fn check_there(folder: &Path) -> Result<()> {
    for name in names() {
        let path = folder.join(name);
        let size = fs::metadata(&path).with_context(|| format!("look for {}", path.display()))?;
        anyhow::ensure!(size.len() > 0, "{} is empty", path.display());
    }
    Ok(())
}
