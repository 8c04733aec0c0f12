// SPDX-License-Identifier: GPL-2.0

//! Handovers in memory of a host, whole and with each kind of damage.

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::vec::Vec;

use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;
use crate::host_pages::{buffer, Pages as HostPages};

const SIZE: usize = 4096;
const ROOT: u64 = 0x1000;
const FLBS: u64 = 0x2000;
const SESSIONS: u64 = 0x3000;

/// Where the files of session `nth` begin.
fn files_of(nth: usize) -> u64 {
    0x10_0000 * (u64::try_from(nth).unwrap() + 1)
}

fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

fn file(token: u64) -> FileSer {
    FileSer {
        compatible: text("memfd-v2"),
        data: token * 3,
        token,
    }
}

fn flb(name: &str, count: u64) -> FlbSer {
    FlbSer {
        name: text(name),
        data: 7,
        count,
    }
}

/// A handover with sessions of so many files each, and these FLB entries.
struct Handover {
    pages: HostPages<SIZE>,
    root: LuoSer,
    sessions: Vec<SessionSer>,
}

impl Handover {
    fn new(files: &[u64], flbs: &[FlbSer]) -> Self {
        let mut pages = HostPages::default();
        let mut sessions = Vec::new();
        for (nth, count) in files.iter().enumerate() {
            let all: Vec<_> = (0..*count).map(file).collect();
            pages.chain(files_of(nth), &all);
            let head = if all.is_empty() { 0 } else { files_of(nth) };
            let name = text(&format!("session-{nth}"));
            sessions.push(SessionSer {
                name,
                files: head,
                count: *count,
            });
        }
        pages.chain(FLBS, flbs);
        FlbHeaderSer::new(flbs.len() as u64)
            .write_to_prefix(pages.page(FLBS))
            .unwrap();
        let head = if files.is_empty() { 0 } else { SESSIONS };
        let root = LuoSer {
            sessions: head,
            flbs: FLBS,
            ..LuoSer::new(1)
        };
        let mut handover = Self {
            pages,
            root,
            sessions,
        };
        handover.write();
        handover
    }

    /// Writes the sessions down as they are now.
    fn write(&mut self) {
        self.pages.chain(SESSIONS, &self.sessions);
    }

    fn read(&self) -> Result<Kept, Damage> {
        let mut kept = Kept::default();
        let mut pages = BTreeSet::new();
        read(&self.pages, &self.root, &mut pages, &mut kept)?;
        kept.pages = pages;
        Ok(kept)
    }

    fn read_flbs(&self) -> Result<Vec<(Compatible, u64, u64)>, Damage> {
        let mut all: Vec<(Compatible, u64, u64)> = Vec::new();
        let buffer = &mut buffer::<SIZE>();
        flbs(&self.pages, buffer, self.root.flbs, |name, data, count| {
            if all.iter().any(|(other, ..)| *other == name) {
                return Ok(Met::Again);
            }
            all.push((name, data, count));
            Ok::<_, Damage>(Met::First)
        })?;
        Ok(all)
    }
}

fn read<S: Sink>(
    memory: &HostPages<SIZE>,
    root: &LuoSer,
    pages: &mut impl Pages<S::Error>,
    sink: &mut S,
) -> Result<(), S::Error> {
    let mut buffers = Buffers {
        sessions: &mut buffer::<SIZE>(),
        files: &mut buffer::<SIZE>(),
    };
    sessions(memory, &mut buffers, ROOT, root, pages, sink)
}

impl<E> Pages<E> for BTreeSet<u64> {
    fn page(&mut self, address: u64) -> Result<Met, E> {
        Ok(if self.insert(address) {
            Met::First
        } else {
            Met::Again
        })
    }
}

/// The content that a test keeps.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    pages: BTreeSet<u64>,
    sessions: BTreeMap<SessionName, Vec<(u64, u64)>>,
}

impl Sink for Kept {
    type Error = Damage;
    type Session = (SessionName, Vec<(u64, u64)>);

    fn begin(&mut self, name: SessionName) -> Result<Self::Session, Damage> {
        Ok((name, Vec::new()))
    }

    fn file(&mut self, session: &mut Self::Session, file: &FileSer) -> Result<(), Damage> {
        Compatible::new(&file.compatible)?;
        session.1.push((file.token, file.data));
        Ok(())
    }

    fn end(&mut self, (name, files): Self::Session) -> Result<(), Damage> {
        let tokens: BTreeSet<_> = files.iter().map(|(token, _)| token).collect();
        let is_new = tokens.len() == files.len() && !self.sessions.contains_key(&name);
        self.sessions.insert(name, files);
        if is_new {
            Ok(())
        } else {
            Err(Damage::Duplicate)
        }
    }
}

