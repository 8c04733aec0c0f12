// SPDX-License-Identifier: MIT OR Apache-2.0

//! The overlay that this project puts over a kernel tree: its own files, and patches to existing
//! ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::cache::{Cache, Key, files, remove, write_by_rename};
use crate::failure::NextStep;
use crate::process::Job;
use crate::source::Source;
use crate::toolchain::Root;

/// Folders of the project, and where they go in the tree.
const FOLDERS: &[(&str, &str)] = &[
    ("kernel", "kernel"),
    ("rust", "rust"),
    // Shared with userspace, so it lies at the top of the project.
    ("uapi/src", "kernel/liveupdate/uapi"),
];

/// Folder with patches, applied in the order of their names.
const PATCHES: &str = "patches";

/// Parts of the tree that stay upstream's, so that what is built from them is upstream's.
const UPSTREAM: &str = "tools/testing/selftests";

/// Parts of the tree that the headers of userspace are made from.
const HEADERS: &[&str] = &["arch", "include", "scripts", "tools"];

/// The overlay of a checkout, as it was when it was read.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// New content by path in the tree.
    own: BTreeMap<PathBuf, Vec<u8>>,
    /// Patches by name, in order.
    patches: BTreeMap<PathBuf, String>,
    /// Changes with the content.
    pub(crate) key: String,
}

/// What one patch makes of the files that it touches.
#[derive(Debug)]
pub(crate) struct Patched {
    /// Its name in `patches/`.
    pub(crate) name: PathBuf,
    /// Content of the files after this patch and those before it, by path in the tree.
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Overlay {
    /// Reads the overlay of the checkout in `project`.
    pub(crate) fn of(project: &Path) -> Result<Self> {
        Self::with(project, BTreeMap::new())
    }

    /// The same with another content of some files, by path in the project.
    ///
    /// # Errors
    ///
    /// Those of reading the checkout; a file that is no part of the overlay.
    pub(crate) fn with(project: &Path, mut changed: BTreeMap<PathBuf, Vec<u8>>) -> Result<Self> {
        let (mut own, mut patches) = (BTreeMap::new(), BTreeMap::new());
        let mut read = |path: &Path| match changed.remove(path) {
            Some(content) => Ok(content),
            None => {
                fs::read(project.join(path)).with_context(|| format!("read {}", path.display()))
            }
        };
        for (from, to) in FOLDERS {
            for file in files(&project.join(from))?.into_iter().filter(|file| is_kernels(file)) {
                let content = read(&Path::new(from).join(&file))?;
                let to = Path::new(to).join(file);
                ensure!(!to.starts_with(UPSTREAM), "{} must stay upstream's", to.display());
                ensure!(
                    own.insert(to.clone(), content).is_none(),
                    "two files for {}",
                    to.display()
                );
            }
        }
        for file in files(&project.join(PATCHES))?.into_iter().filter(|file| is_patch(file)) {
            let text = String::from_utf8(read(&Path::new(PATCHES).join(&file))?);
            let text = text.with_context(|| format!("{} is not UTF-8", file.display()))?;
            patches.insert(file, text);
        }
        if let Some((path, _)) = changed.first_key_value() {
            bail!("{} is no file of the kernel side", path.display());
        }
        let mut key = Key::of("overlay", 3);
        for (path, content) in &own {
            key = key.with(path.as_os_str().as_encoded_bytes()).with(content);
        }
        for (path, text) in &patches {
            // What a maintainer reads of it makes no other kernel.
            key = key.with("patch").with(path.as_os_str().as_encoded_bytes()).with(hunks(text));
        }
        Ok(Self { own, patches, key: key.finish() })
    }

    /// A key of the part of the overlay that the headers of userspace depend on.
    pub(crate) fn headers_key(&self) -> String {
        let mut key = Key::of("headers", 2);
        for text in self.patches.values() {
            let touched = touched_files(text);
            if touched.iter().any(|path| HEADERS.iter().any(|part| path.starts_with(part))) {
                key = key.with(hunks(text));
            }
        }
        key.finish()
    }

    /// The content of every file that the overlay adds or changes, by its path in the tree.
    pub(crate) fn files(
        &self,
        cache: &Cache,
        root: &Root,
        source: &Source,
    ) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let patched = self.patched(cache, root, source)?;
        let mut all: BTreeMap<_, _> = patched.into_iter().flat_map(|patch| patch.files).collect();
        for (path, content) in &self.own {
            let before = all.insert(path.clone(), content.clone());
            ensure!(before.is_none(), "{} is both patched and replaced", path.display());
        }
        Ok(all)
    }

