// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each kind of image, and each around each other.

use luod::target::{Architecture, Packing, Setting, Source, Unread, Verdict};

use crate::make::{
    PACKINGS, arm64_image, bare_arm64_image, bzimage, config, efi_program, elf, elf_with, elf32,
    memory, memory_with, pack, uki, zboot,
};
use crate::{facts, verdict};

#[test]
fn every_kind_of_image_is_read_to_its_kernel() {
    let (elf, arm64) = (elf(&memory()), arm64_image(&memory()));
    for (layers, image) in [
        ("vmlinux", elf.clone()),
        ("arm64 Image", arm64.clone()),
        ("bzImage > zstd > vmlinux", bzimage(Packing::Zstd, &elf)),
        ("UKI > bzImage > xz > vmlinux", uki(&bzimage(Packing::Xz, &elf))),
        ("UKI > arm64 Image", uki(&arm64)),
        ("EFI zboot > gzip > arm64 Image", zboot(&pack(Packing::Gzip, &arm64), b"gzip")),
        (
            "UKI > EFI zboot > zstd > arm64 Image",
            uki(&zboot(&pack(Packing::Zstd, &arm64), b"zstd")),
        ),
        ("gzip > arm64 Image", pack(Packing::Gzip, &arm64)),
        ("xz > bzImage > gzip > vmlinux", pack(Packing::Xz, &bzimage(Packing::Gzip, &elf))),
    ] {
        let facts = facts(&image);
        assert_eq!((facts.layers.to_string().as_str(), facts.unread), (layers, None));
        assert_eq!(facts.release.as_deref(), Some("7.3.4-test"), "{layers}");
        let arm64 = layers.ends_with("arm64 Image");
        let architecture = if arm64 { Architecture::Arm64 } else { Architecture::X86_64 };
        assert_eq!(facts.architecture, Some(architecture), "{layers}");
        let names: Vec<_> = facts.formats.iter().map(|(format, _)| format.as_str()).collect();
        assert_eq!(names, ["kho-v4", "luo-v5", "memfd-v2"], "{layers}");
        assert_eq!(verdict(&image), Verdict::Yes, "{layers}");
    }
}

#[test]
fn every_packing_is_unpacked() {
    let elf = elf(&memory());
    for packing in PACKINGS {
        for (layers, image) in [
            (format!("{packing} > vmlinux"), pack(packing, &elf)),
            (format!("bzImage > {packing} > vmlinux"), bzimage(packing, &elf)),
        ] {
            let facts = facts(&image);
            assert_eq!((facts.layers.to_string(), facts.unread), (layers, None));
            assert_eq!(verdict(&image), Verdict::Yes, "{packing}");
        }
    }
}

#[test]
fn bytes_behind_a_stream_are_ignored() {
    for packing in PACKINGS.into_iter().filter(|&packing| packing != Packing::Lz4Legacy) {
        let image = [&pack(packing, &elf(&memory()))[..], b"behind"].concat();
        assert_eq!(verdict(&image), Verdict::Yes, "{packing}");
    }
}

#[test]
fn legacy_lz4_has_blocks_of_8_mib() {
    const BLOCK: usize = 8 << 20;
    let kernel = |length: usize| {
        let headers = elf(b"").len();
        elf(&[&memory()[..], &vec![0; length - headers - memory().len()]].concat())
    };
    let unread = |image: &[u8]| facts(image).unread;
    assert_eq!(unread(&pack(Packing::Lz4Legacy, &kernel(BLOCK + 1))), None);
    // Nothing says that no block is behind, but the header of a bzImage.
    let kernel = kernel(BLOCK);
    assert!(matches!(unread(&pack(Packing::Lz4Legacy, &kernel)), Some(Unread::Stream(..))));
    assert_eq!(unread(&bzimage(Packing::Lz4Legacy, &kernel)), None);
    // A block that is not full is the last one.
    let short = pack(Packing::Lz4Legacy, b"short");
    assert_eq!(unread(&short), Some(Unread::Unrecognised));
    let two = [&short[..], &short[4..]].concat();
    for damaged in [&two[..], &short[..4]] {
        assert!(matches!(unread(damaged), Some(Unread::Stream(..))));
    }
}

#[test]
fn lzo_is_recognised() {
    let image = bzimage(Packing::Lzo, &elf(&memory()));
    assert_eq!(facts(&image).unread, Some(Unread::Unsupported(Packing::Lzo)));
    assert_eq!(facts(&image).release.as_deref(), Some("7.3.4-setup"));
}

