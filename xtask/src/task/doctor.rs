// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask doctor`: what is there, what is missing, what the next run would do.

use std::path::Path;

use anyhow::Result;

use crate::cache::Cache;
use crate::project::Project;
use crate::{source, toolchain};

/// Runs the task; it changes nothing.
pub(crate) fn run() -> Result<()> {
    let project = Project::open()?;
    let cache = Cache::of_user()?;
    println!("cache        {}", cache.folder().display());

    let needs = toolchain::needs();
    for need in &needs {
        let state =
            if need.met { "ok".into() } else { format!("MISSING; as root: {}", need.remedy) };
        println!("host         {:<40} {state}", need.what);
    }
    println!("host         {:<40} {}", "/dev/kvm", kvm());

    let root = toolchain::existing(&cache, &project);
    let suite = &project.settings.root.suite;
    state("toolchain", root.folder(), &format!("would be made from Debian {suite}"));
    let settings = &project.settings.source;
    match source::chosen(&cache, settings) {
        Some(chosen) => {
            println!("source       Linux {} (tried: {})", chosen.version, settings.tried);
        }
        None => println!(
            "source       would be the newest {} in {} (tried: {})",
            settings.package,
            settings.suites.join(", "),
            settings.tried
        ),
    }
    for kind in ["images", "builds", "upstream", "runs"] {
        let count = std::fs::read_dir(cache.folder().join(kind)).map_or(0, Iterator::count);
        println!("{kind:<12} {count}");
    }
    let rust = if project.has_rust() { "in this checkout" } else { "not in this checkout" };
    println!("rust kernel  {rust}");
    println!("room         {} MiB", toolchain::room(cache.folder())? >> 20);
    Ok(())
}

fn state(what: &str, path: &Path, otherwise: &str) {
    if path.exists() {
        println!("{what:<12} {}", path.display());
    } else {
        println!("{what:<12} {otherwise}");
    }
}

fn kvm() -> &'static str {
    match std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => "there; the first run tries whether a kernel boots with it",
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "not there; TCG is used",
        Err(_) => "not accessible to you; TCG is used",
    }
}
