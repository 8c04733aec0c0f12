// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handovers to sessions of a fake kernel.

use std::fs::File;

use rustix::fs::{MemfdFlags, memfd_create};

use super::*;
use crate::testing::FakeKernel;
use crate::{IncomingSession, SessionName};

fn memfd(size: u64) -> OwnedFd {
    let memfd = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memfd, size).unwrap();
    memfd
}

fn name() -> SessionName {
    "cache".parse().unwrap()
}

fn handover(kernel: &FakeKernel) -> Handover {
    Handover::new(kernel.device().create(&name()).unwrap()).unwrap()
}

fn next(kernel: &FakeKernel) -> IncomingSession {
    kernel.kexec();
    kernel.device().retrieve(&name()).unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn files_are_found_by_label_in_the_next_kernel() {
    let kernel = FakeKernel::new();
    let handover = handover(&kernel);
    handover.preserve("memory", memfd(8192)).unwrap();
    assert_eq!(handover.preserve("index", memfd(1)).unwrap().get(), 2);
    handover.set_state("memory", b"early").unwrap();
    handover.set_state("memory", b"\0\xff").unwrap();
    let before = handover.manifest();
    let ready = handover.ready().unwrap();
    let session = next(&kernel);
    let manifest = Manifest::of(&session).unwrap();
    assert_eq!(manifest, before);
    let memory = manifest.entry("memory").unwrap();
    assert_eq!((memory.kind(), memory.size(), memory.state()), ("memfd", 8192, &b"\0\xff"[..]));
    let index = session.retrieve(manifest.expect("index").unwrap().token()).unwrap();
    assert_eq!(fstat(index).unwrap().st_size, 1);
    let missing = manifest.expect("nothing").unwrap_err();
    assert_eq!(missing.to_string(), "there is no file called `nothing`");
    session.finish().unwrap();
    drop(ready);
}

/// In 0.1 the seal could be forgotten, and then nothing told that the state was not final.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_manifest_that_was_never_completed_says_so() {
    let kernel = FakeKernel::new();
    let handover = handover(&kernel);
    handover.preserve("memory", memfd(1)).unwrap();
    let session = next(&kernel);
    assert_eq!(Manifest::of(&session).unwrap_err().kind(), ErrorKind::Incomplete);
    session.finish().unwrap();
    drop(handover);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn an_update_that_is_off_leaves_the_files_preserved() {
    let kernel = FakeKernel::new();
    let handover = handover(&kernel);
    handover.preserve("memory", memfd(1)).unwrap();
    let handover = handover.ready().unwrap().abort().unwrap();
    handover.set_state("memory", b"second").unwrap();
    handover.preserve("more", memfd(1)).unwrap();
    let ready = handover.ready().unwrap();
    let session = next(&kernel);
    let manifest = Manifest::of(&session).unwrap();
    assert_eq!(manifest.entries().len(), 2);
    assert_eq!(manifest.expect("memory").unwrap().state(), b"second");
    session.finish().unwrap();
    drop(ready);
    // It is not complete after it was called off.
    let handover = Handover::new(kernel.device().create(&name()).unwrap()).unwrap();
    let handover = handover.ready().unwrap().abort().unwrap();
    let session = next(&kernel);
    assert_eq!(Manifest::of(&session).unwrap_err().kind(), ErrorKind::Incomplete);
    session.finish().unwrap();
    drop(handover);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_file_that_cannot_be_preserved_is_not_written_down() {
    let kernel = FakeKernel::new();
    let handover = handover(&kernel);
    let kind = |label: &str, file: OwnedFd| handover.preserve(label, file).unwrap_err().kind();
    assert_eq!(kind("null", File::open("/dev/null").unwrap().into()), ErrorKind::NotPreservable);
    assert!(handover.manifest().entries().is_empty());
    handover.preserve("null", memfd(1)).unwrap();
    assert_eq!(kind("null", memfd(1)), ErrorKind::LabelTaken);
    for label in [String::new(), "x".repeat(256)] {
        assert_eq!(kind(&label, memfd(1)), ErrorKind::InvalidName);
    }
    for token in [Token::from(1), Token::MANIFEST, Token::PROBE] {
        let error = handover.preserve_as(token, "other", memfd(1)).unwrap_err();
        assert_eq!((error.kind(), error.token()), (ErrorKind::TokenTaken, Some(token)));
    }
    let highest = Token::new(u64::MAX - 0x100).unwrap();
    handover.preserve_as(highest, "highest", memfd(1)).unwrap();
    assert_eq!(kind("next", memfd(1)), ErrorKind::InvalidArgument);
    assert_eq!(handover.set_state("none", b"").unwrap_err().kind(), ErrorKind::NoFile);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_manifest_grows_up_to_its_bound() {
    let kernel = FakeKernel::new();
    let handover = handover(&kernel);
    let error = handover
        .preserve("a", memfd(1))
        .and_then(|_| handover.set_state("a", &vec![0; Manifest::MAX_STATE + 1]));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::TooLarge);
    let state = vec![7; Manifest::MAX_STATE];
    let mut count = 0;
    let error = loop {
        let label = format!("file {count}");
        handover.preserve(&label, memfd(1)).unwrap();
        if let Err(error) = handover.set_state(&label, &state) {
            break error;
        }
        count += 1;
    };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    // Base64 takes a third more.
    assert!((40..48).contains(&count), "{count}");
    let before = handover.manifest();
    let ready = handover.ready().unwrap();
    let session = next(&kernel);
    assert_eq!(Manifest::of(&session).unwrap(), before);
    session.finish().unwrap();
    drop(ready);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn threads_preserve_files_side_by_side() {
    let kernel = FakeKernel::new();
    let handover = handover(&kernel);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let handover = &handover;
            scope.spawn(move || {
                for number in 0..20 {
                    let label = format!("{thread}/{number}");
                    handover.preserve(&label, memfd(thread + 1)).unwrap();
                    handover.set_state(&label, label.as_bytes()).unwrap();
                }
            });
        }
    });
    let ready = handover.ready().unwrap();
    let session = next(&kernel);
    let manifest = Manifest::of(&session).unwrap();
    assert_eq!(manifest.entries().len(), 160);
    for entry in manifest.entries() {
        assert_eq!(entry.state(), entry.label().as_bytes());
        let file = session.retrieve(entry.token()).unwrap();
        assert_eq!(fstat(file).unwrap().st_size.to_string(), entry.size().to_string());
    }
    session.finish().unwrap();
    drop(ready);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn files_without_labels_are_passed_over() {
    let kernel = FakeKernel::new();
    let handover = handover(&kernel);
    handover.session().preserve(1.into(), memfd(1)).unwrap();
    handover.session().preserve(2.into(), memfd(1)).unwrap();
    assert_eq!(handover.preserve("memory", memfd(1)).unwrap().get(), 3);
    assert_eq!(handover.preserve("index", memfd(1)).unwrap().get(), 4);
}

/// The size of a file is known only when it is preserved, and must not need more room than there is.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn room_for_the_size_of_a_file_is_there_before_it_is_known() {
    let mut manifest = Manifest::default();
    manifest.put(Entry::new("a", Token::from(1), "memfd".into()));
    let before = manifest.record_size();
    manifest.set_size("a", u64::MAX);
    assert_eq!(manifest.record_size(), before);
    assert!(manifest.to_json().len() <= before);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_handover_that_is_dropped_undoes_everything() {
    let kernel = FakeKernel::new();
    let handover = handover(&kernel);
    let memory = memfd(1);
    handover.preserve("memory", &memory).unwrap();
    drop(handover);
    assert!(kernel.sessions().is_empty());
    self::handover(&kernel).preserve("memory", &memory).unwrap();
}
