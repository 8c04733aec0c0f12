// SPDX-License-Identifier: GPL-2.0

//! The worked example of `docs/wire-format.md`.

use super::*;
use std::{boxed::Box, fmt::Write, fs, string::String, vec, vec::Vec};

use zerocopy::IntoBytes;

use crate::chain::{self, Blocks, Memory};

/// Where the pages of the example are.
const ROOT: u64 = 0x10_0000;
const FLBS: u64 = 0x10_1000;
const SESSIONS: u64 = 0x10_2000;
const FILES: u64 = 0x10_3000;

const PAGE: usize = 4096;

/// As the kernel's pages are.
#[repr(align(4096))]
struct Page([u8; PAGE]);

struct Example(Vec<(u64, &'static str, Box<Page>, usize)>);

impl Memory for Example {
    fn block(&self, address: u64) -> Option<&[u8]> {
        let page = self.0.iter().find(|page| page.0 == address)?;
        Some(&page.2 .0)
    }

    fn block_size(&self) -> usize {
        PAGE
    }
}

fn name<const N: usize>(text: &[u8]) -> [u8; N] {
    *crate::name::Name::<N>::from_text(text).unwrap().as_array()
}

/// One session, `vm-1`, with one memfd under the token 1, and one object on which that depends.
fn example() -> Example {
    let root = LuoSer {
        sessions: SESSIONS,
        flbs: FLBS,
        ..LuoSer::new(1)
    };
    let mut flbs = Box::new(Page([0; PAGE]));
    let header = FlbHeaderSer::new(1);
    header.write_to_prefix(&mut flbs.0).unwrap();
    let object = FlbSer {
        name: name(b"iommu-core-v1"),
        data: 0x20_0000,
        count: 1,
    };
    chain::write(&mut flbs.0, 0, &object).unwrap();
    let mut sessions = Box::new(Page([0; PAGE]));
    let session = SessionSer {
        name: name(b"vm-1"),
        files: FILES,
        count: 1,
    };
    chain::write(&mut sessions.0, 0, &session).unwrap();
    chain::write_header(&mut sessions.0, BlockHeader { next: 0, count: 1 }).unwrap();
    let mut files = Box::new(Page([0; PAGE]));
    let file = FileSer {
        compatible: name(b"memfd-v2"),
        data: 0x30_0000,
        token: 1,
    };
    chain::write(&mut files.0, 0, &file).unwrap();
    chain::write_header(&mut files.0, BlockHeader { next: 0, count: 1 }).unwrap();
    let mut page = Box::new(Page([0; PAGE]));
    page.0[..32].copy_from_slice(root.as_bytes());
    Example(vec![
        (ROOT, "struct luo_ser", page, 32),
        (
            FLBS,
            "struct luo_flb_header_ser, one struct luo_flb_ser",
            flbs,
            80,
        ),
        (
            SESSIONS,
            "struct kho_block_header_ser, one struct luo_session_ser",
            sessions,
            96,
        ),
        (
            FILES,
            "struct kho_block_header_ser, one struct luo_file_ser",
            files,
            80,
        ),
    ])
}

/// The example as `hexdump -C` shows it.
fn dump(example: &Example) -> String {
    let mut text = String::new();
    for (address, what, bytes, length) in &example.0 {
        writeln!(text, "{what}").unwrap();
        for (line, row) in bytes.0[..*length].chunks(16).enumerate() {
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
    let example = example();
    let mut blocks = Blocks::<_, SessionSer>::new(&example, SESSIONS);
    let session = blocks.next().unwrap().unwrap().entries[0];
    assert_eq!(session.count, 1);
    let mut blocks = Blocks::<_, FileSer>::new(&example, session.files);
    assert_eq!(blocks.next().unwrap().unwrap().entries[0].token, 1);
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