    /// The project's own files, by path in the tree.
    pub(crate) fn own(&self) -> &BTreeMap<PathBuf, Vec<u8>> {
        &self.own
    }

    /// The patches by name in `patches/`, in order, each with its head.
    pub(crate) fn patches(&self) -> &BTreeMap<PathBuf, String> {
        &self.patches
    }

    /// Applies the patches, one after the other, to copies of the files that they touch.
    pub(crate) fn patched(
        &self,
        cache: &Cache,
        root: &Root,
        source: &Source,
    ) -> Result<Vec<Patched>> {
        if self.patches.is_empty() {
            return Ok(Vec::new());
        }
        let touched: BTreeSet<_> = self.patches.values().flat_map(|t| touched_files(t)).collect();
        let scratch = cache.scratch("patches")?;
        let folder = scratch.join("linux");
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        for file in &touched {
            ensure!(!file.starts_with(UPSTREAM), "{} must stay upstream's", file.display());
            if let Ok(content) = fs::read(source.folder.join(file)) {
                write_by_rename(&folder.join(file), &content)?;
            }
        }
        let mut all = Vec::new();
        for (name, text) in &self.patches {
            let touched = touched_files(text);
            // A patch without hunks only says which files of the project belong together.
            if !touched.is_empty() {
                apply(cache, root, source, &scratch, name, text)?;
            }
            let mut files = BTreeMap::new();
            for file in touched {
                let path = folder.join(&file);
                let content =
                    fs::read(&path).with_context(|| format!("read {}", path.display()))?;
                files.insert(file, content);
            }
            all.push(Patched { name: name.clone(), files });
        }
        remove(&scratch)?;
        Ok(all)
    }
}

/// Applies one patch to the copies in the folder `linux` of `scratch`.
fn apply(
    cache: &Cache,
    root: &Root,
    source: &Source,
    scratch: &Path,
    name: &Path,
    text: &str,
) -> Result<()> {
    let (folder, input) = (scratch.join("linux"), scratch.join("patch"));
    fs::write(&input, text).with_context(|| format!("write {}", input.display()))?;
    let run = |options: &[&str]| {
        let mut command = root.command("patch", &folder, &[scratch]);
        // No fuzz: a hunk whose surroundings have changed wants a person's eye.
        // `--force`, not `--batch`, which would turn a patch round until it applies.
        command.args(["-p1", "--force", "--fuzz=0", "--no-backup-if-mismatch"]);
        command.args(options).arg("--input").arg(&input);
        Job::new(command, cache.path("logs", "patches.log")).run()
    };
    // A tree that had the overlay put over it has the patches already.
    if run(&["--reverse", "--dry-run"]).is_ok() {
        return Ok(());
    }
    run(&["--forward"]).or_advise(|| {
        let what = format!("patches/{} does not apply to Linux {}", name.display(), source.version);
        (what, "the tree has moved: adapt the patch, or use the version in xtask/kernel.toml")
    })
}

/// Whether a file is for the kernel, and not for cargo.
fn is_kernels(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    !["Cargo.toml", "rustfmt.toml"].iter().any(|cargos| name == *cargos)
}

fn is_patch(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "patch")
}

/// A patch without its head.
fn hunks(patch: &str) -> &str {
    let head: usize =
        patch.split_inclusive('\n').take_while(|line| !begins_hunks(line)).map(str::len).sum();
    patch.get(head..).unwrap_or_default()
}

/// Whether the head of a patch ends before this line.
pub(crate) fn begins_hunks(line: &str) -> bool {
    ["--- a/", "--- /dev/null", "diff --git "].iter().any(|begin| line.starts_with(begin))
}

