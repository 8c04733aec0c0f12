// SPDX-License-Identifier: MIT OR Apache-2.0

//! The module of a handler stays loaded for as long as one of its files is preserved or incoming.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};

use super::Scenario;
use super::stage::{Log, Stage, create, fails, finish, open_is_eio, retrieve};
use crate::plan::MODULES;

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("a_module_stays_loaded_while_a_file_of_it_is_incoming", before, incoming),
    Scenario::here("a_module_stays_loaded_while_a_file_of_it_is_preserved", preserved),
];

/// `kernel/liveupdate/test/luo_test_module.c`.
const NAME: &str = "luo_test_module";

/// `O_NONBLOCK`, without which `delete_module(2)` may force a module out.
const NONBLOCK: u32 = 0o4000;

/// Loads the module for tests of this kernel. A file that is handed over finds its handler only if
/// the module is loaded before the device is opened.
pub fn load() -> Result<()> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    // CONFIG_LOCALVERSION is the name of the kernel's implementation.
    let (_, kernel) = release.rsplit_once('-').context("a release without a local version")?;
    let path = format!("/{MODULES}/{kernel}/{NAME}.ko");
    let module = File::open(&path).with_context(|| format!("open {path}"))?;
    finit_module(module, c"", 0).with_context(|| format!("load {path}"))
}

fn unload() -> rustix::io::Result<()> {
    delete_module(c"luo_test_module", NONBLOCK.cast_signed())
}

/// A file of the module, which is a reference to it.
pub(super) fn open() -> Result<File> {
    let path = format!("/dev/{NAME}");
    File::options().read(true).write(true).open(&path).with_context(|| format!("open {path}"))
}

/// Checks the number of references to the module, and that it can be unloaded only without any.
fn check_references(when: &str, expected: u32) -> Result<()> {
    let path = format!("/sys/module/{NAME}/refcnt");
    let count = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let count: u32 = count.trim().parse().with_context(|| format!("understand {path}"))?;
    ensure!(count == expected, "{when}: {count} references to the module, not {expected}");
    if expected > 0 {
        fails(&format!("{when}: unload the module"), unload(), Errno::WOULDBLOCK)?;
    }
    Ok(())
}

/// Checks that nothing holds the module, by loading it again.
fn check_free() -> Result<()> {
    check_references("at the end", 0)?;
    unload().context("unload the module")?;
    ensure!(open().is_err(), "the module is still there");
    load()
}

fn preserved(_: &mut Stage<'_>) -> Result<()> {
    check_references("no file", 0)?;
    let (session, file) = (create("module-here")?, open()?);
    check_references("an open file", 1)?;
    session.preserve(1.into(), &file).context("PRESERVE_FD")?;
    check_references("a preserved file", 2)?;
    drop(file);
    check_references("a preserved file that is not open elsewhere", 2)?;
    drop(session);
    check_free()
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("module", open()?)?;
    check_references("a file that is handed over", 2)
}

fn incoming(_: &mut Stage<'_>) -> Result<()> {
    check_references("an incoming file", 1)?;
    let session = retrieve("module")?;
    check_references("a file of a retrieved session", 1)?;
    let file = session.retrieve(1.into()).context("RETRIEVE_FD")?;
    let link = fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()));
    let link = link.context("read the link")?;
    ensure!(link.as_os_str() == "anon_inode:[luo_test_module]", "the link is {}", link.display());
    check_references("a retrieved file", 2)?;
    drop(file);
    check_references("a retrieved file that is not open elsewhere", 2)?;
    let _finished = finish(session)?;
    check_free()
}

/// For [`super::boot`]: a session with a file of the module.
pub(super) fn boot_before(stage: &mut Stage<'_>) -> Result<()> {
    load()?;
    stage.hand_over("boot", open()?)
}

/// For [`super::boot`]: the device is opened before the module is loaded.
pub(super) fn boot_late(_: &mut Stage<'_>) -> Result<()> {
    let mut log = Log::begin()?;
    open_is_eio()?;
    let said = log.lines("")?;
    let named = said.iter().any(|line| line.contains("luo-test-module-v1"));
    ensure!(named, "the log does not name the handler: {said:?}");
    load()?;
    open_is_eio()
}
