// SPDX-License-Identifier: MIT OR Apache-2.0

//! Kernels that luod must not leave for.

use std::fs;

use anyhow::{Context, Result, ensure};
use lz4_flex::block::decompress_into;
use selftests::luctl::{failure, output, sessions};
use selftests::position::KERNEL;
use selftests::systemd::{PROGRAMS, STOCK};

/// A kernel that reads other formats than this one writes.
const FOREIGN: &str = "/run/vmtest-foreign";

/// The format of LUO, and one that no kernel has. Messages of the kernel have it, too.
const FORMATS: [&[u8]; 2] = [b"luo-v5", b"luo-v0"];

/// The beginning of what `lz4 -l` writes, as kbuild calls it, and the bytes in each of its blocks but the last.
const LZ4: [u8; 4] = 0x184c_2102_u32.to_le_bytes();
const BLOCK: usize = 8 << 20;

/// Each is refused before anything happens. The kernel of the next hop is loaded and unpacked.
pub(crate) fn check(before: &[String]) -> Result<()> {
    let stock = format!("{PROGRAMS}/{STOCK}");
    write_foreign()?;
    let page = format!("{PROGRAMS}/operators.md");
    for (kernel, finding) in [
        ("/usr/bin/true", "target-no-live-updates"),
        (&page, "target-unread"),
        (&stock, "target-no-live-updates"),
        (FOREIGN, "target-format"),
    ] {
        let (said, code) = failure("luctl", &["check", kernel])?;
        ensure!(code == 4 && said.contains(finding), "{kernel}: {code}: {said}");
    }
    fs::remove_file(FOREIGN).context("remove a kernel")?;
    output("luctl", &["load", &stock])?;
    for options in [&["update"][..], &["update", "--now"]] {
        let (said, code) = failure("luctl", options)?;
        ensure!(
            code == 4 && said.contains("target-no-live-updates"),
            "{options:?}: {code}: {said}"
        );
    }
    let now = sessions("outgoing")?;
    ensure!(now == before, "sessions were {before:#?}, and are {now:#?}");
    Ok(())
}

/// The next kernel, with the name of a format changed.
fn write_foreign() -> Result<()> {
    let image = fs::read(KERNEL).context("read the next kernel")?;
    let mut kernel = unpacked(&image).context("the kernel is not packed by lz4")?;
    let [format, other] = FORMATS;
    let mut changed = 0;
    let mut from = 0;
    while let Some(at) = kernel.get(from..).and_then(|rest| find(rest, format)) {
        let place = kernel.get_mut(from + at..from + at + format.len());
        place.context("a place in the kernel")?.copy_from_slice(other);
        from += at + format.len();
        changed += 1;
    }
    ensure!(changed > 0, "the kernel has no format of LUO");
    fs::write(FOREIGN, kernel).context("write a kernel")
}

/// The kernel in an image: the first that can be unpacked of what begins as such a stream, since these bytes may be there
/// by chance.
fn unpacked(image: &[u8]) -> Option<Vec<u8>> {
    let places = image.windows(LZ4.len()).enumerate().filter(|(_, part)| *part == LZ4);
    let mut streams = places.filter_map(|(at, _)| image.get(at + LZ4.len()..));
    streams.find_map(blocks)
}

/// The content of blocks, which are behind their lengths. Only the last one is not full.
fn blocks(mut stream: &[u8]) -> Option<Vec<u8>> {
    let (mut kernel, mut block) = (Vec::new(), vec![0; BLOCK]);
    loop {
        let (length, rest) = stream.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (packed, rest) = rest.split_at_checked(length)?;
        let unpacked = decompress_into(packed, &mut block).ok()?;
        kernel.extend_from_slice(block.get(..unpacked)?);
        if unpacked < BLOCK {
            return Some(kernel);
        }
        stream = rest;
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|part| part == text)
}
