// SPDX-License-Identifier: MIT OR Apache-2.0

//! luod-ch against a peer that is written from the protocol, byte for byte.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use liblu::testing::{FakeKernel, Implementation, Operation};
use liblu::{Claim, Provider, passing};
use luod_ch::{Error, Guest, custody, receive, send};
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, fstat, memfd_create};

const CONFIG: &[u8] = br#"{"vm_config":{"memory":{"size":1048576,"shared":true}}}"#;
const STATE: &[u8] = br#"{"id":"vm","snapshots":{}}"#;

/// A part of what the peer sends: bytes, perhaps with memory.
#[derive(Clone, Copy, Debug)]
enum Part {
    Request(u16, u16, u64),
    Slot(u32, Option<usize>),
    Bytes(&'static [u8]),
}

const START: Part = Part::Request(1, 0, 0);
const MEMORY_FD: Part = Part::Request(7, 0, 4);
const COMPLETE: Part = Part::Request(5, 0, 0);
const COMPLETE_PAUSED: Part = Part::Request(8, 0, 0);
const ABANDON: Part = Part::Request(6, 0, 0);

fn config() -> [Part; 2] {
    [Part::Request(2, 0, CONFIG.len() as u64), Part::Bytes(CONFIG)]
}

fn state() -> [Part; 2] {
    [Part::Request(3, 0, STATE.len() as u64), Part::Bytes(STATE)]
}

/// A whole guest: three slots in two memfds.
fn whole(end: Part) -> Vec<Vec<Part>> {
    vec![
        vec![START],
        vec![MEMORY_FD, Part::Slot(0, Some(0))],
        vec![MEMORY_FD, Part::Slot(1, Some(1))],
        vec![MEMORY_FD, Part::Slot(4, Some(0))],
        config().into(),
        state().into(),
        vec![end],
    ]
}

fn memfd(content: &[u8]) -> OwnedFd {
    let file = File::from(memfd_create("memory", MemfdFlags::CLOEXEC).unwrap());
    file.write_all_at(content, 0).unwrap();
    file.into()
}

fn memory() -> [OwnedFd; 2] {
    [memfd(b"the first MiB"), memfd(b"the second")]
}

/// Sends these parts, and reads an answer after each command. Returns whether all were "OK".
fn play(mut stream: &UnixStream, commands: &[Vec<Part>], memory: &[OwnedFd]) -> bool {
    for parts in commands {
        for part in parts {
            let sent = match *part {
                Part::Request(command, version, length) => {
                    let [a, b] = command.to_le_bytes();
                    let [c, d] = version.to_le_bytes();
                    let mut bytes = vec![a, b, c, d, 0, 0, 0, 0];
                    bytes.extend(length.to_le_bytes());
                    stream.write_all(&bytes).is_ok()
                }
                Part::Slot(slot, number) => {
                    let fds: Vec<_> =
                        number.map(|number| memory[number].as_fd()).into_iter().collect();
                    passing::send(stream, &slot.to_le_bytes(), &fds, None).is_ok()
                }
                Part::Bytes(bytes) => stream.write_all(bytes).is_ok(),
            };
            if !sent {
                return false;
            }
        }
        let mut answer = [0; 16];
        if stream.read_exact(&mut answer).is_err() {
            return false;
        }
        let ok = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let error = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(answer == ok || answer == error, "{answer:x?}");
        if answer == error {
            return false;
        }
    }
    true
}

/// What becomes of a guest that is sent so: what `receive` says, whether it was kept, and whether the peer heard "OK" to
/// the end.
fn outcome(commands: &[Vec<Part>]) -> (Result<Guest, Error>, bool, bool) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let kept = AtomicBool::new(false);
    thread::scope(|scope| {
        let peer = scope.spawn(move || play(&theirs, commands, &memory()));
        let received = receive(&ours, |_| {
            kept.store(true, Ordering::SeqCst);
            Ok::<_, String>(())
        });
        drop(ours);
        let heard = peer.join().unwrap();
        (received, kept.load(Ordering::SeqCst), heard)
    })
}

