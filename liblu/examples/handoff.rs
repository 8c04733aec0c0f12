// SPDX-License-Identifier: MIT OR Apache-2.0

//! An agent with rights, and a client without: it does everything through a session that it is sent.
//!
//! ```console
//! # handoff before    # stays until reboot(2)
//! # handoff after
//! ```
//!
//! The parent needs root: it creates the session, or retrieves it, and sends it over a socket. The
//! child is nobody, and cannot open the device: it preserves a file, and retrieves and finishes.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use liblu::{
    ErrorKind, Handover, IncomingSession, LiveUpdate, Manifest, OutgoingSession, SessionName,
    passing,
};
use rustix::fs::{MemfdFlags, memfd_create};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A user without rights.
const NOBODY: u32 = 65534;

/// The label and the content of the child's file.
const LABEL: &str = "letter";
const LETTER: &[u8] = b"written under the previous kernel";

/// The answer of the child when it is done.
const DONE: &[u8] = b"done";

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["before"] => {
            let session = LiveUpdate::new().create(&name()?)?;
            let (mut child, _line) = start_child("child-before", &session)?;
            println!("ready");
            // The child has the session, and so has this process.
            child.wait()?;
            Err("the child has ended before the update".into())
        }
        ["after"] => {
            let session = LiveUpdate::new().retrieve(&name()?)?;
            // Custody: if the child crashes now, the session can be sent to another. As long as it is an
            // `IncomingSession` here, dropping it destroys nothing.
            let (mut child, _line) = start_child("child-after", &session)?;
            let status = child.wait()?;
            if !status.success() {
                return Err(format!("the child has ended with {status}").into());
            }
            println!("done");
            Ok(())
        }
        ["child-before"] => before(),
        ["child-after"] => after(),
        _ => Err("usage: handoff before|after".into()),
    }
}

fn name() -> Result<SessionName> {
    Ok(SessionName::in_namespace("handoff", "letter")?)
}

/// Starts a child without rights, sends it the session, and waits until it has done its work. It ends
/// when the line to it is cut.
fn start_child(what: &str, session: impl AsFd) -> Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(what).stdin(Stdio::from(OwnedFd::from(theirs))).uid(NOBODY).gid(NOBODY);
    let child = command.spawn()?;
    drop(command);
    passing::send(&ours, b"session", &[session.as_fd()], None)?;
    let mut answer = [0; DONE.len()];
    (&ours).read_exact(&mut answer).map_err(|_| "the child has not done its work")?;
    Ok((child, ours))
}

/// The socket to the parent, and the session that came over it.
fn receive() -> Result<(UnixStream, OwnedFd)> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let message = passing::receive(&socket, 16, 1, None)?.ok_or("the parent has hung up")?;
    let [session] = <[_; 1]>::try_from(message.fds).map_err(|_| "no session came")?;
    Ok((socket, session))
}

fn before() -> Result<()> {
    must_not_open()?;
    let (mut socket, fd) = receive()?;
    let session = OutgoingSession::from_fd(fd, &name()?)?;
    let mut letter = File::from(memfd_create(LABEL, MemfdFlags::CLOEXEC)?);
    letter.write_all(LETTER)?;
    let handover = Handover::new(session)?;
    handover.preserve(LABEL, &letter)?;
    let _ready = handover.ready()?;
    socket.write_all(DONE)?;
    // The session must stay open until the kernel is left; nothing comes before that.
    socket.read_to_end(&mut Vec::new())?;
    Err("the parent has ended before the update".into())
}

fn after() -> Result<()> {
    must_not_open()?;
    let (mut socket, fd) = receive()?;
    let session = IncomingSession::from_fd(fd, &name()?)?.held_elsewhere();
    let manifest = Manifest::of(&session)?;
    let entry = manifest.entry(LABEL).ok_or("there is no letter")?;
    let mut text = Vec::new();
    let letter = File::from(session.retrieve(entry.token())?);
    io::Seek::rewind(&mut &letter)?;
    (&letter).read_to_end(&mut text)?;
    if text != LETTER {
        return Err(format!("the letter reads {}", text.escape_ascii()).into());
    }
    session.finish()?;
    Ok(socket.write_all(DONE)?)
}

/// Shows that the child can do nothing without the session.
fn must_not_open() -> Result<()> {
    match LiveUpdate::new().create(&name()?) {
        Ok(_) => Err("the child has rights".into()),
        Err(error) if error.kind() == ErrorKind::NoPermission => Ok(()),
        Err(error) => Err(error.into()),
    }
}
