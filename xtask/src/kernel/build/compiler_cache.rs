// SPDX-License-Identifier: MIT OR Apache-2.0

//! ccache compiles a file once for all kernels that have it with the same options, and for a root that
//! is made anew.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use memchr::memmem;

use crate::arch::ARCH;
use crate::cache::write_if_different;

/// The folder of [`CLANG`] in a build folder.
const FOLDER: &str = "compiler-cache";

/// In place of the compiler. rustc takes the name of its linker as one word, so `ccache clang` would not do.
///
/// A file that `.incbin` names is not among the dependencies of an object. In its depend mode, ccache 4.11 does
/// not notice the directive (its issue 1540): it gives out an object with the file of another kernel, if all else
/// is alike. So the sources that may have the directive are compiled each time. In kbuild's commands, the source
/// is the last word.
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
    let clang = folder.join("clang");
    write_if_different(&clang, CLANG.as_bytes())?;
    fs::set_permissions(&clang, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} a program", clang.display()))?;
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
    ensure!(
        memmem::find(&read(ARCH.image)?, &read(ARCH.compressed)?).is_some(),
        "{} does not have the kernel of {}",
        ARCH.image,
        ARCH.compressed
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build() -> tempfile::TempDir {
        let build = tempfile::tempdir().unwrap();
        for path in [ARCH.image, ARCH.compressed] {
            fs::create_dir_all(build.path().join(path).parent().unwrap()).unwrap();
        }
        build
    }

    #[test]
    fn an_image_with_another_kernel_is_an_error() {
        let build = build();
        let write = |path, content| fs::write(build.path().join(path), content).unwrap();
        write(ARCH.image, "setup, a kernel, and more");
        write(ARCH.compressed, "a kernel");
        check_image(build.path()).unwrap();
        write(ARCH.compressed, "b kernel");
        assert!(check_image(build.path()).unwrap_err().to_string().contains(ARCH.compressed));
    }

    #[test]
    fn the_compiler_is_installed_once() {
        let build = build();
        let install = || install(build.path(), Path::new("/objects")).unwrap();
        let variables = install();
        let time =
            || build.path().join(FOLDER).join("clang").metadata().unwrap().modified().unwrap();
        let first = time();
        assert_eq!(install(), variables);
        assert_eq!(time(), first);
        assert!(variables.iter().any(|(name, value)| *name == "CCACHE_DIR" && value == "/objects"));
    }
}