#[test]
fn a_guest_is_received_and_sent_byte_for_byte() {
    for (end, is_running) in [(COMPLETE, true), (COMPLETE_PAUSED, false)] {
        let (received, kept, heard) = outcome(&whole(end));
        let guest = received.unwrap();
        assert!(kept && heard);
        assert_eq!((&guest.config[..], &guest.state[..]), (CONFIG, STATE));
        assert_eq!(guest.is_running, is_running);
        let slots: Vec<_> = guest.memory.iter().map(|(slot, _)| *slot).collect();
        assert_eq!(slots, [0, 1, 4]);

        // What is sent is what was received, to the byte.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let sent = thread::scope(|scope| {
            let sender = scope.spawn(|| send(&ours, &guest, || Ok::<_, String>(())));
            let (mut bytes, mut fds) = (Vec::new(), 0);
            let expected: usize = 16 * 7 + 3 * 4 + CONFIG.len() + STATE.len();
            let lengths = [16, 20, 20, 20, 16 + CONFIG.len(), 16 + STATE.len(), 16];
            for length in lengths {
                let until = bytes.len() + length;
                while bytes.len() < until {
                    let message =
                        passing::receive(&theirs, until - bytes.len(), 1, None).unwrap().unwrap();
                    bytes.extend(message.bytes);
                    fds += message.fds.len();
                }
                (&theirs).write_all(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
            }
            sender.join().unwrap().unwrap();
            assert_eq!((bytes.len(), fds), (expected, 3));
            bytes
        });
        let mut wanted = Vec::new();
        for part in whole(end).concat() {
            match part {
                Part::Request(command, _, length) => {
                    wanted.extend(command.to_le_bytes());
                    wanted.extend([0; 6]);
                    wanted.extend(length.to_le_bytes());
                }
                Part::Slot(slot, _) => wanted.extend(slot.to_le_bytes()),
                Part::Bytes(bytes) => wanted.extend(bytes),
            }
        }
        assert_eq!(sent, wanted);
    }
}

#[test]
fn what_the_protocol_does_not_allow_is_an_error_and_keeps_nothing() {
    type Check = fn(&Error) -> bool;
    let order: Check = |it| matches!(it, Error::Order { .. });
    let length: Check = |it| matches!(it, Error::Length { .. });
    let memory = vec![MEMORY_FD, Part::Slot(0, Some(0))];
    let begun = || vec![vec![START], memory.clone()];
    let with = |more: &[Vec<Part>]| [begun(), more.to_vec()].concat();
    let cases: Vec<(Vec<Vec<Part>>, Check)> = vec![
        // Out of order.
        (vec![memory.clone()], order),
        (vec![config().into()], order),
        (vec![vec![START], vec![START]], order),
        (vec![vec![START], vec![COMPLETE]], order),
        (with(&[state().into()]), order),
        (with(&[vec![COMPLETE_PAUSED]]), order),
        (with(&[config().into(), memory.clone()]), order),
        (with(&[config().into(), config().into()]), order),
        (with(&[config().into(), vec![COMPLETE]]), order),
        (with(&[config().into(), state().into(), state().into()]), order),
        (with(&[config().into(), state().into(), vec![START]]), order),
        // Repeated, or without memory.
        (with(std::slice::from_ref(&memory)), |it| matches!(it, Error::SameSlot(0))),
        (vec![vec![START], vec![MEMORY_FD, Part::Slot(0, None)]], |it| {
            matches!(it, Error::NoMemory)
        }),
        (vec![vec![START], config().into()], |it| matches!(it, Error::Copied)),
        (with(&[config().into(), vec![Part::Request(4, 0, 16)]]), |it| matches!(it, Error::Copied)),
        (with(&[vec![Part::Request(9, 0, 16)]]), |it| matches!(it, Error::Copied)),
        // Lengths that cannot be.
        (vec![vec![Part::Request(1, 0, 1)]], length),
        (vec![vec![START], vec![Part::Request(7, 0, 8)]], length),
        (with(&[vec![Part::Request(2, 0, 0)]]), length),
        (with(&[vec![Part::Request(2, 0, (16 << 20) + 1)]]), length),
        (with(&[vec![Part::Request(2, 0, u64::MAX)]]), length),
        (with(&[config().into(), vec![Part::Request(3, 0, (256 << 20) + 1)]]), length),
        (with(&[config().into(), state().into(), vec![Part::Request(5, 0, 1)]]), length),
        // Other versions, and what no version has.
        (vec![vec![Part::Request(1, 1, 0)]], |it| matches!(it, Error::Version(1))),
        (vec![vec![Part::Request(0, 0, 0)]], |it| matches!(it, Error::Unknown(0))),
        (with(&[vec![Part::Request(10, 0, 0)]]), |it| matches!(it, Error::Unknown(10))),
    ];
    for (commands, check) in cases {
        let (received, kept, heard) = outcome(&commands);
        let error = received.unwrap_err();
        assert!(check(&error), "{commands:?}: {error:?}");
        assert!(!kept && !heard, "{commands:?}");
    }
}

