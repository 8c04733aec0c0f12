// SPDX-License-Identifier: MIT OR Apache-2.0

//! The cache in use, and the parts that kernels and guests are built from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use crate::cache::{Cache, Lock};
use crate::failure::Failure;
use crate::kernel::{Builder, Image, Implementation, Profile, Recipe};
use crate::project::Project;
use crate::source::{self, Overlay, Source, Tree};
use crate::toolchain::{self, Root};

/// Folder of finished kernels in the cache.
const IMAGES: &str = "images";

/// The options of a user for the source and its build.
#[derive(Clone, Debug)]
pub(crate) struct BuildRequest {
    /// A kernel tree of the user's.
    pub(crate) linux: Option<PathBuf>,
    /// How kernels are built.
    pub(crate) profile: Profile,
    /// Jobs of make.
    pub(crate) jobs: usize,
}

/// The cache in use, and the parts that kernels are built from.
pub(crate) struct BuildSetup {
    pub(crate) project: Project,
    pub(crate) cache: Cache,
    pub(crate) root: Root,
    pub(crate) source: Source,
    pub(crate) overlay: Overlay,
    /// Where finished kernels lie.
    pub(crate) images: PathBuf,
    /// Held by the thread that makes the source or the tree: kernels are built side by side, from one tree.
    sources: Mutex<()>,
    /// Each is held by the thread that builds this image: another one that needs the same kernel waits for it.
    builds: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>>,
    /// Keeps others from cleaning while this is used.
    _use: Lock,
}

/// The cache in use, and the toolchain root.
pub(crate) struct Toolchain {
    pub(crate) project: Project,
    pub(crate) cache: Cache,
    pub(crate) root: Root,
    /// Keeps others from cleaning while this is used.
    pub(crate) shared: Lock,
}

impl Toolchain {
    /// Sees to it that the toolchain root is there.
    pub(crate) fn open() -> Result<(Self, Lock)> {
        let project = Project::open()?;
        let cache = Cache::of_user()?;
        // In this order everywhere, or a run and a clean-up could wait for each other.
        let lock = cache.prepare()?;
        let shared = cache.share()?;
        toolchain::sweep(&cache, &lock)?;
        let root = toolchain::prepare(&cache, &project, &lock)?;
        Ok((Self { project, cache, root, shared }, lock))
    }
}

impl BuildSetup {
    /// Only what is there already; `None` if toolchain or source are not.
    pub(crate) fn peek(
        linux: Option<&Path>,
        implementations: &[Implementation],
    ) -> Result<Option<Self>> {
        let project = Project::open()?;
        check_present(&project, implementations)?;
        let cache = Cache::of_user()?;
        let shared = cache.share()?;
        let root = toolchain::existing(&cache, &project);
        let settings = &project.settings.source;
        let source = match linux {
            Some(folder) => Some(source::open_given(folder, settings)?),
            None => source::chosen(&cache, settings),
        };
        let Some(source) = source.filter(|_| root.exists()) else {
            return Ok(None);
        };
        let overlay = Overlay::of(&project.folder)?;
        Ok(Some(Self::of(Toolchain { project, cache, root, shared }, source, overlay)))
    }

    /// Sees to it that the toolchain is there and a source is chosen, for these implementations.
    pub(crate) fn open(
        linux: Option<&Path>,
        implementations: &[Implementation],
    ) -> Result<(Self, Lock)> {
        // Errors should be reported before any long work begins.
        let project = Project::open()?;
        check_present(&project, implementations)?;
        let given = linux.map(|folder| source::open_given(folder, &project.settings.source));
        let given = given.transpose()?;
        let overlay = Overlay::of(&project.folder)?;

        let (toolchain, lock) = Toolchain::open()?;
        let source = if let Some(source) = given {
            source
        } else {
            let Toolchain { project, cache, root, .. } = &toolchain;
            source::choose_debian(cache, project, root, &lock)?
        };
        Ok((Self::of(toolchain, source, overlay), lock))
    }

    fn of(toolchain: Toolchain, source: Source, overlay: Overlay) -> Self {
        let Toolchain { project, cache, root, shared } = toolchain;
        let images = cache.folder().join(IMAGES);
        let (sources, builds) = (Mutex::default(), Mutex::default());
        Self { project, cache, root, source, overlay, images, sources, builds, _use: shared }
    }

    /// Sees to it that the source is there.
    pub(crate) fn fetch(&self, lock: &Lock) -> Result<()> {
        let _alone = self.sources();
        source::fetch(&self.cache, &self.project, &self.root, &self.source, lock)
    }

    fn sources(&self) -> MutexGuard<'_, ()> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The overlaid tree, brought up to date.
    pub(crate) fn tree(&self, lock: &Lock) -> Result<Tree> {
        self.fetch(lock)?;
        let _alone = self.sources();
        source::prepare_tree(&self.cache, &self.root, &self.source, &self.overlay, lock)
    }

    /// The builder of kernels.
    pub(crate) fn builder(&self) -> Builder<'_> {
        Builder {
            cache: &self.cache,
            root: &self.root,
            source: &self.source,
            overlay: &self.overlay,
            images: &self.images,
            project: &self.project,
        }
    }

    /// The image for a recipe, built if it is not there.
    pub(crate) fn image(&self, recipe: &Recipe, jobs: usize, lock: &Lock) -> Result<Image> {
        let image = self.builder().image(recipe)?;
        let build = {
            let mut builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(builds.entry(image.path()).or_default())
        };
        let _alone = build.lock().unwrap_or_else(PoisonError::into_inner);
        if image.exists() {
            return Ok(image);
        }
        self.builder().build(recipe, &self.tree(lock)?, jobs)
    }
}

/// Refuses implementations that this checkout does not have.
fn check_present(project: &Project, implementations: &[Implementation]) -> Result<(), Failure> {
    if implementations.iter().any(|it| it.has_rust()) && !project.has_rust() {
        let what = "this checkout has no Rust implementation (kernel/liveupdate/luo)";
        return Err(Failure::new(what, "use the implementation `c`"));
    }
    Ok(())
}