#[test]
fn a_whole_handover_is_read_as_it_was_written() {
    let handover = Handover::new(&[0, 1, 64, 200], &[flb("a", 1), flb("b", 264)]);
    let kept = handover.read().unwrap();
    let counts: Vec<_> = kept.sessions.values().map(Vec::len).collect();
    assert_eq!(counts, [0, 1, 64, 200]);
    let last = kept.sessions.values().last().unwrap();
    assert!(last
        .iter()
        .enumerate()
        .all(|(at, file)| *file == (at as u64, at as u64 * 3)));
    // The root, the FLB entries, one page of sessions, and 0, 1, 2 and 4 of files.
    assert_eq!(kept.pages.len(), 3 + 7);
    let flbs = handover.read_flbs().unwrap();
    assert_eq!(flbs.len(), 2);
    assert_eq!((flbs[1].1, flbs[1].2), (7, 264));
}

#[test]
fn nothing_is_something_too() {
    let mut handover = Handover::new(&[], &[]);
    assert!(handover.read().unwrap().sessions.is_empty());
    assert!(handover.read_flbs().unwrap().is_empty());
    handover.root.flbs = 0;
    assert!(handover.read().unwrap().sessions.is_empty());
    assert!(handover.read_flbs().unwrap().is_empty());
}

#[test]
fn a_session_says_how_many_files_it_has() {
    for said in [0, 1, 3, u64::MAX] {
        let mut handover = Handover::new(&[5, 2], &[]);
        handover.sessions[1].count = said;
        handover.write();
        assert_eq!(
            handover.read().unwrap_err(),
            Damage::Files { said, found: 2 }
        );
    }
}

#[test]
fn an_empty_last_block_is_accepted() {
    // 51 sessions fill a block, 63 files too.
    let mut handover = Handover::new(&[63; 51], &[]);
    let (sessions, files) = (0x7000, files_of(50) + 0x1000);
    handover.pages.page(sessions).fill(0);
    handover.pages.page(files).fill(0);
    handover.pages.0.get_mut(&SESSIONS).unwrap()[0] = sessions;
    handover.pages.0.get_mut(&files_of(50)).unwrap()[0] = files;
    let kept = handover.read().unwrap();
    assert_eq!(kept.sessions.len(), 51);
    assert!(kept.pages.contains(&sessions) && kept.pages.contains(&files));
    assert_eq!(
        check_sessions(&handover.pages, &mut buffer::<SIZE>(), SESSIONS),
        Ok(())
    );
    // A page that is used twice is found even if it is empty.
    handover.pages.0.get_mut(&files_of(50)).unwrap()[0] = sessions;
    assert_eq!(handover.read().unwrap_err(), Damage::Cycle(sessions));
}

#[test]
fn names_and_tokens_are_unique() {
    let mut handover = Handover::new(&[1, 1], &[]);
    handover.sessions[1].name = handover.sessions[0].name;
    handover.write();
    assert_eq!(handover.read().unwrap_err(), Damage::Duplicate);

    let mut handover = Handover::new(&[3], &[]);
    handover
        .pages
        .chain(files_of(0), &[file(1), file(2), file(1)]);
    assert_eq!(handover.read().unwrap_err(), Damage::Duplicate);

    let handover = Handover::new(&[], &[flb("a", 1), flb("b", 1), flb("a", 1)]);
    assert_eq!(handover.read_flbs().unwrap_err(), Damage::Duplicate);
}

#[test]
fn names_have_an_end() {
    let mut handover = Handover::new(&[1], &[]);
    for name in [[0; 64], [b'x'; 64]] {
        handover.sessions[0].name = name;
        handover.write();
        assert_eq!(handover.read().unwrap_err(), Damage::Name);
    }
    let handover = Handover::new(&[], &[flb("", 1)]);
    assert_eq!(handover.read_flbs().unwrap_err(), Damage::Name);
}

#[test]
fn no_page_belongs_to_two() {
    // Two sessions with the same files.
    let mut handover = Handover::new(&[1, 1], &[]);
    handover.sessions[1].files = files_of(0);
    handover.write();
    assert_eq!(handover.read().unwrap_err(), Damage::Cycle(files_of(0)));
    // Files where the root, the FLB entries or the sessions are.
    for address in [ROOT, FLBS, SESSIONS] {
        let mut handover = Handover::new(&[1], &[]);
        handover.pages.chain(ROOT, &[file(1)]);
        handover.pages.chain(FLBS, &[file(1)]);
        handover.sessions[0].files = address;
        handover.write();
        assert_eq!(handover.read().unwrap_err(), Damage::Cycle(address));
    }
    // FLB entries where the root is.
    let mut handover = Handover::new(&[1], &[]);
    handover.root.flbs = ROOT;
    assert_eq!(handover.read().unwrap_err(), Damage::Cycle(ROOT));
}

