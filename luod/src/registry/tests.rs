// SPDX-License-Identifier: MIT OR Apache-2.0

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn entry(owner: &str, label: &str, state: State) -> Entry {
    Entry::new(owner.parse().unwrap(), label.parse().unwrap(), state, Some(Generation(7))).unwrap()
}

/// A registry with one session of each state.
fn four() -> Registry {
    let mut registry = Registry::default();
    registry.use_generation(Generation(6));
    let claim = Claim::new(Process { pid: 4711, inode: 123_456 }, Duration::from_millis(98_765));
    let all = [State::Open, State::Ready, State::Waiting, State::Claimed(claim)];
    for (label, state) in ["a", "b \"\\ä", "c", "d"].into_iter().zip(all) {
        let number = registry.take_number().unwrap();
        registry.insert(number, entry("unit:vmm@17.service", label, state)).unwrap();
    }
    registry
}

/// The error of reading a registry with one session with these fields.
fn error(fields: &str) -> String {
    let text = format!("{{\"version\":1,\"sessions\":[{{{fields}}}]}}");
    Registry::read(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn the_format_is_readable() {
    let text = String::from_utf8(four().write()).unwrap();
    let pretty: serde_json::Value = serde_json::from_str(&text).unwrap();
    let last = &pretty["sessions"][3];
    insta::assert_snapshot!(last, @r#"{"claim":{"pid":4711,"pidfdInode":123456,"sinceBootMSec":98765},"kernelName":"unit:vmm@17.service/d","label":"d","madeFor":7,"number":4,"owner":"unit:vmm@17.service","state":"claimed"}"#);
    assert!(
        text.starts_with(r#"{"version":1,"generation":6,"lastNumber":4,"sessions":[{"number":1,"#)
    );
    assert_eq!(Registry::read(text.as_bytes()).unwrap(), four());
}

#[test]
fn a_registry_that_was_cut_off_is_an_error() {
    let bytes = four().write();
    for length in 0..bytes.len() {
        let error = Registry::read(&bytes[..length]).unwrap_err();
        assert!(matches!(error, ReadError::Malformed(_)), "{length}: {error}");
    }
    for tail in [&b"{"[..], b"0", b"\0"] {
        assert!(Registry::read(&[&bytes[..], tail].concat()).is_err());
    }
}

#[test]
fn newer_versions_are_refused_and_older_ones_read() {
    let newer = br#"{"sessions":{"in":"another form"},"version":2}"#;
    assert_eq!(Registry::read(newer), Err(ReadError::Newer { found: 2 }));
    let huge = br#"{"version":18446744073709551615}"#;
    assert_eq!(Registry::read(huge), Err(ReadError::Newer { found: u64::MAX }));
    assert_eq!(Registry::read(br#"{"version":1}"#), Ok(Registry::default()));
    for none in ["{}", r#"{"version":0}"#, r#"{"version":"1"}"#, r#"{"version":-1}"#, "[1]", "null"]
    {
        let error = Registry::read(none.as_bytes()).unwrap_err();
        assert!(matches!(error, ReadError::Malformed(_)), "{none}");
    }
}

#[test]
fn fields_may_be_missing_or_unknown() {
    let text = r#"{"version":1,"colour":["red"],"sessions":[
        {"number":3,"owner":"user:5","label":"x","state":"open","colour":{}}]}"#;
    let registry = Registry::read(text.as_bytes()).unwrap();
    let entry = registry.get(Number(3)).unwrap();
    assert_eq!(entry.name().as_bytes(), b"user:5/x");
    assert_eq!((entry.state(), entry.made_for()), (&State::Open, None));
    assert_eq!((entry.owner(), entry.label().as_str()), (&Owner::User(5), "x"));
    // Its number is not given again.
    assert_eq!(registry.clone().take_number(), Some(Number(4)));
    assert!(!String::from_utf8(registry.write()).unwrap().contains("colour"));
}

#[test]
fn an_older_luod_may_have_named_the_session() {
    let text = r#"{"version":1,"sessions":[
        {"number":1,"owner":"user:5","label":"x","kernelName":"old","state":"ready"}]}"#;
    let registry = Registry::read(text.as_bytes()).unwrap();
    assert_eq!(registry.get(Number(1)).unwrap().name().as_bytes(), b"old");
    assert_eq!(Registry::read(&registry.write()).unwrap(), registry);
}

#[test]
fn values_are_checked() {
    let good = r#""number":1,"owner":"user:5","label":"x","state":"open""#;
    for (from, to, why) in [
        ("user:5", "user:05", "a user is a number"),
        ("user:5", "unit:a", "a service is"),
        (r#""x""#, r#""""#, "a label must not be empty"),
        (r#""x""#, r#""\u001b[2J""#, "U+001B"),
        (r#""open""#, r#""lost""#, "unknown variant `lost`"),
        (r#""open""#, r#""claimed""#, "`claim` is missing"),
        (
            r#""open""#,
            r#""open","claim":{"pid":1,"pidfdInode":1,"sinceBootMSec":1}"#,
            "not claimed",
        ),
        (r#""open""#, r#""open","state":"open""#, "duplicate field"),
        (r#""open""#, r#""open","kernelName":"""#, "must not be empty"),
        (r#""open""#, r#""open","kernelName":"a\u0000b""#, "must not contain NUL"),
        (r#""number":1"#, r#""number":-1"#, "invalid value"),
        (r#""number":1"#, r#""number":0"#, "0 is the number of no session"),
        (r#""number":1,"#, "", "missing field `number`"),
    ] {
        let error = error(&good.replace(from, to));
        assert!(error.contains(why) && !error.contains('\u{1b}'), "{error}");
    }
    let long = format!(r#""kernelName":"{}""#, "x".repeat(64));
    assert!(error(&format!("{good},{long}")).contains("at most 63 bytes"));
    let long = format!(r#""label":"{}""#, "x".repeat(201));
    assert!(error(&good.replace(r#""label":"x""#, &long)).contains("at most 200 bytes"));
    let twice = format!("{good}}},{{{good}");
    assert!(error(&twice).contains("another session with the number 1"), "{}", error(&twice));
    let again = format!("{good}}},{{{}", good.replace('1', "2").replace("open", "ready"));
    assert!(error(&again).contains("another session of this label"));
    let both = again.replace("ready", "waiting");
    let both = format!("{{\"version\":1,\"sessions\":[{{{both}}}]}}");
    assert_eq!(Registry::read(both.as_bytes()).unwrap().iter().count(), 2);
}

#[test]
fn a_session_is_known_once() {
    let mut registry = four();
    let same = entry("unit:vmm@17.service", "a", State::Ready);
    assert_eq!(registry.insert(Number(1), same.clone()), Err(EntryError::SameNumber(Number(1))));
    assert_eq!(registry.insert(Number(9), same.clone()), Err(EntryError::SameLabel));
    assert_eq!(registry, four());
    registry.insert(Number(9), entry("user:0", "a", State::Ready)).unwrap();
    assert_eq!(registry.take_number(), Some(Number(10)));
    assert_eq!(registry.remove(Number(1)).unwrap().label().as_str(), "a");
    registry.insert(Number(11), same).unwrap();
    assert_eq!(registry.remove(Number(1)), None);
}

#[test]
fn state_changes_in_place() {
    let mut registry = four();
    registry.set_state(Number(1), State::Ready).unwrap();
    registry.set_state(Number(2), State::Waiting).unwrap();
    assert_eq!(registry.get(Number(1)).unwrap().state(), &State::Ready);
    assert_eq!(Registry::read(&registry.write()).unwrap(), registry);
    // The way of `b` is free again, and that of `c` is not.
    registry.insert(Number(9), entry("unit:vmm@17.service", "b \"\\ä", State::Open)).unwrap();
    registry.insert(Number(10), entry("unit:vmm@17.service", "c", State::Open)).unwrap();
    let error = registry.set_state(Number(10), State::Waiting);
    assert_eq!(error, Err(EntryError::SameLabel));
    assert_eq!(registry.get(Number(10)).unwrap().state(), &State::Open);
    let error = registry.set_state(Number(99), State::Open);
    assert_eq!(error, Err(EntryError::NoSuchSession(Number(99))));
}

#[test]
fn generations_only_grow() {
    let mut registry = four();
    registry.use_generation(Generation(9));
    registry.use_generation(Generation(8));
    assert_eq!(registry.generation(), Generation(9));
    registry.skip(Number(20));
    registry.skip(Number(19));
    assert_eq!(registry.take_number(), Some(Number(21)));
    registry.skip(Number(u64::MAX));
    assert_eq!(registry.take_number(), None);
}

/// Fills a registry with sessions whose labels end in their number, and returns it with the error.
fn full(label: &str) -> (Registry, EntryError) {
    let mut registry = Registry::default();
    let owner = format!("unit:{}.service", "\\".repeat(247));
    for number in 1.. {
        let owner = if label.is_empty() { "user:0" } else { &owner };
        let one = entry(owner, &format!("{label}{number}"), State::Open);
        if let Err(error) = registry.insert(Number(number), one) {
            return (registry, error);
        }
    }
    unreachable!()
}

#[test]
fn a_full_registry_fits_in_any_state() {
    let (registry, error) = full("");
    assert_eq!(error, EntryError::Full { sessions: MAX_SESSIONS });
    assert_eq!(registry.iter().count(), MAX_SESSIONS);
    let (mut long, error) = full(&"\"".repeat(190));
    let sessions = long.iter().count();
    assert_eq!(error, EntryError::Full { sessions });
    let numbers: Vec<_> = long.iter().map(|(number, _)| number).collect();
    for number in numbers {
        long.set_state(number, State::Claimed(Claim::LONGEST)).unwrap();
        long.set_opened_by(number, Some(Claim::LONGEST.by));
        long.keep(number);
    }
    long.use_generation(Generation(u64::MAX));
    long.skip(Number(u64::MAX));
    // Nothing is wasted, either.
    let bytes = long.write();
    assert!((MAX_SIZE - 2048..=MAX_SIZE).contains(&bytes.len()), "{}", bytes.len());
    assert_eq!(Registry::read(&bytes).unwrap(), long);
    // Room is given back.
    let gone = long.remove(Number(1)).unwrap();
    assert_eq!(long.insert(Number(1), gone), Ok(()));
}

#[test]
fn the_size_is_looked_at_first() {
    let large = vec![b' '; MAX_SIZE + 1];
    let read = || assert_eq!(Registry::read(&large), Err(ReadError::TooLarge(MAX_SIZE + 1)));
    assert_eq!(allocation_counter::measure(read).bytes_total, 0);
    let deep = "[".repeat(MAX_SIZE);
    assert!(matches!(Registry::read(deep.as_bytes()), Err(ReadError::Malformed(_))));
    let sessions = r#"{"number":1,"owner":"user:0","label":"x","state":"open"}"#;
    let many = (1..=4097).map(|number| sessions.replace(":1", &format!(":{number}")));
    let many =
        many.map(|one| one.replace("\"x\"", &format!("\"{}\"", one.len()))).collect::<Vec<_>>();
    let text = format!("{{\"version\":1,\"sessions\":[{}]}}", many.join(","));
    assert!(matches!(Registry::read(text.as_bytes()), Err(ReadError::Sessions(_))));
}

fn state() -> impl Strategy<Value = State> {
    let claim = (any::<u32>(), any::<u64>(), any::<u64>());
    let claimed = claim.prop_map(|(pid, inode, since)| {
        State::Claimed(Claim::new(Process { pid, inode }, Duration::from_millis(since)))
    });
    prop_oneof![Just(State::Open), Just(State::Ready), Just(State::Waiting), claimed]
}

fn registries() -> impl Strategy<Value = Registry> {
    let owner = "unit:[a-z@\\\\]{1,20}\\.service|user:[1-9][0-9]{0,8}";
    let made_for = proptest::option::of(any::<u64>().prop_map(Generation));
    let session = (any::<u64>(), owner, "\\PC{1,50}", state(), made_for);
    let sessions = proptest::collection::vec(session, 0..12);
    (any::<u64>(), any::<u64>(), sessions).prop_map(|(generation, last, sessions)| {
        let mut registry = Registry::default();
        registry.use_generation(Generation(generation));
        registry.skip(Number(last));
        for (number, owner, label, state, made_for) in sessions {
            if let (Ok(owner), Ok(label)) = (owner.parse(), label.parse()) {
                let entry = Entry::new(owner, label, state, made_for).unwrap();
                let _ = registry.insert(Number(number), entry);
            }
        }
        registry
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(registry in registries()) {
        prop_assert_eq!(Registry::read(&registry.write()), Ok(registry));
    }

    #[test]
    fn any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Registry::read(&bytes).is_err());
    }

    #[test]
    fn damage_does_no_harm(registry in registries(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = registry.write();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Registry::read(&bytes) {
            prop_assert_eq!(Registry::read(&read.write()), Ok(read));
        }
    }
}