#[test]
fn one_that_gives_up_is_answered() {
    for begun in 0..6 {
        let mut commands = whole(COMPLETE);
        commands.truncate(begun);
        commands.push(vec![ABANDON]);
        let (received, kept, heard) = outcome(&commands);
        assert!(matches!(received, Err(Error::Abandoned)), "{received:?}");
        assert!(!kept && heard);
    }
}

#[test]
fn a_guest_that_cannot_be_kept_stays_with_cloud_hypervisor() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let commands = whole(COMPLETE);
    thread::scope(|scope| {
        let peer = scope.spawn(|| play(&theirs, &commands, &memory()));
        let received = receive(&ours, |_| Err("no room"));
        assert!(matches!(received, Err(Error::Keep(_))), "{received:?}");
        assert!(!peer.join().unwrap());
    });
}

/// All bytes of a whole guest, but for the memory.
fn bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in whole(COMPLETE).concat() {
        match part {
            Part::Request(command, _, length) => {
                bytes.extend(command.to_le_bytes());
                bytes.extend([0; 6]);
                bytes.extend(length.to_le_bytes());
            }
            Part::Slot(slot, _) => bytes.extend(slot.to_le_bytes()),
            Part::Bytes(more) => bytes.extend(more),
        }
    }
    bytes
}

#[test]
fn a_connection_that_is_cut_anywhere_keeps_nothing() {
    let commands = whole(COMPLETE);
    for (number, _) in commands.iter().enumerate() {
        for after in 0..2 {
            let mut cut = commands.clone();
            cut.truncate(number + 1);
            let last = cut.last_mut().unwrap();
            last.truncate(after);
            if number + 1 == commands.len() && after == 1 {
                continue;
            }
            let (ours, theirs) = UnixStream::pair().unwrap();
            let received = thread::scope(|scope| {
                // The peer goes away in the middle of its last command.
                let (before, last) = cut.split_at(number);
                scope.spawn(move || {
                    if !play(&theirs, before, &memory()) {
                        return;
                    }
                    if let Some(Part::Request(command, _, length)) =
                        last.first().and_then(|it| it.first())
                    {
                        let bytes =
                            [&command.to_le_bytes()[..], &[0; 6], &length.to_le_bytes()].concat();
                        let _ = (&theirs).write_all(&bytes[..bytes.len() - 1]);
                    }
                });
                receive(&ours, |_| -> Result<(), String> { panic!("half a guest is kept") })
            });
            assert!(received.is_err());
        }
    }
}

