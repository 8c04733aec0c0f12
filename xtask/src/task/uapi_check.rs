// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask uapi-check`: the crate `liveupdate_uapi` against the kernel's own header.
//!
//! Every constant and structure of the crate becomes assertions in C, which the
//! compiler holds against `include/uapi/linux/liveupdate.h` of the kernel in use. What the header
//! has and the crate has not is found by reading the header.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::mem::{align_of, offset_of, size_of};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use liveupdate_uapi::{
    Command, CreateSession, Finish, GetName, PreserveFd, RetrieveFd, RetrieveSession,
    SESSION_NAME_LENGTH, TYPE,
};

use crate::cache::remove;
use crate::failure::{Failure, NextStep};
use crate::process::Job;
use crate::say;
use crate::setup::BuildSetup;

/// The options of `cargo xtask uapi-check`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// A kernel tree of your own [default: Debian's source]
    #[arg(long, value_name = "DIR")]
    linux: Option<PathBuf>,
}

/// The header, in a kernel tree.
const HEADER: &str = "include/uapi/linux/liveupdate.h";

/// The beginnings of those words of the header that the crate must know.
const OURS: [&str; 2] = ["LIVEUPDATE_", "liveupdate_"];

/// A structure as the crate has it.
struct Structure {
    c: &'static str,
    size: usize,
    align: usize,
    fields: Vec<(&'static str, usize, usize)>,
}

/// A structure of the crate under its name in C, with its fields.
macro_rules! structure {
    ($c:literal, $rust:ty { $($field:ident: $type:ty),* $(,)? }) => {
        Structure {
            c: $c,
            size: size_of::<$rust>(),
            align: align_of::<$rust>(),
            fields: vec![$((stringify!($field), offset_of!($rust, $field), size_of::<$type>())),*],
        }
    };
}

fn structures() -> Vec<Structure> {
    type Name = [u8; SESSION_NAME_LENGTH];
    vec![
        structure!(
            "liveupdate_ioctl_create_session",
            CreateSession { size: u32, fd: i32, name: Name }
        ),
        structure!(
            "liveupdate_ioctl_retrieve_session",
            RetrieveSession { size: u32, fd: i32, name: Name }
        ),
        structure!("liveupdate_session_preserve_fd", PreserveFd { size: u32, fd: i32, token: u64 }),
        structure!("liveupdate_session_retrieve_fd", RetrieveFd { size: u32, fd: i32, token: u64 }),
        structure!("liveupdate_session_finish", Finish { size: u32, reserved: u32 }),
        structure!("liveupdate_session_get_name", GetName { size: u32, reserved: u32, name: Name }),
    ]
}

fn constants() -> Vec<(&'static str, u64)> {
    vec![
        ("LIVEUPDATE_IOCTL_TYPE", TYPE.into()),
        ("LIVEUPDATE_SESSION_NAME_LENGTH", SESSION_NAME_LENGTH as u64),
        ("LIVEUPDATE_CMD_BASE", CreateSession::NR.into()),
        ("LIVEUPDATE_CMD_CREATE_SESSION", CreateSession::NR.into()),
        ("LIVEUPDATE_CMD_RETRIEVE_SESSION", RetrieveSession::NR.into()),
        ("LIVEUPDATE_CMD_SESSION_BASE", PreserveFd::NR.into()),
        ("LIVEUPDATE_CMD_SESSION_PRESERVE_FD", PreserveFd::NR.into()),
        ("LIVEUPDATE_CMD_SESSION_RETRIEVE_FD", RetrieveFd::NR.into()),
        ("LIVEUPDATE_CMD_SESSION_FINISH", Finish::NR.into()),
        ("LIVEUPDATE_CMD_SESSION_GET_NAME", GetName::NR.into()),
        ("LIVEUPDATE_IOCTL_CREATE_SESSION", CreateSession::OPCODE.into()),
        ("LIVEUPDATE_IOCTL_RETRIEVE_SESSION", RetrieveSession::OPCODE.into()),
        ("LIVEUPDATE_SESSION_PRESERVE_FD", PreserveFd::OPCODE.into()),
        ("LIVEUPDATE_SESSION_RETRIEVE_FD", RetrieveFd::OPCODE.into()),
        ("LIVEUPDATE_SESSION_FINISH", Finish::OPCODE.into()),
        ("LIVEUPDATE_SESSION_GET_NAME", GetName::OPCODE.into()),
    ]
}

/// Runs the task.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (setup, lock) = BuildSetup::open(options.linux.as_deref(), &[])?;
    setup.fetch(&lock)?;
    let path = setup.source.folder.join(HEADER);
    let header = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let unknown = unknown(&header);
    if !unknown.is_empty() {
        let what = format!("the header has what the crate has not: {}", unknown.join(", "));
        return Err(Failure::new(what, "add it to `uapi/`, and to this task").into());
    }