#[test]
fn a_uki_tells_more_than_its_kernel() {
    let facts = facts(&uki(&elf(&memory_with(b""))));
    assert_eq!(facts.cmdline.as_deref(), Some("liveupdate=on quiet"));
    assert_eq!(facts.os_release.as_deref(), Some("ID=debian"));
    // Without a banner the release is that of the UKI.
    let facts = crate::facts(&uki(&elf(b"no banner\0")));
    assert_eq!(facts.release.as_deref(), Some("7.3.4-uname"));
}

#[test]
fn programs_for_efi_without_one_kernel_are_refused() {
    let unread = |image: &[u8]| facts(image).unread;
    assert_eq!(unread(&efi_program(&[(b".text", b"code")])), Some(Unread::NoKernel));
    let two: [(&[u8], &[u8]); 2] = [(b".linux", b"one"), (b".linux", b"two")];
    assert_eq!(unread(&efi_program(&two)), Some(Unread::SeveralKernels(2)));
    assert_eq!(unread(&efi_program(&[(b".linuxx", b"one")])), Some(Unread::NoKernel));
}

#[test]
fn a_bzimage_without_a_payload_is_too_old() {
    let mut image = bzimage(Packing::Gzip, &elf(&memory()));
    image[0x206] = 7;
    assert_eq!(facts(&image).unread, Some(Unread::OldProtocol(0x207)));
    assert!(facts(&image).unread.unwrap().to_string().contains("2.07"));
    image[0x206] = 8;
    assert_eq!(facts(&image).unread, None);
}

#[test]
fn a_kernel_that_is_entered_in_32_bits_is_one_of_x86() {
    let mut image = bzimage(Packing::Lzo, b"");
    assert_eq!(facts(&image).architecture, Some(Architecture::X86_64));
    image[0x236] = 0;
    assert_eq!(facts(&image).architecture, Some(Architecture::X86));
    let facts = facts(&elf32(&memory()));
    assert_eq!((facts.architecture, facts.unread), (Some(Architecture::X86), None));
}

#[test]
fn only_what_is_loaded_is_read() {
    let debug = b"\0luo-v9\0Linux version 9.9.9 \0";
    let facts = facts(&elf_with(&memory(), debug, None));
    assert_eq!(facts.formats.get(&"luo-v9".parse().unwrap()), None);
    assert_eq!(facts.release.as_deref(), Some("7.3.4-test"));
}

#[test]
fn the_section_of_features_is_a_source() {
    let section = b"PUVL\x01\0\0\0luo-v6\0\0\x01\0memfd\0";
    let facts = facts(&elf_with(&memory(), b"", Some(section)));
    let source = |name: &str| facts.formats.get(&name.parse().unwrap());
    assert_eq!(source("luo-v6"), Some(Source::Section));
    assert_eq!(source("memfd"), Some(Source::Section));
    assert_eq!(source("luo-v5"), Some(Source::Strings));
}

#[test]
fn the_configuration_is_found() {
    let text = "CONFIG_LIVEUPDATE=y\nCONFIG_X=m\n";
    let with = |config: &[u8]| {
        facts(&elf(&memory_with(&[b"liveupdate\0", config, b"\0"].concat()))).config
    };
    let found = with(&config(text)).unwrap();
    assert_eq!((found.get("LIVEUPDATE"), found.get("X")), (Setting::BuiltIn, Setting::Module));
    // Marks without a whole configuration between them, before the one that is whole.
    let damaged = &config(text)[..40];
    assert_eq!(with(damaged), None);
    assert_eq!(with(b"IKCFG_STIKCFG_ED"), None);
    assert!(with(&[b"IKCFG_ST\0", damaged, &config(text)].concat()).is_some());
    assert!(with(&[&config(text)[..], damaged].concat()).is_some());
    assert_eq!(with(&config(text)[..config(text).len() - 8]), None);
    // Each stream costs time, so not all are tried.
    assert!(with(&[&damaged.repeat(7)[..], &config(text)].concat()).is_some());
    assert_eq!(with(&[&damaged.repeat(8)[..], &config(text)].concat()), None);
}

#[test]
fn an_image_that_does_not_say_its_size_is_doubtful() {
    let facts = facts(&bare_arm64_image(&memory()));
    assert_eq!(facts.unread, Some(Unread::SizeUnknown));
    assert_eq!(facts.release.as_deref(), Some("7.3.4-test"));
}

#[test]
fn other_files_are_no_images() {
    for file in [&b"#!/bin/sh\n"[..], b"", b"x", b"\x7FELG", b"BZ", b"070701"] {
        assert_eq!(facts(file).unread, Some(Unread::Unrecognised));
    }
}