#[test]
fn a_memfd_with_several_slots_is_preserved_once_and_all_comes_back() {
    for implementation in [Implementation::C, Implementation::Rust] {
        let kernel = FakeKernel::new();
        kernel.set_implementation(implementation);
        let provider = Provider::device(kernel.device());
        let (received, _, _) = outcome(&whole(COMPLETE));
        let guest = received.unwrap();
        let handover = provider.open("vm", None).unwrap();
        custody::preserve(&handover, &guest).unwrap();
        assert_eq!(handover.manifest().entries().len(), 4);
        let ready = handover.ready().unwrap();
        kernel.kexec();
        drop(ready);

        let Claim::Session(session) = provider.claim("vm", None).unwrap() else {
            panic!("nothing came")
        };
        let came = custody::retrieve(&session).unwrap().unwrap();
        assert_eq!((&came.config, &came.state), (&guest.config, &guest.state));
        assert!(came.is_running);
        let slots: Vec<_> = came.memory.iter().map(|(slot, _)| *slot).collect();
        assert_eq!(slots, [0, 1, 4]);
        let inode = |number: usize| fstat(&came.memory[number].1).unwrap().st_ino;
        assert_eq!(inode(0), inode(2));
        assert_ne!(inode(0), inode(1));
        // Once it has run, it cannot run a second time.
        custody::spend(&session, &came).unwrap();
        assert!(custody::retrieve(&session).unwrap().is_none());
        session.finish(None).unwrap();
    }
}

#[test]
fn a_guest_that_may_have_run_is_not_sent_again() {
    let (received, _, _) = outcome(&whole(COMPLETE));
    let guest = received.unwrap();
    let ok = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let error = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let lengths = [16, 20, 20, 20, 16 + CONFIG.len(), 16 + STATE.len(), 16];
    // The receiver answers so many commands, and then refuses or goes away.
    for (answered, refuses) in (0..lengths.len()).flat_map(|count| [(count, true), (count, false)])
    {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let marked = AtomicBool::new(false);
        let sent = thread::scope(|scope| {
            scope.spawn(move || {
                for (number, length) in lengths.iter().enumerate().take(answered + 1) {
                    let mut rest = *length;
                    while rest > 0 {
                        match passing::receive(&theirs, rest, 1, None) {
                            Ok(Some(message)) => rest -= message.bytes.len(),
                            _ => return,
                        }
                    }
                    let answer = if number == answered { &error } else { &ok };
                    if number < answered || refuses {
                        (&theirs).write_all(answer).unwrap();
                    }
                }
            });
            let spend = || {
                marked.store(true, Ordering::SeqCst);
                Ok::<_, String>(())
            };
            send(&ours, &guest, spend)
        });
        let is_last = answered + 1 == lengths.len();
        assert_eq!(marked.load(Ordering::SeqCst), is_last);
        match sent.unwrap_err() {
            // Some virtual CPUs may run also if the command has failed.
            Error::Uncertain(_) => assert!(is_last),
            Error::Refused(_) => assert!(refuses && !is_last),
            other => assert!(!refuses && !is_last, "{other:?}"),
        }
    }
}

#[test]
fn whatever_cannot_be_preserved_is_an_error() {
    let kernel = FakeKernel::new();
    let provider = Provider::device(kernel.device());
    for _ in 0..2 {
        let (received, _, _) = outcome(&whole(COMPLETE));
        let handover = provider.open("vm", None).unwrap();
        kernel.fail_next(Operation::PreserveFd, rustix::io::Errno::NOMEM);
        let error = custody::preserve(&handover, &received.unwrap()).unwrap_err();
        assert!(format!("{error:#}").contains("preserve memory/0"), "{error:#}");
    }
}

proptest! {
    /// Whatever comes, it is an error or a whole guest; a length that is announced takes no memory.
    #[test]
    fn arbitrary_bytes_do_no_harm(
        begin in 0_usize..400,
        noise in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let all = bytes();
        let mut sent = all[..begin.min(all.len())].to_vec();
        sent.extend(&noise);
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::scope(|scope| {
            let mut answers = theirs.try_clone().unwrap();
            scope.spawn(move || {
                let _ = (&theirs).write_all(&sent);
                let _ = theirs.shutdown(std::net::Shutdown::Write);
                let mut rest = Vec::new();
                let _ = answers.read_to_end(&mut rest);
            });
            let received = receive(&ours, |_| Ok::<_, String>(()));
            drop(ours);
            // No memory came.
            assert!(received.is_err());
        });
    }
}
