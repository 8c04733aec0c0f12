// SPDX-License-Identifier: MIT OR Apache-2.0

//! Building a kernel image with kbuild, inside the toolchain root.

mod compiler_cache;
mod docs;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};

use crate::arch::ARCH;
use crate::cache::{Cache, Key, remove, write_if_different};
use crate::failure::{Failure, NextStep};
use crate::kernel::interrupted::BuildMark;
use crate::kernel::{Fragments, KernelKind, Recipe, seed};
use crate::process::{Exited, Job};
use crate::progress::Progress;
use crate::project::Project;
use crate::source::{Overlay, Source, Tree};
use crate::toolchain::Root;

/// Raise it when the way of building changes.
const VERSION: u32 = 3;

/// Name of the image in the cache.
const IMAGE: &str = ARCH.make;

/// Folder of the modules in the cache.
const MODULES: &str = "modules";

/// A finished kernel.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Folder with the image, `config`, `System.map` and `modules`.
    folder: PathBuf,
}

impl Image {
    /// The image to boot.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(IMAGE)
    }

    /// Its name in the cache, with a hash of all that it was made from.
    pub(crate) fn key(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether it is there.
    pub(crate) fn exists(&self) -> bool {
        self.path().exists()
    }

    /// The files of its modules, which fit this kernel alone.
    pub(crate) fn modules(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join(MODULES);
        let files = fs::read_dir(&folder).and_then(|files| {
            files.map(|file| file.map(|file| file.path())).collect::<io::Result<Vec<_>>>()
        });
        let mut files = files.with_context(|| format!("list {}", folder.display()))?;
        files.sort();
        Ok(files)
    }
}

/// Builds kernels from one source with one overlay.
pub(crate) struct Builder<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) root: &'a Root,
    pub(crate) source: &'a Source,
    pub(crate) overlay: &'a Overlay,
    /// Where finished kernels lie.
    pub(crate) images: &'a Path,
    pub(crate) project: &'a Project,
}

impl Builder<'_> {
    /// The image of a recipe, built or not.
    pub(crate) fn image(&self, recipe: &Recipe) -> Result<Image> {
        let fragments = Fragments::of(recipe, self.project)?;
        let key = Key::of("image", VERSION)
            .with(&self.root.key)
            .with(&self.source.key)
            .with(&self.overlay.key)
            .with(fragments.text())
            .finish();
        let name = format!("{}-{key}", recipe.kind);
        Ok(Image { folder: self.images.join(name) })
    }

    /// Builds the image of a recipe, on top of what an earlier build of its kind left.
    pub(crate) fn build(&self, recipe: &Recipe, tree: &Tree, jobs: usize) -> Result<Image> {
        let image = self.image(recipe)?;
        if image.exists() {
            return Ok(image);
        }
        let kind = recipe.kind;
        let folder = self.planted_folder(recipe)?;
        let mut step = Progress::begin(self.cache, format!("build the kernel {kind}"));
        let log = self.cache.path("logs", format!("kernel-{kind}.log"));
        let kbuild = Kbuild { root: self.root, tree: &tree.folder, folder: &folder, log };
        kbuild.marked(|| self.make(recipe, &kbuild, &mut step, ARCH.make, jobs)).or_advise(
            || {
                let what = format!("the kernel {kind} does not build");
                (what, format!("read the log {}", kbuild.log.display()))
            },
        )?;
        compiler_cache::check_image(&folder)?;
        step.done();
        self.publish(&folder, &image)?;
        Ok(image)
    }

    /// Makes a target with the configuration of a recipe.
    fn make(
        &self,
        recipe: &Recipe,
        kbuild: &Kbuild<'_>,
        step: &mut Progress<'_>,
        target: &str,
        jobs: usize,
    ) -> Result<()> {
        let fragments = Fragments::of(recipe, self.project)?;
        step.now("configuration");
        let made = kbuild.configuration(&fragments)?;
        fragments.check(&made)?;
        // Only with the image: modules are linked against it.
        let modules = (target == ARCH.make && has_modules(&made)).then_some("modules");
        let targets: Vec<_> = [target].into_iter().chain(modules).collect();
        kbuild.make(&made, &targets, jobs, step)
    }

    /// The build folder of a recipe; a new one begins as a copy.
    fn planted_folder(&self, recipe: &Recipe) -> Result<PathBuf> {
        let folder = self.folder(recipe);
        if !folder.exists() {
            let seeds = seed::of(recipe.kind).map(|kind| self.folder_of(kind));
            seed::plant(self.cache, &folder, seeds)?;
        }
        Ok(folder)
    }

    /// The folder that builds of this kind share, so that a change costs only what it touches.
    fn folder(&self, recipe: &Recipe) -> PathBuf {
        let folder = self.folder_of(recipe.kind);
        if recipe.fragments.is_empty() {
            return folder;
        }
        let mut key = Key::of("fragments", 1);
        for path in &recipe.fragments {
            key = key.with(path.as_os_str().as_encoded_bytes());
        }
        folder.with_added_extension(key.finish())
    }

    fn folder_of(&self, kind: KernelKind) -> PathBuf {
        let (root, source) = (&self.root.key, &self.source.name);
        // Objects that another way of building has left may be wrong, and make would keep them.
        self.cache.path("builds", format!("{root}-{source}-{kind}-{VERSION}"))
    }

    fn publish(&self, build: &Path, image: &Image) -> Result<()> {
        let scratch = self.cache.scratch("image")?;
        for (from, to) in [(ARCH.image, IMAGE), (".config", "config"), ("System.map", "System.map")]
        {
            let from = build.join(from);
            fs::copy(&from, scratch.join(to))
                .with_context(|| format!("copy {}", from.display()))?;
        }
        let modules = scratch.join(MODULES);
        fs::create_dir(&modules).with_context(|| format!("make {}", modules.display()))?;
        for module in built_modules(build)? {
            let name = module.file_name().context("a module without a name")?;
            fs::copy(&module, modules.join(name))
                .with_context(|| format!("copy {}", module.display()))?;
        }
        self.cache.publish(&scratch, &image.folder)
    }
}

