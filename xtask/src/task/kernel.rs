// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask kernel`: kernels for kernel developers.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::kernel::{Flavour, Image, Implementation, KernelKind, Recipe};
use crate::setup::{BuildSetup, Toolchain};
use crate::task::vm_test::BuildOptions;
use crate::task::{memblock, series};
use crate::{say, source};

/// The actions of `cargo xtask kernel`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Build a kernel and print the path of its image
    Build(BuildArguments),
    /// Print the path of a kernel's image, built before
    Image(BuildArguments),
    /// Document the Rust crates of the kernel side, and see that every link leads somewhere
    Docs(BuildOptions),
    /// Run Linux's own tests of memblock, with bisection and without
    Memblock,
    /// Print the path of the overlaid kernel tree, brought up to date
    Tree {
        /// A kernel tree of your own; it is copied, never changed [default: Debian's source]
        #[arg(long, value_name = "DIR")]
        linux: Option<PathBuf>,
    },
    /// Put this project's kernel files and patches over a kernel tree of yours
    Overlay {
        /// The tree; this one is changed
        #[arg(long, value_name = "DIR")]
        linux: PathBuf,
    },
    /// Write the kernel side as patch mails, or see that maintainers can take them
    Series(series::Options),
    /// Look in the archive for a newer kernel source
    Update,
    /// Run a shell, or a command, in the toolchain root
    Shell {
        /// Command and arguments [default: bash]
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Which kernel.
#[derive(Args, Clone, Debug)]
pub(crate) struct BuildArguments {
    /// Implementation of the Live Update Orchestrator
    #[arg(long = "impl", value_enum, value_name = "IMPL")]
    implementation: Implementation,
    /// The purpose of the kernel: tests, or a host with systemd and KVM
    #[arg(long, value_enum, default_value_t)]
    flavour: Flavour,
    /// Configuration fragments on top of the project's; may be given several times
    #[arg(long, value_name = "FRAGMENT")]
    config: Vec<PathBuf>,
    #[command(flatten)]
    build: BuildOptions,
}

impl BuildArguments {
    fn recipe(&self) -> Recipe {
        Recipe {
            kind: KernelKind {
                implementation: self.implementation,
                profile: self.build.profile,
                flavour: self.flavour,
            },
            fragments: self.config.clone(),
        }
    }
}

/// Runs the task.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Build(arguments) => {
            let request = arguments.build.request();
            let (setup, lock) =
                BuildSetup::open(request.linux.as_deref(), &[arguments.implementation])?;
            let image = setup.image(&arguments.recipe(), request.jobs, &lock)?;
            say(&format!("{}\n", image.path().display()))?;
        }
        Command::Image(arguments) => {
            let request = arguments.build.request();
            let setup = BuildSetup::peek(request.linux.as_deref(), &[arguments.implementation])?;
            let image = setup.map(|setup| setup.builder().image(&arguments.recipe()));
            let image = image.transpose()?.filter(Image::exists).ok_or_else(|| {
                let what = "this kernel is not built, or not from what the checkout holds now";
                Failure::new(what, "run `cargo xtask kernel build` with the same options")
            })?;
            say(&format!("{}\n", image.path().display()))?;
        }
        Command::Docs(options) => document(options)?,
        Command::Memblock => memblock::run()?,
        Command::Tree { linux } => {
            let (setup, lock) = BuildSetup::open(linux.as_deref(), &[])?;
            say(&format!("{}\n", setup.tree(&lock)?.folder.display()))?;
        }
        Command::Overlay { linux } => {
            let (setup, _lock) = BuildSetup::open(Some(linux), &[])?;
            let (cache, root) = (&setup.cache, &setup.root);
            let files = setup.overlay.files(cache, root, &setup.source)?;
            for (path, content) in &files {
                crate::cache::write_by_rename(&setup.source.folder.join(path), content)?;
            }
            eprintln!("{} files put over {}", files.len(), setup.source.folder.display());
        }
        Command::Series(options) => series::run(options)?,
        Command::Update => {
            let (Toolchain { project, cache, root, .. }, lock) = Toolchain::open()?;
            let before = source::chosen(&cache, &project.settings.source);
            let now = source::update(&cache, &project, &root, &lock)?;
            let before = before.map_or_else(|| "none".into(), |source| source.version);
            eprintln!("Linux {before} -> {}", now.version);
        }
        Command::Shell { command } => return shell(command),
    }
    Ok(())
}

/// Documents the crates of the Rust kernel, and prints the folder of their pages.
pub(crate) fn document(options: &BuildOptions) -> Result<()> {
    let (request, implementation) = (options.request(), Implementation::Rust);
    let (setup, lock) = BuildSetup::open(request.linux.as_deref(), &[implementation])?;
    let (profile, flavour) = (request.profile, Flavour::Host);
    let recipe =
        Recipe { kind: KernelKind { implementation, profile, flavour }, fragments: Vec::new() };
    let pages = setup.builder().document(&recipe, &setup.tree(&lock)?, request.jobs)?;
    say(&format!("{}\n", pages.display()))
}

/// Becomes a command in the toolchain root, in the current folder.
fn shell(command: &[String]) -> Result<()> {
    let (toolchain, lock) = Toolchain::open()?;
    // The shell may last for hours: others may build meanwhile, but not clean.
    drop(lock);
    toolchain.shared.keep_over_exec()?;
    let cwd = std::env::current_dir()?;
    let (program, arguments) = match command.split_first() {
        Some((program, arguments)) => (program.as_str(), arguments),
        None => ("bash", &[][..]),
    };
    let mut command = toolchain.root.command(program, &cwd, &[toolchain.cache.folder()]);
    command.args(arguments);
    Err(command.exec().into())
}
