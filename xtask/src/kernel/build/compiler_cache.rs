// SPDX-License-Identifier: MIT OR Apache-2.0

//! ccache compiles a file once for all kernels that have it with the same options, and for a root that
//! is made anew.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use memchr::memmem;

use crate::arch::ARCH;
use crate::cache::write_program;
use crate::failure::Failure;

/// The folder of [`CLANG`] in a build folder.
const FOLDER: &str = "compiler-cache";

/// In place of the compiler. rustc takes the name of its linker as one word, so `ccache clang` would not do.
///
/// A file that `.incbin` names is not among the dependencies of an object. In its depend mode, ccache 4.11 does
/// not notice the directive (mended later, by its pull request 1765): it gives out an object with the file of
/// another kernel, if all else is alike. So the sources that may have the directive are compiled each time. In
/// kbuild's commands, the source is the last word.
const CLANG: &str = r#"#!/bin/sh
for source; do :; done
case $source in
*.S | */kernel/configs.c | */kernel/kheaders.c) exec /usr/bin/clang "$@" ;;
esac
exec /usr/bin/ccache /usr/bin/clang "$@"
"#;

const SETTINGS: &[(&str, &str)] = &[
    ("CCACHE_COMPILERCHECK", "content"),
    ("CCACHE_MAXSIZE", "3G"),
    // The compiler lists what a file includes, so no preprocessor runs before it: a quarter of the time.
    ("CCACHE_DEPEND", "1"),
    // Kernels differ in their build folders; none is in the objects.
    ("CCACHE_NOHASHDIR", "1"),
];

/// Puts the compiler into a build folder. Returns the variables with which kbuild uses it.
pub(super) fn install(build: &Path, objects: &Path) -> Result<Vec<(&'static str, String)>> {
    let folder = build.join(FOLDER);
    write_program(&folder.join("clang"), CLANG)?;
    let mut variables = vec![
        ("PATH", format!("{}:/usr/sbin:/usr/bin", folder.display())),
        ("CCACHE_DIR", objects.display().to_string()),
    ];
    variables.extend(SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Ok(variables)
}

/// Makes sure that the image of a build folder has the kernel that was linked, and no other.
pub(super) fn check_image(build: &Path) -> Result<()> {
    let read = |path: &str| {
        let path = build.join(path);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let source = String::from_utf8(read(ARCH.payload)?).context("read the payload's source")?;
    let kernel = included(&source).with_context(|| format!("no .incbin in {}", ARCH.payload))?;
    if memmem::find(&read(ARCH.image)?, &read(kernel)?).is_some() {
        return Ok(());
    }
    let what = format!("{} has another kernel than {kernel}", ARCH.image);
    Err(Failure::new(what, format!("remove {} and try again", build.display())).into())
}

/// The file that an assembler file takes in.
fn included(source: &str) -> Option<&str> {
    source.lines().find_map(|line| line.trim().strip_prefix(".incbin \"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn an_image_with_another_kernel_is_an_error() {
        let build = tempfile::tempdir().unwrap();
        let write = |path: &str, content| {
            let path = build.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write(ARCH.image, "setup, a kernel, and more");
        write(ARCH.payload, "input_data:\n.incbin \"boot/kernel.lz4\"\ninput_data_end:\n");
        write("boot/kernel.lz4", "a kernel");
        check_image(build.path()).unwrap();
        write("boot/kernel.lz4", "b kernel");
        assert!(check_image(build.path()).unwrap_err().to_string().contains("boot/kernel.lz4"));
        write(ARCH.payload, "");
        assert!(check_image(build.path()).unwrap_err().to_string().contains(ARCH.payload));
    }

    /// What the compiler of a build runs for a command of kbuild.
    fn runs(source: &str) -> String {
        let says = CLANG.replace("exec ", "echo ");
        let mut command = Command::new("sh");
        command.args(["-c", &says, "clang", "-Wp,-MMD,a.d", "-c", "-o", "a.o", source]);
        String::from_utf8(command.output().unwrap().stdout).unwrap().lines().next().unwrap().into()
    }

    #[test]
    fn sources_that_may_include_files_are_compiled_each_time() {
        let words = "/usr/bin/clang -Wp,-MMD,a.d -c -o a.o";
        for source in ["arch/x86/boot/compressed/piggy.S", "/tree/kernel/configs.c"] {
            assert_eq!(runs(source), format!("{words} {source}"));
        }
        for source in ["/tree/mm/memfd.c", "drivers/configs.c"] {
            assert_eq!(runs(source), format!("/usr/bin/ccache {words} {source}"));
        }
    }

    #[test]
    fn the_compiler_is_installed_once() {
        let build = tempfile::tempdir().unwrap();
        let install = || install(build.path(), Path::new("/objects")).unwrap();
        let variables = install();
        // A file that is written again is another one.
        let clang = || build.path().join(FOLDER).join("clang").metadata().unwrap();
        let first = clang();
        assert_eq!(first.mode() & 0o111, 0o111);
        assert_eq!(install(), variables);
        assert_eq!(clang().ino(), first.ino());
        assert!(variables.iter().any(|(name, value)| *name == "CCACHE_DIR" && value == "/objects"));
    }
}
