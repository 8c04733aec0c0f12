// SPDX-License-Identifier: MIT OR Apache-2.0

//! The side that receives a guest.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use liblu::passing;

use crate::protocol::{
    Command, LENGTH, MOST_CONFIG, MOST_SLOTS, MOST_STATE, Request, SLOT_LENGTH, VERSION,
    write_answer,
};
use crate::{Error, Guest};

/// Bytes that are asked for at once: a length that is announced costs no memory before the bytes come.
const CHUNK: usize = 1 << 20;

/// Receives a guest. `keep` is called with all of it, before Cloud Hypervisor is told that it has arrived: from then on
/// Cloud Hypervisor has it no more.
///
/// # Errors
///
/// If Cloud Hypervisor does not send what the protocol demands, or the guest cannot be kept. Then it is told so, and
/// goes on with the guest.
pub fn receive<K, E>(stream: &UnixStream, keep: K) -> Result<Guest, Error>
where
    K: FnOnce(&Guest) -> Result<(), E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let received = receive_all(stream, keep);
    match &received {
        // One that gives up waits for an answer, and goes on then.
        Ok(_) | Err(Error::Abandoned) => answer(stream, true)?,
        // If the connection is cut, nobody hears it.
        Err(_) => drop(answer(stream, false)),
    }
    received
}

fn receive_all<K, E>(stream: &UnixStream, keep: K) -> Result<Guest, Error>
where
    K: FnOnce(&Guest) -> Result<(), E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let start = request(stream)?;
    match start.command {
        Command::Start => {}
        Command::Abandon => return Err(Error::Abandoned),
        got => return Err(Error::Order { got, expected: "the start" }),
    }
    if start.version != VERSION {
        return Err(Error::Version(start.version));
    }
    expect_length(start, 0)?;
    answer(stream, true)?;

    let mut guest = Guest::default();
    let mut stage = Stage::Memory;
    loop {
        let next = request(stream)?;
        match (next.command, stage) {
            (Command::MemoryFd, Stage::Memory) => {
                expect_length(next, SLOT_LENGTH)?;
                memory(stream, &mut guest)?;
            }
            (Command::Config, Stage::Memory) => {
                if guest.memory.is_empty() {
                    return Err(Error::Copied);
                }
                guest.config = payload(stream, next, MOST_CONFIG)?;
                stage = Stage::State;
            }
            (Command::State, Stage::State) => {
                guest.state = payload(stream, next, MOST_STATE)?;
                stage = Stage::End;
            }
            (Command::Complete | Command::CompletePaused, Stage::End) => {
                expect_length(next, 0)?;
                guest.is_running = next.command == Command::Complete;
                keep(&guest).map_err(|error| Error::Keep(error.into()))?;
                return Ok(guest);
            }
            (Command::Abandon, _) => return Err(Error::Abandoned),
            (Command::Memory | Command::PageFault, _) => return Err(Error::Copied),
            (got, stage) => return Err(Error::Order { got, expected: stage.expected() }),
        }
        answer(stream, true)?;
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Memory,
    State,
    End,
}

impl Stage {
    fn expected(self) -> &'static str {
        match self {
            Self::Memory => "memory or the configuration",
            Self::State => "the state",
            Self::End => "the end",
        }
    }
}

fn request(mut stream: &UnixStream) -> Result<Request, Error> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes)?;
    Request::read(bytes)
}

fn answer(mut stream: &UnixStream, is_ok: bool) -> Result<(), Error> {
    Ok(stream.write_all(&write_answer(is_ok))?)
}

fn expect_length(request: Request, length: u64) -> Result<(), Error> {
    if request.length == length {
        return Ok(());
    }
    Err(Error::Length { command: request.command, length: request.length })
}

/// Receives the number of a slot, and its memory.
fn memory(stream: &UnixStream, guest: &mut Guest) -> Result<(), Error> {
    let room = usize::try_from(SLOT_LENGTH).unwrap_or(0);
    let message = passing::receive(stream, room, 1, None).map_err(Error::Passing)?;
    let message = message.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
    let slot = <[u8; 4]>::try_from(&message.bytes[..]).map_err(|_| Error::NoMemory)?;
    let slot = u32::from_le_bytes(slot);
    let [memory] = <[_; 1]>::try_from(message.fds).map_err(|_| Error::NoMemory)?;
    if guest.memory.iter().any(|(known, _)| *known == slot) {
        return Err(Error::SameSlot(slot));
    }
    if guest.memory.len() >= MOST_SLOTS {
        return Err(Error::Length {
            command: Command::MemoryFd,
            length: guest.memory.len() as u64,
        });
    }
    guest.memory.push((slot, memory));
    Ok(())
}

/// Receives what follows a request.
fn payload(stream: &UnixStream, request: Request, most: u64) -> Result<Vec<u8>, Error> {
    if request.length == 0 || request.length > most {
        return Err(Error::Length { command: request.command, length: request.length });
    }
    let mut bytes = Vec::new();
    let mut rest = stream.take(request.length);
    while rest.limit() > 0 {
        let count = usize::try_from(rest.limit()).unwrap_or(CHUNK).min(CHUNK);
        let from = bytes.len();
        bytes.resize(from + count, 0);
        rest.read_exact(bytes.get_mut(from..).unwrap_or_default())?;
    }
    Ok(bytes)
}
