// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether modules of the kernel side import only what stands below them.
//!
//! The order is the one in the documentation of each crate, where its modules are named as links.

use anyhow::Result;

use super::files::{self, TextFile, extension};
use super::{Check, Folders, Report};

/// A crate whose modules have an order.
struct Crate {
    /// Its root.
    root: &'static str,
    /// The folder of its modules.
    folder: &'static str,
    /// The beginnings of those lines of the documentation that name modules, the lowest first.
    row: &'static str,
}

const CRATES: [Crate; 3] = [
    Crate {
        root: "kernel/liveupdate/core/luo_core.rs",
        folder: "kernel/liveupdate/core/",
        row: "//! - [`",
    },
    Crate {
        root: "kernel/liveupdate/memfd/luo_memfd.rs",
        folder: "kernel/liveupdate/memfd/",
        row: "//! - [`",
    },
    Crate { root: "kernel/liveupdate/luo/luo.rs", folder: "kernel/liveupdate/luo/", row: "//! | " },
];

/// The order of modules.
pub(super) struct Floors;

impl Check for Floors {
    fn name(&self) -> &'static str {
        "floors"
    }

    fn run(&self, folders: &Folders<'_>) -> Result<Report> {
        Ok(judge(&files::all(folders.project)?))
    }
}

fn judge(files: &[TextFile]) -> Report {
    let findings: Vec<String> = CRATES.iter().flat_map(|it| it.findings(files)).collect();
    let next = "move what is shared down, or hand it in as an argument; imports go down only";
    Report::of_findings(Floors.name(), &findings, next)
}

impl Crate {
    fn findings(&self, files: &[TextFile]) -> Vec<String> {
        let Some(root) = files.iter().find(|file| file.path == self.root) else {
            return Vec::new();
        };
        let order = order(&root.text, self.row);
        let rank = |module: &str| order.iter().position(|it| *it == module);
        let mut findings = Vec::new();
        for file in files {
            let Some(module) = module(&file.path, self.folder) else { continue };
            // Tests stand beside the crate.
            let is_test = module.starts_with("host_") || file.path.ends_with("/host_tests.rs");
            if file.path == self.root || is_test {
                continue;
            }
            let Some(own) = rank(module) else {
                findings.push(format!("{}: `{module}` has no place in {}", file.path, self.root));
                continue;
            };
            for import in imports(&file.text) {
                let is_below = import == module || rank(import).is_some_and(|it| it < own);
                if !is_below && !import.starts_with("host_") {
                    findings.push(format!("{}: imports `{import}` from above", file.path));
                }
            }
        }
        findings
    }
}

/// The module that a file belongs to, if it is one of that folder.
fn module<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let first = path.strip_prefix(folder)?.split('/').next()?;
    match first.strip_suffix(".rs") {
        Some(module) => Some(module),
        None => (extension(path) == "rs").then_some(first),
    }
}

/// The modules that the documentation names, the lowest first.
fn order<'a>(text: &'a str, row: &str) -> Vec<&'a str> {
    let rows = text.lines().filter(|line| line.starts_with(row));
    let links = rows.flat_map(|line| line.split("[`").skip(1));
    links.filter_map(|link| link.split_once("`]")).map(|(name, _)| name).collect()
}

/// The modules of its own crate that a file names.
fn imports(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let line = text[..at].rsplit('\n').next().unwrap_or_default();
        let is_other = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if is_other || line.trim_start().starts_with("//") {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => all.extend(group_members(group)),
            None => all.extend(name(rest)),
        }
    }
    all
}

/// The first names in a group of imports, up to its end.
fn group_members(group: &str) -> Vec<&str> {
    let (mut depth, mut wants_name, mut members) = (1_usize, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => wants_name = true,
            c if wants_name && (c.is_alphabetic() || c == '_') => {
                members.extend(name(&group[at..]));
                wants_name = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    members
}

/// The name of a module at the beginning of a text; an item of the root is none.
fn name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let name = text.get(..end).filter(|name| !name.is_empty())?;
    name.starts_with(|c: char| c.is_lowercase()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: format!("kernel/liveupdate/luo/{path}"), text: text.into() }
    }

    fn judged(path: &str, text: &str) -> String {
        let root = "//! | 1 low | [`ffi`] (calls C), [`gate`] |\n//! | 2 high | [`device`] |\n\
                    //! [`device`] asks [`gate`].\nuse crate::device;\n";
        let report = judge(&[file("luo.rs", root), file(path, text)]);
        report.failure.map(|failure| failure.output).unwrap_or_default()
    }

    #[test]
    fn imports_go_down() {
        let up = "use crate::{\n    ffi::{self, device},\n    device::Device, //\n};\n";
        assert_eq!(
            judged("gate.rs", up),
            "kernel/liveupdate/luo/gate.rs: imports `device` from above"
        );
        assert_eq!(judged("device.rs", "use crate::{\n    gate::Gate,\n    ffi, //\n};\n"), "");
        // Parts of one module may import each other.
        assert_eq!(judged("ffi/flb.rs", "use crate::ffi::handler;\n"), "");
        assert!(
            judged("ffi/flb.rs", "fn f() { crate::gate::g() }\n").contains("`gate` from above")
        );
    }

    #[test]
    fn other_crates_and_comments_do_not_count() {
        let text =
            "//! [`crate::device`]\nuse kernel::x;\nmacro!($crate::device);\nmy_crate::device();\n";
        assert_eq!(judged("gate.rs", text), "");
        assert_eq!(judged("gate.rs", "use crate::Root;\n"), "");
    }

    #[test]
    fn every_module_has_a_folders() {
        let output = judged("stray.rs", "");
        assert!(output.contains("`stray` has no place"), "{output}");
    }
}