/// Whether a configuration has parts that are built as modules.
fn has_modules(configuration: &str) -> bool {
    configuration.lines().any(|line| line.starts_with("CONFIG_") && line.ends_with("=m"))
}

/// The modules of a build folder that is finished, as kbuild lists them: by their objects.
fn built_modules(build: &Path) -> Result<Vec<PathBuf>> {
    let configuration = fs::read_to_string(build.join(".config")).context("read .config")?;
    if !has_modules(&configuration) {
        // The list may be that of an earlier build.
        return Ok(Vec::new());
    }
    let list = fs::read_to_string(build.join("modules.order")).context("read modules.order")?;
    Ok(list.lines().map(|object| build.join(object).with_extension("ko")).collect())
}

/// The same image on every machine and on every day.
const VARIABLES: &[&str] = &[
    "KBUILD_BUILD_HOST=localhost",
    "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER=liveupdate",
    "KBUILD_BUILD_VERSION=1",
    // Rust is compiled by clippy, with the kernel's lints, and nothing may be left of them.
    "CLIPPY=1",
    "KRUSTFLAGS=-Dwarnings",
    // Set and empty: nothing but the fragments names a kernel.
    "LOCALVERSION=",
];

/// kbuild, with an output folder of its own.
pub(crate) struct Kbuild<'a> {
    pub(crate) root: &'a Root,
    /// The kernel tree.
    pub(crate) tree: &'a Path,
    /// The output folder.
    pub(crate) folder: &'a Path,
    /// Where all that it says is kept.
    pub(crate) log: PathBuf,
}

impl Kbuild<'_> {
    /// Runs a build with a new log, so that the next build knows if this one was killed.
    pub(crate) fn marked(&self, build: impl FnOnce() -> Result<()>) -> Result<()> {
        let _ = remove(&self.log);
        let mark = BuildMark::set(self.folder)?;
        let result = build();
        // After anything but make's own end, an object may be half written.
        let by_itself = |error: &Error| error.is::<Failure>() || Exited::by_itself(error);
        if result.as_ref().err().is_none_or(by_itself) {
            mark.clear()?;
        }
        result
    }

    /// What kconfig makes of fragments.
    pub(crate) fn configuration(&self, fragments: &Fragments) -> Result<String> {
        let (merged, made) = (self.folder.join("merged.config"), self.folder.join("made.config"));
        fs::write(&merged, fragments.text()).context("write the configuration")?;
        let allconfig = format!("KCONFIG_ALLCONFIG={}", merged.display());
        let config = format!("KCONFIG_CONFIG={}", made.display());
        self.run(&[&allconfig, &config, "allnoconfig"], |_| {})?;
        fs::read_to_string(&made).context("read what kconfig made")
    }

    /// Builds targets with this configuration.
    pub(crate) fn make(
        &self,
        configuration: &str,
        targets: &[&str],
        jobs: usize,
        step: &mut Progress<'_>,
    ) -> Result<()> {
        // make looks at its time.
        write_if_different(&self.folder.join(".config"), configuration.as_bytes())?;
        let jobs = format!("-j{jobs}");
        let mut compiled = 0_usize;
        self.run(&[&[jobs.as_str()], targets].concat(), |line| {
            if let Some(file) = compiled_file(line) {
                compiled += 1;
                step.now(&format!("{compiled} files, {file}"));
            }
        })
    }

    fn run(&self, arguments: &[&str], on_line: impl FnMut(&str)) -> Result<()> {
        let mut command = self.root.command("make", self.folder, &[self.tree]);
        command.arg("-C").arg(self.tree).arg(format!("O={}", self.folder.display()));
        command.arg("LLVM=1").args(VARIABLES).args(arguments);
        let objects = self.root.cache().join("ccache");
        command.envs(compiler_cache::install(self.folder, &objects)?);
        Job::new(command, &self.log).on_line(on_line).run()
    }
}

/// The file in a line of kbuild such as `  CC      mm/memfd.o`.
fn compiled_file(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?;
    let (what, file) = rest.split_once(' ')?;
    let is_tool = what.bytes().all(|byte| byte.is_ascii_uppercase());
    is_tool.then(|| file.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_tells_whether_there_are_modules() {
        assert!(has_modules("CONFIG_A=y\nCONFIG_B=m\n"));
        assert!(!has_modules("# CONFIG_B=m\nCONFIG_MODULES=y\nCONFIG_C=\"a=m\"\n"));
    }

    #[test]
    fn progress_is_read_from_kbuild() {
        assert_eq!(compiled_file("  CC      mm/memfd.o"), Some("mm/memfd.o"));
        assert_eq!(compiled_file("  RUSTC   rust/core.o"), Some("rust/core.o"));
        assert_eq!(compiled_file("mm/memfd.c:1:2: error: x"), None);
        assert_eq!(compiled_file("      1 | int x"), None);
        assert_eq!(compiled_file(""), None);
    }
}
