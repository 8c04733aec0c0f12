// SPDX-License-Identifier: MIT OR Apache-2.0

//! KHO below LUO: memory that was restored, and memory that was never preserved.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;

use crate::abi::give_back;

use super::boot::damage::{find_pages, find_roots, memory};
use super::boot::some;
use super::scratch;
use super::shown::check_shown_damaged;
use super::stage::{Kernel, Stage, joined, live_update, meminfo, open_is_eio};

/// The root of LUO as KHO shows it.
const BLOB: &str = "/sys/kernel/debug/kho/in/sub_fdts/LUO";

/// A page of memory.
const PAGE: usize = 4096;

/// C frees the root before debugfs exists, Rust when the device is opened for the first time.
pub(super) fn root_freed(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::Rust {
        read_while_it_goes()?;
    }
    live_update().check().context("open the device")?;
    match fs::read(BLOB) {
        Ok(bytes) => bail!("KHO still shows {} bytes: {}", bytes.len(), bytes.escape_ascii()),
        Err(error) => {
            let expected = stage.kernel.pick(Errno::NOENT, Errno::NODATA);
            ensure!(error.raw_os_error() == Some(expected.raw_os_error()), "KHO says {error}");
            Ok(())
        }
    }
}

/// Reads the root again and again while it is freed: KHO shows it as it was, or not at all.
fn read_while_it_goes() -> Result<()> {
    let before = fs::read(BLOB).context("read the root")?;
    ensure!(before.starts_with(b"luo-v5"), "the root is {}", before.escape_ascii());
    let (is_read, is_open) = (AtomicBool::new(false), AtomicBool::new(false));
    let read = || {
        while !is_open.load(Ordering::Relaxed) {
            let read = fs::read(BLOB);
            is_read.store(true, Ordering::Relaxed);
            match read {
                Ok(bytes) => ensure!(bytes == before, "the root is {}", bytes.escape_ascii()),
                Err(error) if error.raw_os_error() == Some(Errno::NODATA.raw_os_error()) => {}
                Err(error) => return Err(error).context("read the root"),
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let reader = scope.spawn(read);
        while !is_read.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let opened = live_update().check().context("open the device");
        is_open.store(true, Ordering::Relaxed);
        joined(reader.join())??;
        opened
    })
}

/// Leads the next kernel to a root of LUO in memory that was not preserved.
///
/// All other memory is filled with struct pages that carry KHO's mark. The next kernel puts its own
/// struct pages somewhere there, and initialises most of them late.
pub(super) fn forge(stage: &mut Stage<'_>) -> Result<()> {
    some(stage)?;
    let memory = memory()?;
    let roots = find_roots(&memory, stage.hop)?;
    let places = find_references(&memory, &roots)?;
    ensure!(!places.is_empty(), "nothing in KHO's tree leads to {roots:x?}");

    let (root, phys) = marked_pages()?;
    root.fill(0);
    let head = root.get_mut(..6).context("the page")?;
    head.copy_from_slice(b"luo-v5");
    for place in places {
        memory.write_all_at(&phys.to_ne_bytes(), place).context("write memory")?;
    }
    Ok(())
}

/// The root was refused while the kernel booted.
pub(super) fn forged(_: &mut Stage<'_>) -> Result<()> {
    check_shown_damaged()?;
    open_is_eio()?;
    ensure!(!Path::new(BLOB).exists(), "KHO shows what was not preserved");
    Ok(())
}

/// The places in KHO's trees that have the address of one of `roots`.
fn find_references(memory: &File, roots: &[u64]) -> Result<Vec<u64>> {
    const FDT: [u8; 4] = 0xd00d_feed_u32.to_be_bytes();
    let mut places = Vec::new();
    for tree in find_pages(memory, &FDT)? {
        let mut page = [0; PAGE];
        memory.read_exact_at(&mut page, tree).context("read memory")?;
        // Values in such a tree begin at multiples of four.
        let values = page.windows(8).zip(tree..).step_by(4);
        let found =
            values.filter(|(value, _)| roots.iter().any(|root| *value == root.to_ne_bytes()));
        places.extend(found.map(|(_, place)| place));
    }
    Ok(places)
}

/// Fills the scratch areas, where the next kernel puts its struct pages, with struct pages that say
/// "preserved, order 0". Returns a page outside of these areas, and its address. All of this memory
/// belongs to this process until the next kernel runs.
fn marked_pages() -> Result<(&'static mut [u8], u64)> {
    /// Memory of one allocation, which is a mapping of its own.
    const CHUNK: usize = 1 << 20;
    /// Memory that stays free.
    const SPARE: usize = 32 << 20;
    let mut page = [0; PAGE];
    for private in page.chunks_exact_mut(64).filter_map(|page| page.get_mut(40..48)) {
        // `union kho_page_info` in `kernel/liveupdate/kexec_handover.c`.
        private.copy_from_slice(&(0x4b48_4f50_u64 << 32).to_ne_bytes());
    }
    let mut fill = |_| {
        let mut chunk = vec![0; CHUNK];
        let places = whole_pages(&mut chunk).chunks_exact_mut(PAGE);
        places.for_each(|place| place.copy_from_slice(&page));
        chunk
    };
    let available = usize::try_from(meminfo("MemAvailable")?).context("MemAvailable")?;
    let chunks: Vec<_> = (0..available.saturating_sub(SPARE) / CHUNK).map(&mut fill).collect();

    let (scratch, pagemap) =
        (scratch::areas()?, File::open("/proc/self/pagemap").context("pagemap")?);
    let is_outside = |place: &u64| !scratch.iter().any(|area| area.contains(place));
    let mut kept = None;
    for chunk in chunks {
        let chunk = chunk.leak();
        let places = physical(&pagemap, chunk)?;
        ensure!(!places.contains(&0), "pagemap does not say where memory is");
        let mut pages = whole_pages(chunk);
        for group in places.chunk_by(|one, next| is_outside(one) == is_outside(next)) {
            let (mut part, others) = pages.split_at_mut(group.len() * PAGE);
            pages = others;
            let Some(place) = group.first().filter(|place| is_outside(place)) else { continue };
            if kept.is_none() {
                let (page, others) = part.split_at_mut(PAGE);
                kept = Some((page, *place));
                part = others;
            }
            // Loading the next kernel takes memory outside of the scratch areas.
            give_back(part).context("give memory back")?;
        }
    }
    kept.context("no memory outside of the scratch areas")
}

/// The whole pages of a piece of memory.
pub(super) fn whole_pages(memory: &mut [u8]) -> &mut [u8] {
    let first = memory.as_ptr().align_offset(PAGE);
    let pages = memory.get_mut(first..).unwrap_or_default();
    let length = pages.len() - pages.len() % PAGE;
    pages.get_mut(..length).unwrap_or_default()
}

/// The physical addresses of the whole pages of a piece of memory.
fn physical(pagemap: &File, memory: &mut [u8]) -> Result<Vec<u64>> {
    let size = u64::try_from(PAGE).context("the size of a page")?;
    let pages = whole_pages(memory);
    let first = u64::try_from(pages.as_ptr().addr() / PAGE).context("the address")?;
    let mut entries = vec![0; pages.len() / PAGE * 8];
    pagemap.read_exact_at(&mut entries, first * 8).context("read pagemap")?;
    let (entries, _) = entries.as_chunks::<8>();
    // The number of the page is in bits 0 to 54.
    Ok(entries.iter().map(|entry| (u64::from_ne_bytes(*entry) << 9 >> 9) * size).collect())
}
