// SPDX-License-Identifier: MIT OR Apache-2.0

//! Images that cost more than they may.

use std::time::{Duration, Instant};

use luod::target::{Limits, Packing, Unread, Verdict, compare, read};

use crate::handed_over;
use crate::make::{PACKINGS, bzimage, elf, memory, memory_with, pack, uki};

const MIB: usize = 1 << 20;

#[test]
fn a_bomb_is_left_at_the_limit() {
    let limits = Limits { unpacked: MIB, ..Limits::default() };
    let (fits, bomb) = (vec![0; limits.unpacked], vec![0; limits.unpacked + 1]);
    for packing in PACKINGS {
        // Legacy lz4 of full blocks is known to be whole only in a bzImage.
        let image = |content: &[u8]| uki(&bzimage(packing, content));
        assert_eq!(read(&image(&fits), &limits).unread, Some(Unread::Unrecognised), "{packing}");
        let unread = read(&image(&bomb), &limits).unread;
        assert_eq!(unread, Some(Unread::TooLarge(limits.unpacked)), "{packing}");
    }
}

#[test]
fn a_bomb_costs_little_more_memory_than_the_limit() {
    let limits = Limits { unpacked: 4 * MIB, ..Limits::default() };
    for packing in [Packing::Gzip, Packing::Lz4] {
        let image = pack(packing, &vec![0; 64 * MIB]);
        let cost = allocation_counter::measure(|| {
            read(&image, &limits);
        });
        let most = (4 * limits.unpacked + 16 * MIB) as u64;
        assert!(cost.bytes_max < most, "{packing}: {} bytes", cost.bytes_max);
    }
}

#[test]
fn blocks_of_a_bomb_share_the_limit() {
    let limits = Limits { unpacked: 12 * MIB, ..Limits::default() };
    let unread = read(&bzimage(Packing::Lz4Legacy, &vec![0; 16 * MIB]), &limits).unread;
    assert_eq!(unread, Some(Unread::TooLarge(limits.unpacked)));
}

#[test]
fn bombs_within_bombs_share_the_limit() {
    let limits = Limits { unpacked: MIB, ..Limits::default() };
    let inner = pack(Packing::Xz, &vec![0; MIB / 8 * 5]);
    let padded = |length| [&inner[..], &vec![0; length]].concat();
    let unread = |length| read(&pack(Packing::Gzip, &padded(length)), &limits).unread;
    assert_eq!(unread(MIB / 4), Some(Unread::Unrecognised));
    assert_eq!(unread(MIB / 2), Some(Unread::TooLarge(limits.unpacked)));
}

#[test]
fn a_dictionary_is_no_larger_than_the_limit() {
    let limits = Limits { unpacked: MIB / 8, ..Limits::default() };
    let kernel = elf(&memory());
    // With the preset of these packers, dictionaries have 256 KiB.
    for packing in [Packing::Xz, Packing::Lzma] {
        let unread = read(&pack(packing, &kernel), &limits).unread;
        assert!(matches!(unread, Some(Unread::Stream(..))), "{packing}: {unread:?}");
    }
    // A frame of zstd with a window of 2 GiB.
    let frame = [&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 21 << 3][..], &[0x01, 0, 0]].concat();
    let unread = read(&frame, &limits).unread;
    assert!(matches!(unread, Some(Unread::Stream(Packing::Zstd, _))), "{unread:?}");
}

#[test]
fn layers_have_a_limit() {
    let limits = Limits::default();
    let mut image = elf(&memory());
    for _ in 1..limits.layers {
        image = pack(Packing::Gzip, &image);
    }
    assert_eq!(read(&image, &limits).unread, None);
    for _ in limits.layers..100 {
        image = pack(Packing::Gzip, &image);
        let facts = read(&image, &limits);
        assert_eq!(facts.unread, Some(Unread::TooDeep(limits.layers)));
        assert_eq!(facts.layers.as_slice().len(), limits.layers);
    }
}

#[test]
fn strings_have_a_limit_and_what_was_found_is_kept() {
    let limits = Limits { strings: 100, ..Limits::default() };
    let image = |count: usize| {
        let names = (0..count).flat_map(|number| format!("\0name{number}-v1\0").into_bytes());
        elf(&memory_with(&names.collect::<Vec<_>>()))
    };
    assert_eq!(read(&image(100), &limits).unread, None);
    let facts = read(&image(101), &limits);
    assert_eq!(facts.unread, Some(Unread::TooManyStrings(100)));
    assert!(facts.formats.get(&"name7-v1".parse().unwrap()).is_some());
}

#[test]
fn segments_that_overlap_cost_nothing() {
    const SEGMENTS: u16 = 5000;
    // A reader that looks at each of them reads 5 GB.
    let mut image = elf(&[&memory()[..], &vec![0x80; MIB]].concat());
    let segment = image[64..120].to_vec();
    let table = u32::try_from(image.len()).unwrap();
    image[32..36].copy_from_slice(&table.to_le_bytes());
    image[56..58].copy_from_slice(&SEGMENTS.to_le_bytes());
    image.extend(segment.repeat(SEGMENTS.into()));
    let start = Instant::now();
    let facts = read(&image, &Limits::default());
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(facts.unread, None);
    assert_eq!(compare(&handed_over(), &facts), Verdict::Yes);
}
