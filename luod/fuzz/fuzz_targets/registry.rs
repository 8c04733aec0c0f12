// SPDX-License-Identifier: MIT OR Apache-2.0

//! A registry and names of the fd store, of anybody: what is read is written and read again, and each fd
//! has its place.

#![no_main]
#![expect(clippy::unwrap_used, reason = "a panic is how a target reports")]

use liblu::SessionName;
use luod::registry::{Direction, MAX_SIZE, Registry, StoreName, Stored, StoredSession, compare};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (json, names) =
        input.split_at(input.iter().rposition(|it| *it == b'}').map_or(0, |at| at + 1));
    let registry = Registry::read(json).unwrap_or_default();
    let bytes = registry.write();
    assert!(bytes.len() <= MAX_SIZE);
    assert_eq!(Registry::read(&bytes).unwrap(), registry);

    let names = String::from_utf8_lossy(names);
    let session = |name: &str| match name.parse() {
        Ok(StoreName::Session(number)) => {
            assert_eq!(StoreName::Session(number).to_string(), name);
            registry.get(number).map(|entry| *entry.name())
        }
        _ => SessionName::new(name).ok(),
    };
    let own: Vec<_> =
        registry.iter().map(|(number, _)| StoreName::Session(number).to_string()).collect();
    let names = names.lines().chain(own.iter().map(String::as_str));
    let stored: Vec<_> = names
        .map(|name| {
            let session = session(name);
            let session =
                session.map(|name| StoredSession { name, direction: Direction::Incoming });
            Stored { name, session }
        })
        .collect();
    let contents = compare(&registry, &stored);
    let places = contents.matches.len() + contents.registries.len();
    assert_eq!(places + contents.contradictions.len() + contents.unknown.len(), stored.len());
    assert!(contents.missing.is_empty() && contents.matches.len() == own.len());
});
