// SPDX-License-Identifier: MIT OR Apache-2.0

//! An image of anybody, bare and within each layer: it is read within the limits, and the verdict is
//! never better than what was found.

#![no_main]
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a target reports")]

#[expect(dead_code, reason = "tests of luod need more")]
#[path = "../../tests/make/make.rs"]
mod make;

use luod::target::{Format, Limits, Packing, Verdict, compare, read};

/// `input` within a layer.
fn wrapped(layer: u8, input: &[u8]) -> Vec<u8> {
    match layer % 16 {
        0 => make::bzimage_of(input),
        1 => make::uki(input),
        2 => make::zboot(input, b"gzip"),
        3 => make::elf(input),
        4 => make::elf_with(b"liveupdate\0", b"", Some(input)),
        5 => make::arm64_image(input),
        6 => make::bare_arm64_image(input),
        7 => make::bzimage(Packing::Gzip, input),
        8 => make::pack(Packing::Xz, input),
        9 => make::elf(&make::config(&String::from_utf8_lossy(input))),
        10 => make::elf32(input),
        11 => make::pack(make::PACKINGS[input.len() % make::PACKINGS.len()], input),
        _ => input.to_vec(),
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [layers, input @ ..] = input else { return };
    let limits = Limits { unpacked: 1 << 20, layers: 6, strings: 64, ..Limits::default() };
    let facts = read(&wrapped(layers >> 4, &wrapped(layers & 15, input)), &limits);

    assert!(facts.layers.as_slice().len() <= limits.layers);
    assert!(facts.formats.iter().count() <= limits.strings + 1);
    let wanted = ["kho-v4", "luo-v5"].map(|name| name.parse::<Format>().expect("a format"));
    match compare(&wanted, &facts) {
        Verdict::Yes => {
            assert!(facts.unread.is_none());
            assert!(wanted.iter().all(|format| facts.formats.get(format).is_some()));
        }
        Verdict::No(refusals) => assert!(facts.unread.is_none() && !refusals.is_empty()),
        Verdict::Unknown(doubts) => assert!(!doubts.is_empty()),
    }
});
