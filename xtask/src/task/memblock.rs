// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask kernel memblock`: Linux's own tests of memblock, on the overlaid tree.
//!
//! They are a program that links `mm/memblock.c` (`tools/testing/memblock`), so no kernel is booted.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::cache::remove;
use crate::failure::NextStep as _;
use crate::process::Job;
use crate::progress::Progress;
use crate::say;
use crate::setup::BuildSetup;

/// Builds the program, and runs it.
///
/// The build writes beside its sources: these are a copy, and everything else is a link to the tree.
/// Two macros are all that it needs of liburcu.
///
/// Arguments: the tree, a scratch folder, settings of make.
const RUN: &str = r#"
tree=$1 out=$2; shift 2
mkdir -p "$out/tools/testing" "$out/urcu"
for folder in arch include lib mm tools/arch tools/include tools/lib tools/testing/selftests; do
    ln -s "$tree/$folder" "$out/$folder"
done
cp -r "$tree/tools/testing/memblock" "$out/tools/testing"
cat > "$out/urcu/uatomic.h" << 'END'
#define uatomic_inc(p) __atomic_fetch_add((p), 1, __ATOMIC_SEQ_CST)
#define uatomic_dec(p) __atomic_fetch_sub((p), 1, __ATOMIC_SEQ_CST)
END
cd "$out/tools/testing/memblock"
make -n "$@" main.o | grep -o CONFIG_MEMBLOCK_BISECT || true
make -s -j2 CPPFLAGS="-I$out" "$@"
./main -v
"#;

/// The setting by which ranges are found by bisection.
const BISECT: &str = "BISECT=1";

/// Runs the task.
pub(crate) fn run() -> Result<()> {
    let (setup, lock) = BuildSetup::open(None, &[])?;
    let tree = setup.tree(&lock)?;
    for (nodes, numa) in [("one node", "NUMA=0"), ("several nodes", "NUMA=1")] {
        let walked = count(&setup, &tree.folder, [numa, "BISECT=0"])?;
        let bisected = count(&setup, &tree.folder, [numa, BISECT])?;
        ensure!(
            walked == bisected,
            "{walked} tests have passed, and {bisected} by bisection: they are the same tests"
        );
        say(&format!("memblock, {nodes}: {walked} tests pass, with bisection and without\n"))?;
    }
    Ok(())
}

/// Runs the tests of a build with these settings. Returns how many have passed.
fn count(setup: &BuildSetup, tree: &Path, settings: [&str; 2]) -> Result<usize> {
    let typed = settings.join(" ");
    let mut step = Progress::begin(&setup.cache, format!("tests of memblock, {typed}"));
    let scratch = setup.cache.scratch("memblock")?;
    let mut command = setup.root.command("sh", &scratch, &[tree]);
    command.args(["-ec", RUN, "memblock"]).arg(tree).arg(&scratch).args(settings);
    let log = setup.cache.path("logs", "memblock.log");
    let output =
        Job::new(command, &log).on_line(|line| step.now(line)).output().or_advise(|| {
            let what = format!("memblock fails Linux's tests, or they do not build ({typed})");
            (what, format!("read the log {}: the test that failed is the last", log.display()))
        })?;
    remove(&scratch)?;
    step.done();
    let bisects = output.lines().any(|line| line == "CONFIG_MEMBLOCK_BISECT");
    ensure!(bisects == settings.contains(&BISECT), "make does not know `{typed}`");
    let passed = passed(&output);
    ensure!(passed > 0, "no test of memblock has said that it passed: see {}", log.display());
    Ok(passed)
}

/// Lines as `ok 12 : memblock_alloc: top-down: ...: passed`.
fn passed(output: &str) -> usize {
    output.lines().filter(|line| line.starts_with("ok ")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_pass_are_counted() {
        let output = "\tRunning alloc_simple_check...\nok 1 : alloc: passed\nok 2 : x: passed\n";
        assert_eq!(passed(output), 2);
        assert_eq!(passed("not ok 1 : x: failed\n"), 0);
    }
}
