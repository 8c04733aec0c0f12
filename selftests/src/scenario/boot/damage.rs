// SPDX-License-Identifier: MIT OR Apache-2.0

//! A handover that is damaged; the next kernel is told to go on without it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;

use super::with_handler;
use crate::scenario::kho::whole_pages;
use crate::scenario::shown::check_shown_damaged;
use crate::scenario::stage::{Log, Stage, fails, memfd, meminfo, open_is_eio, test_device};
use crate::{abi, test_device};

const PAGE: u64 = 4096;

/// Offset in the root of the address of the first block of sessions, and of the page of FLBs.
const SESSIONS: u64 = 16;
const FLBS: u64 = 24;

/// Offset in a block of its number of entries, and the number that is written there.
const ENTRIES: u64 = 8;
const TOO_MANY: u64 = 65535;

/// Offset in the page of FLBs of the number of pages, and the number that is written there.
const PAGES: u64 = 0;
const MORE: u64 = 77;

/// All physical memory, to be read and written.
pub(in crate::scenario) fn memory() -> Result<File> {
    File::options().read(true).write(true).open("/dev/mem").context("/dev/mem")
}

/// The number that physical memory has at an address.
pub(in crate::scenario) fn number(memory: &File, at: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    memory.read_exact_at(&mut bytes, at).context("read memory")?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Offset in a block of the name of its first session.
const NAME: u64 = 16;

/// A root that a later kernel might write.
const LATER: &[u8; 6] = b"luo-v6";

/// The content of a page of a memfd: bytes that no other page begins with.
fn content() -> Vec<u8> {
    let numbers = (1..=PAGE / 8).map(|number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    numbers.flat_map(u64::to_ne_bytes).collect()
}

/// A session with a memfd of one page.
fn some_page(stage: &mut Stage<'_>) -> Result<()> {
    let mut file = File::from(memfd("")?);
    file.write_all(&content()).context("write a memfd")?;
    stage.hand_over("untouched", &file)
}

/// Checks that the memory of a damaged handover is as the previous kernel has left it, and stays so
/// while other memory is used up: a file, and the root with the chain of sessions.
fn check_untouched(root: &[u8]) -> Result<()> {
    /// Memory that stays free, in bytes.
    const SPARE: u64 = 32 << 20;
    let memory = memory()?;
    let the_page = |what: &str, begins: &[u8]| {
        let pages = find_pages(&memory, begins)?;
        let [page] = pages[..] else { bail!("pages that look like {what}: {pages:x?}") };
        Ok(page)
    };
    let read = |page: u64| {
        let mut bytes = vec![0; usize::try_from(PAGE).context("the size of a page")?];
        memory.read_exact_at(&mut bytes, page).context("read memory")?;
        Ok::<_, anyhow::Error>(bytes)
    };
    let content = content();
    let file = the_page("the file", content.get(..64).context("the content")?)?;
    let root = the_page("the root", root)?;
    let block = number(&memory, root + SESSIONS)?;
    let mut name = [0; 10];
    memory.read_exact_at(&mut name, block + NAME).context("read memory")?;
    ensure!(name == *b"untouched\0", "the session is called {}", name.escape_ascii());
    ensure!(read(file)? == content, "the file has changed");

    let there = [root, block].map(read);
    let size = usize::try_from(meminfo("MemAvailable")?.saturating_sub(SPARE)).context("memory")?;
    // A page that is given to a process is made of zeros before.
    let mut filled = vec![0_u8; size];
    let pages = whole_pages(&mut filled);
    // Small pages do as well, but they take ten seconds.
    let _ = abi::advise_huge(pages);
    pages.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    drop(std::hint::black_box(filled));
    ensure!(read(file)? == content, "the memory of the file was given away");
    for (page, before) in [root, block].into_iter().zip(there) {
        ensure!(read(page)? == before?, "the memory at {page:#x} was given away");
    }
    Ok(())
}

/// The first bytes of the root of the live update that ends hop `hop`.
fn root(hop: usize) -> Result<[u8; 16]> {
    let mut root = [0; 16];
    root[..6].copy_from_slice(b"luo-v5");
    let number = u64::try_from(hop).context("the hop")?;
    root[8..].copy_from_slice(&number.to_ne_bytes());
    Ok(root)
}

/// Pages that begin like the root of the live update that ends hop `hop`. KHO's tree, which has its
/// address, is in debugfs only as it was before the root was added.
pub(in crate::scenario) fn find_roots(memory: &File, hop: usize) -> Result<Vec<u64>> {
    find_pages(memory, &root(hop)?)
}

/// Pages of all memory that begin with `bytes`.
pub(in crate::scenario) fn find_pages(memory: &File, bytes: &[u8]) -> Result<Vec<u64>> {
    let ranges = fs::read_to_string("/proc/iomem").context("read /proc/iomem")?;
    let mut pages = Vec::new();
    for range in ranges.lines().filter_map(|line| line.strip_suffix(" : System RAM")) {
        let number = |text: &str| u64::from_str_radix(text.trim(), 16).context("/proc/iomem");
        let (first, last) = range.split_once('-').context("/proc/iomem")?;
        // Whole pages: the kernel warns about a read of half a page.
        let (first, end) = (number(first)?.next_multiple_of(PAGE), number(last)? + 1);
        let end = (end - end % PAGE).max(first);
        pages.extend(abi::find_pages(memory, first, end, 4096, bytes).context("map memory")?);
    }
    Ok(pages)
}

/// The page that is the root of the live update that ends hop `hop`.
fn find_root(memory: &File, hop: usize) -> Result<u64> {
    let roots = find_roots(memory, hop)?;
    let [root] = roots[..] else {
        bail!("{} pages look like the root of live update {hop}: {roots:x?}", roots.len());
    };
    Ok(root)
}

/// Writes another format into the root, as a later kernel might.
pub(super) fn root_before(stage: &mut Stage<'_>) -> Result<()> {
    some_page(stage)?;
    let memory = memory()?;
    let root = find_root(&memory, stage.hop)?;
    memory.write_all_at(LATER, root).context("write memory")
}

/// Writes a number into a page that the root has the address of, when the handover is written.
fn damage(stage: &mut Stage<'_>, pointer: u64, at: u64, number: u64) -> Result<()> {
    let hop = stage.hop;
    stage.while_leaving("damage", move |leaving| {
        leaving.until_handed_over()?;
        let memory = memory()?;
        let root = find_root(&memory, hop)?;
        let address = self::number(&memory, root + pointer)?;
        ensure!(address != 0 && address % PAGE == 0, "the root has the address {address:#x}");
        memory.write_all_at(&number.to_ne_bytes(), address + at).context("write memory")
    })
}

pub(super) fn chain_before(stage: &mut Stage<'_>) -> Result<()> {
    some_page(stage)?;
    with_handler(stage)?;
    damage(stage, SESSIONS, ENTRIES, TOO_MANY)
}

pub(super) fn flbs_before(stage: &mut Stage<'_>) -> Result<()> {
    with_handler(stage)?;
    damage(stage, FLBS, PAGES, MORE)
}

/// Checks that a damaged handover cannot be used, and is not taken for an absent one.
fn check_damaged(what: &str) -> Result<()> {
    open_is_eio()?;
    open_is_eio()?;
    let device = test_device()?;
    for command in [test_device::INCOMING_OBJECT, test_device::COUNTED] {
        let asked = abi::number(&device, command, 0);
        fails("an FLB of the previous kernel", asked, Errno::IO)?;
    }
    let said = Log::from_the_beginning()?.lines("luo: ")?;
    let named = said.iter().any(|line| line.contains(what));
    ensure!(named, "the log does not name the damage: {said:?}");
    check_shown_damaged()
}

/// The number of live updates is not known, and the log says so.
pub(super) fn root_after(_: &mut Stage<'_>) -> Result<()> {
    check_damaged("luo-v6")?;
    let said = Log::from_the_beginning()?.lines("live update number")?;
    ensure!(!said.is_empty(), "the log does not say that the live update number starts again");
    check_untouched(LATER)
}

/// The root of the next live update has the next number.
fn check_number(hop: usize) -> Result<()> {
    find_root(&memory()?, hop).map(drop).context("the live update number does not go on counting")
}

pub(super) fn chain_after(stage: &mut Stage<'_>) -> Result<()> {
    check_damaged(&TOO_MANY.to_string())?;
    check_number(stage.hop)?;
    check_untouched(&root(stage.hop - 1)?)
}

pub(super) fn flbs_after(stage: &mut Stage<'_>) -> Result<()> {
    check_damaged(&MORE.to_string())?;
    check_number(stage.hop)
}
