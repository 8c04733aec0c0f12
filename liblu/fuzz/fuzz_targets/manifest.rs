// SPDX-License-Identifier: MIT OR Apache-2.0

//! Arbitrary bytes as a manifest: a manifest that is read is written and read again as the same.

#![no_main]
#![expect(clippy::expect_used, reason = "a panic is how a target reports")]

use liblu::Manifest;

libfuzzer_sys::fuzz_target!(|json: &[u8]| {
    let Ok(manifest) = Manifest::from_json(json) else { return };
    for entry in manifest.entries() {
        assert!(!entry.label().is_empty() && entry.label().len() <= Manifest::MAX_LABEL);
        assert_eq!(manifest.entry(entry.label()), Some(entry));
        assert_ne!(entry.token(), liblu::Token::MANIFEST);
    }
    assert_eq!(Manifest::from_json(&manifest.to_json()).expect("what was written"), manifest);
});
