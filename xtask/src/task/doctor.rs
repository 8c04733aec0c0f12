// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask doctor`: the parts that are there, the missing parts, and the work of the next run.

use anyhow::Result;

use crate::cache::Cache;
use crate::project::Project;
use crate::toolchain::Root;
use crate::{say, source, toolchain, vm};

/// Runs the task; it changes nothing.
pub(crate) fn run() -> Result<()> {
    let project = Project::open()?;
    let folder = Cache::folder_of_user()?;
    let mut lines = vec![line("cache", &folder.display().to_string())];
    for need in toolchain::needs() {
        let state =
            if need.met { "ok".into() } else { format!("MISSING; as root: {}", need.remedy) };
        lines.push(line("host", &format!("{:<40} {state}", need.what)));
    }
    let settings = &project.settings;
    // Only what is there may be opened: opening makes the folder.
    let cache = folder.exists().then(|| Cache::at(&folder)).transpose()?;
    let root = cache.as_ref().map(|cache| toolchain::existing(cache, &project));
    let known = cache.as_ref().zip(root.as_ref()).and_then(|(cache, root)| vm::known(cache, root));
    lines.push(line("host", &format!("{:<40} {}", "/dev/kvm", kvm(known))));
    lines.push(line(
        "toolchain",
        &match root.filter(Root::exists) {
            Some(root) => root.folder().display().to_string(),
            None => format!("would be made from Debian {}", settings.root.suite),
        },
    ));
    let source = cache.as_ref().and_then(|cache| source::chosen(cache, &settings.source));
    let tried = &settings.source.tried;
    lines.push(line(
        "source",
        &match source {
            Some(source) => format!("Linux {} (tried: {tried})", source.version),
            None => format!(
                "would be the newest {} in {} (tried: {tried})",
                settings.source.package,
                settings.source.suites.join(", ")
            ),
        },
    ));
    for kind in ["images", "builds", "upstream", "runs"] {
        let count = std::fs::read_dir(folder.join(kind)).map_or(0, Iterator::count);
        lines.push(line(kind, &count.to_string()));
    }
    let rust = if project.has_rust() { "in this checkout" } else { "not in this checkout" };
    lines.push(line("rust kernel", rust));
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(&folder);
    lines.push(line("room", &format!("{} MiB", toolchain::room(there)? >> 20)));
    say(&lines.concat())
}

fn line(what: &str, state: &str) -> String {
    format!("{what:<12} {state}\n")
}

fn kvm(known: Option<bool>) -> &'static str {
    match std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => match known {
            Some(true) => "there, and a kernel boots with it",
            Some(false) => "there, but no kernel boots with it; TCG is used",
            None => "there; the first run tries whether a kernel boots with it",
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "not there; TCG is used",
        Err(_) => "not accessible to you; TCG is used",
    }
}
