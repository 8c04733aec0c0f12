// SPDX-License-Identifier: MIT OR Apache-2.0

//! Images that are cut off, damaged, or made of anything.

use luod::target::{Layer, Packing, Unread, Verdict};
use proptest::prelude::*;

use crate::make::{
    PACKINGS, arm64_image, bare_arm64_image, bzimage, bzimage_of, config, elf, elf_with, elf32,
    memory, memory_with, pack, uki, zboot,
};
use crate::{facts, verdict};

/// One image of each kind.
fn images() -> Vec<Vec<u8>> {
    let (kernel, arm64) = (elf(&memory()), arm64_image(&memory()));
    let mut images = vec![
        elf_with(&memory(), b"debug", Some(b"luo\0memfd\0")),
        elf32(&memory()),
        uki(&bzimage(Packing::Zstd, &kernel)),
        zboot(&pack(Packing::Gzip, &arm64), b"gzip"),
        bare_arm64_image(&memory()),
        elf(&memory_with(&config("CONFIG_LIVEUPDATE=y\n"))),
    ];
    for packing in PACKINGS {
        images.extend([pack(packing, &kernel), bzimage(packing, &kernel)]);
    }
    images.extend([kernel, arm64]);
    images
}

#[test]
fn an_image_that_is_cut_off_is_unknown() {
    for image in images() {
        let layers = facts(&image).layers;
        for length in 0..image.len() {
            let verdict = verdict(&image[..length]);
            assert!(
                matches!(verdict, Verdict::Unknown(_)),
                "{layers}, {length} bytes: {verdict:?}"
            );
        }
    }
}

#[test]
fn the_signature_belongs_to_the_image() {
    let mut image = uki(&elf(&memory()));
    let length = u32::try_from(image.len()).unwrap();
    // The directory of certificates: its place and its size.
    image[232..240].copy_from_slice(&[length.to_le_bytes(), 8_u32.to_le_bytes()].concat());
    assert_eq!(facts(&image).unread, Some(Unread::CutOff(Layer::Uki)));
    image.extend([0; 8]);
    assert_eq!(verdict(&image), Verdict::Yes);
}

#[test]
fn a_stream_of_another_size_is_damaged() {
    let kernel = elf(&memory());
    let wrong = 7_u32;
    for packing in PACKINGS.into_iter().filter(|&packing| packing != Packing::Gzip) {
        let payload = [&pack(packing, &kernel)[..], &wrong.to_le_bytes()].concat();
        let unread = facts(&bzimage_of(&payload)).unread;
        assert_eq!(unread, Some(Unread::Size { packing, got: kernel.len(), said: wrong }));
    }
}

#[test]
fn checksums_are_looked_at() {
    for packing in [Packing::Gzip, Packing::Xz, Packing::Lz4, Packing::Bzip2, Packing::Zstd] {
        let mut stream = pack(packing, &memory());
        // In the middle lie bytes that could not be packed, so they unpack to others.
        let middle = stream.len() / 2;
        stream[middle] ^= 0x10;
        let unread = facts(&stream).unread;
        assert!(matches!(unread, Some(Unread::Stream(..))), "{packing}: {unread:?}");
    }
}

#[test]
fn a_payload_beyond_the_end_is_damaged() {
    let mut image = bzimage(Packing::Gzip, &elf(&memory()));
    image[0x24C..0x250].copy_from_slice(&[0xFF; 4]);
    let damaged = Unread::Damaged(Layer::BzImage, "its payload lies beyond its end");
    assert_eq!(facts(&image).unread, Some(damaged));
    image[0x24C..0x250].copy_from_slice(&[3, 0, 0, 0]);
    let damaged = Unread::Damaged(Layer::BzImage, "its payload is too small");
    assert_eq!(facts(&image).unread, Some(damaged));
    let damaged = Unread::Damaged(Layer::BzImage, "its payload is no packed stream");
    assert_eq!(facts(&bzimage_of(&elf(&memory()))).unread, Some(damaged));
}

#[test]
fn a_payload_ends_with_the_code_around_it() {
    let mut image = bzimage(Packing::Gzip, &elf(&memory()));
    let length = u32::try_from(image.len()).unwrap() - 3 * 512 - 48;
    image[0x24C..0x250].copy_from_slice(&(length + 1).to_le_bytes());
    image.extend(b"behind");
    let damaged = Unread::Damaged(Layer::BzImage, "its payload lies beyond its end");
    assert_eq!(facts(&image).unread, Some(damaged));
}

#[test]
fn parts_of_vmlinux_beyond_its_end_are_cut_off() {
    let image = elf32(&memory());
    let unread = facts(&image[..image.len() - 1]).unread;
    assert_eq!(unread, Some(Unread::CutOff(Layer::Elf)));
    // The offset of the first section with content.
    let mut image = elf(&memory());
    let table = usize::from(image[40]) | usize::from(image[41]) << 8;
    image[table + 64 + 28] = 1;
    assert_eq!(facts(&image).unread, Some(Unread::CutOff(Layer::Elf)));
}

#[test]
fn vmlinux_has_something_to_load() {
    let mut image = elf(&memory());
    // A note in place of the only segment.
    image[64] = 4;
    assert!(matches!(facts(&image).unread, Some(Unread::Damaged(Layer::Elf, _))));
}

/// Beginnings of all layers.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    proptest::sample::select(images()).prop_flat_map(|image| {
        let length = 0..image.len().min(1600);
        length.prop_map(move |length| image[..length].to_vec())
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read(head in heads(), rest in proptest::collection::vec(any::<u8>(), 0..2000)) {
        verdict(&rest);
        verdict(&[head, rest].concat());
    }

    #[test]
    fn any_damage_is_read(
        image in proptest::sample::select(images()),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut image = image;
        for (at, byte) in damage {
            let at = at.index(image.len());
            image[at] = byte;
        }
        verdict(&image);
    }
}
