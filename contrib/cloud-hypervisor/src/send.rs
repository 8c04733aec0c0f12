// SPDX-License-Identifier: MIT OR Apache-2.0

//! The side that sends a guest.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use liblu::passing;

use crate::protocol::{Command, LENGTH, Request, SLOT_LENGTH, read_answer};
use crate::{Error, Guest};

/// Sends a guest to a Cloud Hypervisor that waits for one. It runs, or is paused, as it was.
///
/// `spend` is called right before Cloud Hypervisor is told to run it, and for a paused guest right after it has taken it.
/// From then on its memory changes, so it must not be sent a second time: note that where the next process finds it.
///
/// # Errors
///
/// If the connection is cut, or Cloud Hypervisor refuses it. Nothing is lost then: the guest can be sent to another. But
/// not after [`Error::Uncertain`]: whatever fails after `spend`, some of its virtual CPUs may have run.
pub fn send<S, E>(mut stream: &UnixStream, guest: &Guest, spend: S) -> Result<(), Error>
where
    S: FnOnce() -> Result<(), E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    command(stream, Command::Start, &[])?;
    for (slot, memory) in &guest.memory {
        stream.write_all(&Request::new(Command::MemoryFd, SLOT_LENGTH).write())?;
        let slot = slot.to_le_bytes();
        passing::send(stream, &slot, &[memory.as_fd()], None).map_err(Error::Passing)?;
        expect_ok(stream, Command::MemoryFd)?;
    }
    command(stream, Command::Config, &guest.config)?;
    command(stream, Command::State, &guest.state)?;
    let spend = || spend().map_err(|error| Error::Keep(error.into()));
    if guest.is_running {
        spend()?;
        return command(stream, Command::Complete, &[])
            .map_err(|error| Error::Uncertain(Box::new(error)));
    }
    // It runs when somebody lets it, and not before this has returned.
    command(stream, Command::CompletePaused, &[])?;
    spend()
}

fn command(mut stream: &UnixStream, command: Command, payload: &[u8]) -> Result<(), Error> {
    stream.write_all(&Request::new(command, payload.len() as u64).write())?;
    stream.write_all(payload)?;
    expect_ok(stream, command)
}

fn expect_ok(mut stream: &UnixStream, command: Command) -> Result<(), Error> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes)?;
    match read_answer(bytes)? {
        (true, 0) => Ok(()),
        (true, length) => Err(Error::Length { command, length }),
        (false, _) => Err(Error::Refused(command)),
    }
}