    check_zerocopy(&setup.project.folder, &setup.source.folder)?;
    let (source, count) = assertions();
    let scratch = setup.cache.scratch("uapi-check")?;
    fs::write(scratch.join("check.c"), source).context("write the assertions")?;
    let include = setup.source.folder.join("include/uapi");
    let mut command = setup.root.command("gcc", &scratch, &[&setup.source.folder]);
    // As if the headers were installed.
    command.args(["-fsyntax-only", "-Wall", "-Werror", "-D__EXPORTED_HEADERS__", "-I"]);
    command.arg(&include).arg("check.c");
    let log = setup.cache.path("logs", "uapi-check.log");
    Job::new(command, &log).run().or_advise(|| {
        let what = format!("the crate and {} of Linux {} differ", HEADER, setup.source.version);
        (what, format!("each failed assertion is in {}: correct `uapi/`", log.display()))
    })?;
    remove(&scratch)?;
    let version = &setup.source.version;
    say(&format!("{count} facts of liveupdate_uapi hold in {HEADER} of Linux {version}\n"))
}

/// Checks that the lock file has the zerocopy of the kernel, which the shared sources are compiled with
/// there.
fn check_zerocopy(project: &Path, kernel: &Path) -> Result<()> {
    let read = |path: PathBuf| {
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let readme = read(kernel.join("rust/zerocopy/README.md"))?;
    let theirs = kernels_zerocopy(&readme).context("rust/zerocopy/README.md names no version")?;
    let lock = read(project.join("Cargo.lock"))?;
    for name in ["zerocopy", "zerocopy-derive"] {
        let ours = locked(&lock, name).with_context(|| format!("Cargo.lock has no {name}"))?;
        if ours != theirs {
            let what = format!("Cargo.lock has {name} {ours}, and the kernel has {theirs}");
            let next = format!("cargo update -p {name} --precise {theirs}");
            return Err(Failure::new(what, next).into());
        }
    }
    Ok(())
}

/// `... version v0.8.54 ...`
fn kernels_zerocopy(readme: &str) -> Option<&str> {
    let rest = readme.split_once("version v")?.1;
    let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
    Some(rest.get(..end)?.trim_end_matches('.'))
}

/// The version of a package in a lock file.
fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let entry = format!("name = \"{name}\"\nversion = \"");
    lock.split_once(&entry)?.1.split('"').next()
}

/// The assertions as a C file, and how many there are.
fn assertions() -> (String, usize) {
    let mut lines = Vec::new();
    for (name, value) in constants() {
        lines.push(format!("{name} == {value}"));
    }
    for Structure { c, size, align, fields } in structures() {
        lines.push(format!("sizeof(struct {c}) == {size}"));
        lines.push(format!("_Alignof(struct {c}) == {align}"));
        for (field, offset, size) in fields {
            lines.push(format!("offsetof(struct {c}, {field}) == {offset}"));
            lines.push(format!("sizeof(((struct {c} *)0)->{field}) == {size}"));
        }
    }
    let mut source = "#include <stddef.h>\n#include <linux/liveupdate.h>\n".to_owned();
    for line in &lines {
        // Writing to a string cannot fail.
        let _ = writeln!(source, "_Static_assert({line}, \"{line}\");");
    }
    (source, lines.len())
}

/// Words of the header that neither a constant nor a structure of the crate has.
fn unknown(header: &str) -> Vec<String> {
    let known: BTreeSet<&str> = constants()
        .into_iter()
        .map(|(name, _)| name)
        .chain(structures().iter().map(|structure| structure.c))
        .collect();
    let code = without_comments(header);
    let words = code.split(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_');
    let ours = words.filter(|word| OURS.iter().any(|prefix| word.starts_with(prefix)));
    let unknown: BTreeSet<&str> = ours.filter(|word| !known.contains(word)).collect();
    unknown.into_iter().map(str::to_owned).collect()
}

fn without_comments(text: &str) -> String {
    let mut code = String::new();
    for (index, part) in text.split("/*").enumerate() {
        let rest = if index == 0 { part } else { part.split_once("*/").map_or("", |(_, it)| it) };
        code.push_str(rest);
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_the_kernel_and_in_the_lock_file() {
        let readme =
            "These files come from the Rust `zerocopy` crate, version v0.8.54\n(released ...";
        assert_eq!(kernels_zerocopy(readme), Some("0.8.54"));
        assert_eq!(kernels_zerocopy("nothing"), None);
        let lock = "[[package]]\nname = \"zerocopy\"\nversion = \"0.8.54\"\n";
        assert_eq!(locked(lock, "zerocopy"), Some("0.8.54"));
        assert_eq!(locked(lock, "zerocopy-derive"), None);
    }

    #[test]
    fn what_the_crate_does_not_know_is_told() {
        let header = "/* LIVEUPDATE_OLD */\n#define LIVEUPDATE_IOCTL_TYPE 0xBA\n\
                      struct liveupdate_session_new { int x; };\n#define LIVEUPDATE_FLAG 1\n";
        assert_eq!(unknown(header), ["LIVEUPDATE_FLAG", "liveupdate_session_new"]);
    }

    #[test]
    fn every_field_is_asserted() {
        let (source, count) = assertions();
        assert_eq!(source.lines().count(), count + 2);
        assert!(source.contains("offsetof(struct liveupdate_session_preserve_fd, token) == 8"));
        assert!(source.contains("LIVEUPDATE_SESSION_GET_NAME == 47683"));
    }
}
