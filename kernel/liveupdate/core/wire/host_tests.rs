// SPDX-License-Identifier: GPL-2.0

//! The worked example of `docs/wire-format.md`.

use super::*;
use std::{fmt::Write, fs, string::String, vec, vec::Vec};

use zerocopy::IntoBytes;

use crate::{
    chain::Blocks,
    host_pages::{buffer, Pages},
};

/// Where the pages of the example are.
const ROOT: u64 = 0x10_0000;
const FLBS: u64 = 0x10_1000;
const SESSIONS: u64 = 0x10_2000;
const FILES: u64 = 0x10_3000;

const PAGE: usize = 4096;

/// An address, what is there, and how many bytes of it are shown.
struct Part(u64, &'static str, usize);

struct Example {
    pages: Pages<PAGE>,
    parts: Vec<Part>,
}

fn name<const N: usize>(text: &[u8]) -> [u8; N] {
    *crate::name::Name::<N>::from_text(text).unwrap().as_array()
}

/// One session, `vm-1`, with one memfd under the token 1, and one FLB on which that depends.
fn example() -> Example {
    let root = LuoSer {
        sessions: SESSIONS,
        flbs: FLBS,
        ..LuoSer::new(1)
    };
    let flb = FlbSer {
        name: name(b"iommu-core-v1"),
        data: 0x20_0000,
        count: 1,
    };
    let session = SessionSer {
        name: name(b"vm-1"),
        files: FILES,
        count: 1,
    };
    let file = FileSer {
        compatible: name(b"memfd-v2"),
        data: 0x30_0000,
        token: 1,
    };
    let mut pages = Pages::default();
    root.write_to_prefix(pages.page(ROOT)).unwrap();
    pages.chain(FLBS, &[flb]);
    FlbHeaderSer::new(1)
        .write_to_prefix(pages.page(FLBS))
        .unwrap();
    pages.chain(SESSIONS, &[session]);
    pages.chain(FILES, &[file]);
    let parts = vec![
        Part(ROOT, "struct luo_ser", 32),
        Part(
            FLBS,
            "struct luo_flb_header_ser, one struct luo_flb_ser",
            80,
        ),
        Part(
            SESSIONS,
            "struct kho_block_header_ser, one struct luo_session_ser",
            96,
        ),
        Part(
            FILES,
            "struct kho_block_header_ser, one struct luo_file_ser",
            80,
        ),
    ];
    Example { pages, parts }
}

/// The example as `hexdump -C` shows it.
fn dump(example: &Example) -> String {
    let mut text = String::new();
    for Part(address, what, length) in &example.parts {
        writeln!(text, "{what}").unwrap();
        let bytes = example.pages.0[address].as_bytes();
        for (line, row) in bytes[..*length].chunks(16).enumerate() {
            let at = address + 16 * line as u64;
            write!(text, "{at:08x} ").unwrap();
            for byte in row {
                write!(text, " {byte:02x}").unwrap();
            }
            let shown = |byte: &u8| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '.',
            };
            writeln!(text, "  |{}|", row.iter().map(shown).collect::<String>()).unwrap();
        }
        text.push('\n');
    }
    text.trim_end().into()
}

#[test]
fn the_example_reads_back() {
    let pages = example().pages;
    let mut buffer = buffer::<PAGE>();
    let mut blocks = Blocks::<_, SessionSer>::new(&pages, SESSIONS);
    let session = blocks.next(&mut buffer).unwrap().unwrap().entries[0];
    assert_eq!(session.count, 1);
    let mut blocks = Blocks::<_, FileSer>::new(&pages, session.files);
    let file = blocks.next(&mut buffer).unwrap().unwrap().entries[0];
    assert_eq!(file.token, 1);
}

#[test]
#[cfg_attr(miri, ignore = "Miri sees no files")]
fn the_document_shows_the_example() {
    if cfg!(target_endian = "big") {
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/wire-format.md");
    let document = fs::read_to_string(path).unwrap();
    let dump = dump(&example());
    assert!(
        document.contains(&dump),
        "docs/wire-format.md must have\n{dump}"
    );
}