#[test]
fn every_address_must_have_been_handed_over() {
    for address in [0x2008, 0x7000, u64::MAX] {
        let mut handover = Handover::new(&[1], &[flb("a", 1)]);
        handover.sessions[0].files = address;
        handover.write();
        assert_eq!(handover.read().unwrap_err(), Damage::Address(address));
        handover.root.sessions = address;
        assert_eq!(handover.read().unwrap_err(), Damage::Address(address));
        handover.root.flbs = address;
        assert_eq!(handover.read_flbs().unwrap_err(), Damage::Address(address));
    }
}

#[test]
fn the_page_of_flb_entries_is_one_with_as_many_as_it_says() {
    let damaged = |header: FlbHeaderSer| {
        let mut handover = Handover::new(&[], &[flb("a", 1), flb("b", 1)]);
        header.write_to_prefix(handover.pages.page(FLBS)).unwrap();
        handover.read_flbs().map(|all| all.len())
    };
    assert_eq!(damaged(FlbHeaderSer::new(1)), Ok(1));
    assert_eq!(
        damaged(FlbHeaderSer { pages: 0, count: 2 }),
        Err(Damage::Pages(0))
    );
    assert_eq!(
        damaged(FlbHeaderSer { pages: 2, count: 2 }),
        Err(Damage::Pages(2))
    );
    // An entry that is not there has no name.
    assert_eq!(damaged(FlbHeaderSer::new(3)), Err(Damage::Name));
    for count in [64, u64::MAX] {
        assert_eq!(damaged(FlbHeaderSer::new(count)), Err(Damage::Count(count)));
    }
    let handover = Handover::new(&[], &[flb("a", 0)]);
    assert_eq!(handover.read_flbs().unwrap_err(), Damage::Count(0));
}

#[test]
fn reading_ends_where_the_sink_does() {
    /// Has room for this many files.
    struct Full(u64);

    impl Sink for Full {
        type Error = Option<Damage>;
        type Session = ();

        fn begin(&mut self, _: SessionName) -> Result<(), Option<Damage>> {
            Ok(())
        }

        fn file(&mut self, (): &mut (), _: &FileSer) -> Result<(), Option<Damage>> {
            self.0 = self.0.checked_sub(1).ok_or(None)?;
            Ok(())
        }

        fn end(&mut self, (): ()) -> Result<(), Option<Damage>> {
            Ok(())
        }
    }

    let handover = Handover::new(&[10, 10], &[]);
    assert_eq!(
        read(
            &handover.pages,
            &handover.root,
            &mut BTreeSet::new(),
            &mut Full(20)
        ),
        Ok(())
    );
    assert_eq!(
        read(
            &handover.pages,
            &handover.root,
            &mut BTreeSet::new(),
            &mut Full(19)
        ),
        Err(None)
    );
}

proptest! {
    /// Random words anywhere: never a panic, never a loop, never more than there is.
    #[test]
    fn corruption_is_survived(
        files in proptest::collection::vec(0_u64..150, 0..60),
        hits in proptest::collection::vec((any::<usize>(), 0_usize..SIZE / 8, any::<u64>()), 1..20),
        near: bool,
    ) {
        let mut handover = Handover::new(&files, &[flb("a", 1), flb("b", 2)]);
        let addresses: Vec<u64> = handover.pages.0.keys().copied().collect();
        for (page, word, value) in hits {
            // Mostly the first words, which have the structure.
            let word = if near { word % 24 } else { word };
            let value = match usize::try_from(value % 1000) {
                Ok(at) if near => *addresses.get(at).unwrap_or(&value),
                _ => value,
            };
            let page = addresses[page % addresses.len()];
            handover.pages.0.get_mut(&page).unwrap()[word] = value;
        }
        if let Ok(kept) = handover.read() {
            prop_assert!(kept.pages.len() <= addresses.len() + 1);
            let entries: usize = kept.sessions.values().map(|files| files.len() + 1).sum();
            prop_assert!(entries <= kept.pages.len() * 63);
        }
        if let Ok(flbs) = handover.read_flbs() {
            prop_assert!(flbs.len() <= 63);
        }
    }
}
