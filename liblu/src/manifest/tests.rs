// SPDX-License-Identifier: MIT OR Apache-2.0

//! Manifests by themselves.

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::write;

use super::*;
use crate::testing::FakeKernel;

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_session_without_a_manifest_says_so() {
    let kernel = FakeKernel::new();
    let name = "plain".parse().unwrap();
    let outgoing = kernel.device().create(&name).unwrap();
    kernel.kexec();
    let session = kernel.device().retrieve(&name).unwrap();
    assert_eq!(Manifest::of(&session).unwrap_err().kind(), ErrorKind::NoManifest);
    session.finish().unwrap();
    drop(outgoing);
}

/// The manifest that is in a memfd with these bytes.
fn read(bytes: &[u8]) -> Result<Option<Manifest>> {
    let file = memfd_create("record", MemfdFlags::CLOEXEC).unwrap();
    write(&file, bytes).unwrap();
    record::read(file)
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_record_is_complete_or_says_why_not() {
    let json = br#"{"format":"liblu-manifest","version":1,"files":[]}"#;
    let blanks = [&json[..], &[b' '; 100]].concat();
    assert_eq!(read(json).unwrap().unwrap(), read(&blanks).unwrap().unwrap());
    assert_eq!(read(&[0; 100]).unwrap_err().kind(), ErrorKind::Incomplete);
    let partly = [&[0], &json[1..]].concat();
    assert_eq!(read(&partly).unwrap_err().kind(), ErrorKind::Incomplete);
    assert_eq!(read(b">").unwrap(), None);
    for bytes in [b"".to_vec(), b"x".to_vec(), vec![b' '; Manifest::MAX_SIZE + 1]] {
        assert_eq!(read(&bytes).unwrap_err().kind(), ErrorKind::BadManifest);
    }
}

#[test]
fn a_file_that_is_taken_back_leaves_nothing() {
    let mut manifest = Manifest::default();
    for (label, token) in [("a", 1), ("b", 2), ("c", 3)] {
        manifest.put(Entry::new(label, Token::from(token), "memfd".into()));
    }
    manifest.take_back("b");
    assert_eq!(manifest.entry("c").unwrap().token().get(), 3);
    let again = Manifest::from_json(&manifest.to_json()).unwrap();
    assert_eq!(again, manifest);
    manifest.check("b", Token::from(2)).unwrap();
}

#[test]
fn the_format_stays_as_it_is() {
    let json = br#"{"format":"liblu-manifest","version":1,"files":[{"label":"a","token":"0xfff","kind":"memfd","size":4096,"state":"AP8="}]}"#;
    let manifest = Manifest::from_json(json).unwrap();
    assert_eq!(manifest.entry("a").unwrap().state(), b"\0\xff");
    assert_eq!(manifest.to_json(), json);
}

#[test]
fn each_fault_is_named() {
    let error = |json: &str| Manifest::from_json(json.as_bytes()).unwrap_err();
    assert!(error("").to_string().starts_with("this is no manifest: "));
    assert!(error(r#"{"format":"x","version":1}"#).to_string().ends_with("its format is `x`"));
    let later = r#"{"format":"liblu-manifest","version":2,"files":{"other":"shape"}}"#;
    assert_eq!(error(later).kind(), ErrorKind::NewerManifest);
    assert!(error(later).to_string().contains("version 2, and 1 is"));
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
    assert!(twice.to_string().contains("another file has the token 0x1"), "{twice}");
    assert_eq!(twice.kind(), ErrorKind::BadManifest);
    let nameless = file(r#"{"label":"","token":"0x1"}"#);
    assert_eq!(nameless.to_string(), "this is no manifest: a label has 1 to 255 bytes, not 0");
    let large = " ".repeat(Manifest::MAX_SIZE + 1);
    assert_eq!(error(&large).kind(), ErrorKind::BadManifest);
}

proptest! {
    #[test]
    fn a_manifest_reads_back(
        files in proptest::collection::btree_map(".{1,60}", (any::<u64>(), any::<Vec<u8>>()), 0..20),
    ) {
        let mut manifest = Manifest::default();
        for (number, (label, (size, state))) in (1_u32..).zip(files) {
            let entry = Entry {
                label: label.chars().take(60).collect(),
                token: number.into(),
                kind: "memfd".into(),
                size,
                state,
            };
            manifest.check(&entry.label, entry.token).unwrap();
            manifest.put(entry);
        }
        prop_assert!(manifest.to_json().len() <= manifest.record_size());
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