/// The files that a patch changes or makes.
pub(crate) fn touched_files(patch: &str) -> Vec<PathBuf> {
    let new = patch.lines().filter_map(|line| line.strip_prefix("+++ b/"));
    let name = |line: &str| line.split('\t').next().map(PathBuf::from);
    new.filter_map(name).filter(|path| is_below(path)).collect()
}

/// Whether a relative path stays below where it begins.
fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn touched_files_are_those_with_a_new_side() {
        let patch = "--- a/init/Kconfig\n+++ b/init/Kconfig\t2026-01-01\n@@ -1 +1 @@\n-a\n+b\n\
                     --- /dev/null\n+++ b/rust/new.rs\n+++ b/../../etc/passwd\n";
        let expected = [PathBuf::from("init/Kconfig"), PathBuf::from("rust/new.rs")];
        assert_eq!(touched_files(patch), expected);
    }

    #[test]
    fn mirrored_files_change_the_key() {
        let project = tempfile::tempdir().unwrap();
        let key = || Overlay::of(project.path()).unwrap().key;
        let empty = key();
        fs::create_dir_all(project.path().join("kernel/liveupdate")).unwrap();
        fs::write(project.path().join("kernel/liveupdate/Kconfig"), "x").unwrap();
        let one = key();
        assert_ne!(empty, one);
        fs::create_dir_all(project.path().join("docs")).unwrap();
        fs::write(project.path().join("docs/new.md"), "x").unwrap();
        assert_eq!(one, key());
    }

    #[test]
    fn a_changed_file_changes_the_key_and_must_be_of_the_overlay() {
        let project = tempfile::tempdir().unwrap();
        fs::create_dir_all(project.path().join("kernel")).unwrap();
        fs::write(project.path().join("kernel/a.rs"), "as it is").unwrap();
        let with = |path: &str, content: &str| {
            let changed = BTreeMap::from([(PathBuf::from(path), content.into())]);
            Overlay::with(project.path(), changed)
        };
        let plain = Overlay::of(project.path()).unwrap();
        assert_eq!(with("kernel/a.rs", "as it is").unwrap().key, plain.key);
        let changed = with("kernel/a.rs", "changed").unwrap();
        assert_ne!(changed.key, plain.key);
        assert_eq!(changed.own[Path::new("kernel/a.rs")], b"changed");
        let error = with("kernel/b.rs", "new").unwrap_err().to_string();
        assert_eq!(error, "kernel/b.rs is no file of the kernel side");
    }

    #[test]
    fn only_patches_to_headers_make_headers_anew() {
        let project = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = project.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let keys = || {
            let overlay = Overlay::of(project.path()).unwrap();
            (overlay.headers_key(), overlay.key)
        };
        let empty = keys();
        write("patches/0001-init.patch", "+++ b/init/Kconfig\n");
        let init = keys();
        assert!(init.0 == empty.0 && init.1 != empty.1);
        let uapi = "--- a/include/uapi/linux/kvm.h\n+++ b/include/uapi/linux/kvm.h\n";
        write("patches/0002-uapi.patch", uapi);
        let with_uapi = keys();
        assert_ne!(with_uapi.0, init.0);
        write("patches/0002-uapi.patch", &format!("kvm: add it\n\nWhy.\n\n{uapi}"));
        assert_eq!(keys(), with_uapi);
    }

    #[test]
    fn the_abi_crate_goes_to_the_kernel() {
        let overlay = Overlay::of(&crate::project::Project::open().unwrap().folder).unwrap();
        let path = Path::new("kernel/liveupdate/uapi/liveupdate_uapi.rs");
        assert!(overlay.own.contains_key(path));
    }

    proptest! {
        #[test]
        fn no_patch_reaches_outside_the_tree(text in "(?s).*", path in "[a./]{0,12}") {
            let patch = format!("{text}\n+++ b/{path}\n");
            for path in touched_files(&patch) {
                prop_assert!(is_below(&path));
            }
        }
    }
}
