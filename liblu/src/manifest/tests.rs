// SPDX-License-Identifier: MIT OR Apache-2.0

//! Manifests by themselves, and in sessions of a fake kernel.

use proptest::prelude::*;
use rustix::fs::fcntl_get_seals;

use super::*;
use crate::LiveUpdate;
use crate::fake::{self, Fake};

fn memfd(size: u64) -> OwnedFd {
    let memfd = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memfd, size).unwrap();
    memfd
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn files_are_found_by_label_in_the_next_kernel() {
    let _fake = fake::install(Fake::default());
    let device = LiveUpdate::at(fake::DEVICE);
    let name = "cache".parse().unwrap();
    let session = device.create(&name).unwrap();
    let mut manifest = Manifest::new();
    manifest.preserve(&session, "memory", memfd(8192), b"\0\xff").unwrap();
    let token = manifest.preserve(&session, "index", memfd(1), b"").unwrap();
    assert_eq!(token.get(), 2);
    manifest.seal(&session).unwrap();
    drop(session);
    fake::kexec();

    let session = device.retrieve(&name).unwrap();
    let there = Manifest::of(&session).unwrap();
    assert_eq!(there, manifest);
    let memory = there.entry("memory").unwrap();
    assert_eq!((memory.kind(), memory.size(), memory.state()), ("memfd", 8192, &b"\0\xff"[..]));
    let index = there.retrieve(&session, "index").unwrap();
    assert_eq!(fstat(index).unwrap().st_size, 1);
    let missing = there.retrieve(&session, "nothing").unwrap_err();
    assert_eq!(missing.to_string(), "there is no file called `nothing`");
    session.finish().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_file_that_cannot_be_preserved_is_not_written_down() {
    let _fake = fake::install(Fake::default());
    let session = LiveUpdate::at(fake::DEVICE).create(&"x".parse().unwrap()).unwrap();
    let mut manifest = Manifest::new();
    let null = File::open("/dev/null").unwrap();
    let error = manifest.preserve(&session, "null", &null, b"").unwrap_err();
    assert!(matches!(error, ManifestError::Session(Error::NotPreservable(_))));
    assert!(manifest.entries().is_empty());
    manifest.preserve(&session, "null", memfd(1), b"").unwrap();
    let twice = manifest.preserve(&session, "null", memfd(1), b"").unwrap_err();
    assert!(matches!(twice, ManifestError::LabelTaken(_)));
    for label in [String::new(), "x".repeat(256)] {
        let error = manifest.preserve(&session, &label, memfd(1), b"").unwrap_err();
        assert!(matches!(error, ManifestError::Label(_)));
    }
    let same = manifest.preserve_as(&session, Token::from(1), "other", memfd(1), b"");
    assert!(matches!(same, Err(ManifestError::TokenTaken(_))));
    let reserved = manifest.preserve_as(&session, Token::MANIFEST, "other", memfd(1), b"");
    assert!(matches!(reserved, Err(ManifestError::TokenTaken(Token::MANIFEST))));
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn what_would_not_be_sealed_is_not_preserved() {
    let _fake = fake::install(Fake::default());
    let session = LiveUpdate::at(fake::DEVICE).create(&"x".parse().unwrap()).unwrap();
    let mut manifest = Manifest::new();
    let half = vec![0; usize::try_from(Manifest::MAX_SIZE).unwrap() / 2];
    manifest.preserve(&session, "one", memfd(1), &half).unwrap();
    let large = manifest.preserve(&session, "two", memfd(1), &half).unwrap_err();
    assert!(matches!(large, ManifestError::TooLarge(_)));
    manifest.preserve(&session, "two", memfd(1), b"").unwrap();
    manifest.seal(&session).unwrap();
    assert_eq!(manifest.entries().len(), 2);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn no_token_follows_the_highest() {
    let _fake = fake::install(Fake::default());
    let session = LiveUpdate::at(fake::DEVICE).create(&"x".parse().unwrap()).unwrap();
    let mut manifest = Manifest::new();
    let highest = Token::new(u64::MAX - 0x100).unwrap();
    manifest.preserve_as(&session, highest, "highest", memfd(1), b"").unwrap();
    let none = manifest.preserve(&session, "next", memfd(1), b"").unwrap_err();
    assert!(matches!(none, ManifestError::NoToken));
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_without_a_manifest_says_so() {
    let _fake = fake::install(Fake::default());
    let device = LiveUpdate::at(fake::DEVICE);
    let name = "plain".parse().unwrap();
    drop(device.create(&name).unwrap());
    fake::kexec();
    let session = device.retrieve(&name).unwrap();
    assert!(matches!(
        Manifest::of(&session),
        Err(ManifestError::Session(Error::NoFile(Token::MANIFEST)))
    ));
    session.finish().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn the_record_is_sealed() {
    let record = record(b"{}").unwrap();
    let seals = fcntl_get_seals(&record).unwrap();
    assert!(seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SEAL));
    assert_eq!(rustix::io::write(&record, b"x").unwrap_err(), Errno::PERM);
}

#[test]
fn the_format_stays_as_it_is() {
    let json = br#"{"format":"liblu-manifest","version":1,"files":[{"label":"a","token":"0xfff","kind":"memfd","size":4096,"state":"AP8="}]}"#;
    let manifest = Manifest::from_json(json).unwrap();
    assert_eq!(manifest.entry("a").unwrap().state(), b"\0\xff");
    assert_eq!(manifest.to_json(), json);
}

#[test]
fn what_is_wrong_is_named() {
    let error = |json: &str| Manifest::from_json(json.as_bytes()).unwrap_err();
    assert!(error("").to_string().starts_with("this is no manifest: "));
    assert!(error(r#"{"format":"x","version":1}"#).to_string().ends_with("its format is `x`"));
    let later = r#"{"format":"liblu-manifest","version":2,"files":{"other":"shape"}}"#;
    assert!(matches!(error(later), ManifestError::Version { found: 2, known: 1 }));
    let file = |file: &str| {
        error(&format!(r#"{{"format":"liblu-manifest","version":1,"files":[{file}]}}"#))
    };
    for token in ["1", "0x", "0x+1", "0xfffffffffffffffff", "0xffffffffffffffff"] {
        let bad = file(&format!(r#"{{"label":"a","token":"{token}"}}"#));
        assert_eq!(bad.to_string(), "this is no manifest: a bad token", "{token}");
    }
    let bad = file(r#"{"label":"a","token":"0x1","state":"!"}"#);
    assert_eq!(bad.to_string(), "this is no manifest: a bad state");
    let twice = file(r#"{"label":"a","token":"0x1"},{"label":"b","token":"0x1"}"#);
    assert_eq!(twice.to_string(), "this is no manifest: two files have the token 0x1");
    assert_eq!(twice.errno(), Errno::BADMSG);
    let nameless = file(r#"{"label":"","token":"0x1"}"#);
    assert_eq!(nameless.to_string(), "this is no manifest: a label has 1 to 255 bytes, not 0");
    let large = " ".repeat(usize::try_from(Manifest::MAX_SIZE).unwrap() + 1);
    assert_eq!(error(&large).errno(), Errno::BADMSG);
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        files in proptest::collection::btree_map(".{1,60}", (any::<u64>(), any::<Vec<u8>>()), 0..20),
    ) {
        let mut manifest = Manifest::new();
        for (number, (label, (size, state))) in (1_u32..).zip(files) {
            let entry = Entry {
                label: label.chars().take(60).collect(),
                token: number.into(),
                kind: "memfd".into(),
                size,
                state,
            };
            manifest.check(&entry).unwrap();
            let size = format::size_of(&entry);
            manifest.add(entry, size);
        }
        let around = manifest.to_json().len() as u64 - manifest.size;
        prop_assert!(around <= format::MOST_AROUND);
        prop_assert_eq!(Manifest::from_json(&manifest.to_json()).unwrap(), manifest);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at: usize, byte: u8) {
        let _ = Manifest::from_json(&bytes);
        let mut json = br#"{"format":"liblu-manifest","version":1,"files":[{"label":"a","token":"0x1","size":1,"state":"AP8="}]}"#.to_vec();
        let at = at % json.len();
        json[at] = byte;
        let _ = Manifest::from_json(&json);
    }
}
