// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest that cannot be brought back, with programs in place of Cloud Hypervisor: this one again, in another role.

use std::env;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use liblu::passing;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};

use super::*;

/// What one of the programs is to do, and where.
const ROLE: &str = "LUOD_CH_TEST_ROLE";
const SOCKET: &str = "LUOD_CH_TEST_SOCKET";

/// A line for each guest that was received.
const RECEIVED: &str = "received";

/// Bytes of the requests for START, one slot, CONFIG, STATE, and COMPLETE. Configuration and state have two bytes.
const REQUESTS: [usize; 5] = [16, 20, 18, 18, 16];

/// The programs. Not a test: it does nothing unless it is told to.
#[test]
fn program() {
    let Ok(role) = env::var(ROLE) else { return };
    let socket = PathBuf::from(env::var_os(SOCKET).unwrap());
    let listener = UnixListener::bind(&socket).unwrap();
    if role == "vmm" {
        // Until it is killed.
        listener.incoming().for_each(drop);
    }
    let (stream, _) = listener.accept().unwrap();
    let answered: usize = role.parse().unwrap();
    let note = socket.with_file_name(RECEIVED);
    let mut note = OpenOptions::new().create(true).append(true).open(note).unwrap();
    writeln!(note, "a guest").unwrap();
    for length in REQUESTS.iter().take(answered) {
        receive(&stream, *length);
        let ok: [u8; 16] = std::array::from_fn(|index| u8::from(index == 0));
        (&stream).write_all(&ok).unwrap();
    }
    // The next command has no answer.
    if let Some(length) = REQUESTS.get(answered) {
        receive(&stream, *length);
    }
}

fn receive(stream: &UnixStream, mut length: usize) {
    while length > 0 {
        match passing::receive(stream, length, 1, None) {
            Ok(Some(message)) => length -= message.bytes.len(),
            other => panic!("{other:?}"),
        }
    }
}

/// A script that runs this program in a role. `word` is the number of the argument with the socket.
fn script(path: &Path, role: &str, word: u32) -> PathBuf {
    let program = env::current_exe().unwrap();
    let program = program.display();
    let text = format!(
        "#!/bin/sh\nexport {ROLE}={role} {SOCKET}=\"${{{word}#*=}}\"\n{SOCKET}=\"${{{SOCKET}#unix:}}\" exec {program} \
         --exact life::tests::program\n"
    );
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}

/// A guest that stands still; its receivers answer so many commands.
fn stopped(folder: &Path, answered: usize) -> Life {
    let memory: OwnedFd = memfd_create("memory", MemfdFlags::CLOEXEC).unwrap();
    let guest = Guest {
        memory: vec![(0, memory)],
        config: b"{}".into(),
        state: b"{}".into(),
        is_running: true,
    };
    let vmm = script(&folder.join("vmm"), "vmm", 2);
    let remote = script(&folder.join("remote"), &answered.to_string(), 4);
    let setup = Setup { words: vec![vmm.display().to_string()], remote, folder: folder.to_owned() };
    Life { setup, place: Place::Kept(Box::new(guest)) }
}

fn received(folder: &Path) -> usize {
    fs::read_to_string(folder.join(RECEIVED)).unwrap().lines().count()
}

fn has_ended(life: &Life) -> bool {
    let ended = life.ended().unwrap();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&now)).unwrap() == 1
}

#[test]
fn a_guest_that_may_have_run_is_never_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = stopped(folder.path(), REQUESTS.len() - 1);
    assert_eq!(life.resume().unwrap(), Resumed::Anew);
    assert!(matches!(life.place, Place::Lost(_)) && has_ended(&life));
    // A client asks again; it gets no second guest.
    assert_eq!(life.resume().unwrap(), Resumed::Anew);
    assert_eq!(received(folder.path()), 1);
}

#[test]
fn a_guest_that_has_not_run_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = stopped(folder.path(), REQUESTS.len() - 2);
    life.resume().unwrap_err();
    assert!(matches!(life.place, Place::Kept(_)));
    assert_eq!(received(folder.path()), ATTEMPTS as usize);

    script(&folder.path().join("remote"), &REQUESTS.len().to_string(), 4);
    life.resume().unwrap();
    assert!(matches!(life.place, Place::Runs(_)) && !has_ended(&life));
    assert_eq!(received(folder.path()), ATTEMPTS as usize + 1);
    let Place::Runs(vmm) = life.place else { return };
    vmm.kill().unwrap();
}
