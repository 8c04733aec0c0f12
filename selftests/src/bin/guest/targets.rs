// SPDX-License-Identifier: MIT OR Apache-2.0

//! Kernels that luod must not leave for.

use std::fs;
use std::io::{self, Read as _};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use ruzstd::decoding::StreamingDecoder;
use selftests::luctl::{failure, output, sessions};
use selftests::position::KERNEL;
use selftests::systemd::{PROGRAMS, STOCK};

/// A kernel that reads other formats than this one writes.
const FOREIGN: &str = "/run/vmtest-foreign";

/// The format of LUO, and one that no kernel has. Messages of the kernel have it, too.
const FORMATS: [&[u8]; 2] = [b"luo-v5", b"luo-v0"];

/// The beginnings of what gzip and zstd write.
const GZIP: &[u8] = &[0x1f, 0x8b, 8];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

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
    let mut kernel =
        unpacked(&image).context("the kernel is packed neither by gzip nor by zstd")?;
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

/// The kernel in an image.
fn unpacked(image: &[u8]) -> Option<Vec<u8>> {
    first(image, ZSTD, |mut packed, kernel| {
        let mut decoder = StreamingDecoder::new(&mut packed).map_err(io::Error::other)?;
        decoder.read_to_end(kernel)
    })
    .or_else(|| first(image, GZIP, |packed, kernel| GzDecoder::new(packed).read_to_end(kernel)))
}

/// The first that can be unpacked of what begins with `mark`: these bytes may be there by chance.
fn first(
    image: &[u8],
    mark: &[u8],
    unpack: impl Fn(&[u8], &mut Vec<u8>) -> io::Result<usize>,
) -> Option<Vec<u8>> {
    let places = image.windows(mark.len()).enumerate().filter(|(_, part)| *part == mark);
    let mut packed = places.filter_map(|(at, _)| image.get(at..));
    packed.find_map(|packed| {
        let mut kernel = Vec::new();
        unpack(packed, &mut kernel).is_ok().then_some(kernel)
    })
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|part| part == text)
}
