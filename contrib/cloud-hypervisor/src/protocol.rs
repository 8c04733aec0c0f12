// SPDX-License-Identifier: MIT OR Apache-2.0

//! The messages, as bytes.
//!
//! Each request has 16 bytes: a command, six bytes of headers, and the length of what follows; so has each answer, with a
//! status instead of the command. All numbers are little-endian. See `vm-migration/src/protocol.rs` of Cloud Hypervisor.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes as _, IntoBytes as _};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Error;

/// The version that is spoken here.
pub const VERSION: u16 = 0;

/// Bytes of the number of a slot, with which its memory is sent.
pub const SLOT_LENGTH: u64 = 4;

/// Bytes of the largest configuration: JSON of some kilobytes.
pub const MOST_CONFIG: u64 = 16 << 20;

/// Bytes of the largest state: JSON of some kilobytes for each virtual CPU.
pub const MOST_STATE: u64 = 256 << 20;

/// The most slots of a guest: KVM has no more on any machine.
pub const MOST_SLOTS: usize = 32_764;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The first one, with the version.
    Start,
    /// The configuration follows.
    Config,
    /// The state follows.
    State,
    /// Memory follows, as bytes.
    Memory,
    /// The end: the guest runs on the other side.
    Complete,
    /// The sender gives up.
    Abandon,
    /// A slot and its memory follow.
    MemoryFd,
    /// The end: the guest stays paused.
    CompletePaused,
    /// A page that is missing.
    PageFault,
}

/// The numbers of all commands.
const COMMANDS: [(u16, Command); 9] = [
    (1, Command::Start),
    (2, Command::Config),
    (3, Command::State),
    (4, Command::Memory),
    (5, Command::Complete),
    (6, Command::Abandon),
    (7, Command::MemoryFd),
    (8, Command::CompletePaused),
    (9, Command::PageFault),
];

const OK: u16 = 1;
const ERROR: u16 = 2;

/// The layout of requests and answers.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct Message {
    number: U16,
    headers: [u8; 6],
    length: U64,
}

/// Bytes of a request or an answer.
pub const LENGTH: usize = size_of::<Message>();

fn message(number: u16, headers: [u8; 6], length: u64) -> [u8; LENGTH] {
    let message = Message { number: number.into(), headers, length: length.into() };
    let mut bytes = [0; LENGTH];
    bytes.copy_from_slice(message.as_bytes());
    bytes
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The command.
    pub command: Command,
    /// With [`Command::Start`], the version of the protocol.
    pub version: u16,
    /// The number of bytes that follow.
    pub length: u64,
}

impl Request {
    /// A request that `length` bytes follow.
    #[must_use]
    pub fn new(command: Command, length: u64) -> Self {
        Self { command, version: 0, length }
    }

    /// Its bytes.
    #[must_use]
    pub fn write(self) -> [u8; LENGTH] {
        let number = COMMANDS.iter().find(|(_, command)| *command == self.command);
        let [low, high] = self.version.to_le_bytes();
        message(number.map_or(0, |(number, _)| *number), [low, high, 0, 0, 0, 0], self.length)
    }

    /// Reads a request.
    ///
    /// # Errors
    ///
    /// If there is no such command.
    pub fn read(bytes: [u8; LENGTH]) -> Result<Self, Error> {
        let (message, _) = Message::read_from_prefix(&bytes).map_err(|_| Error::Unknown(0))?;
        let number = message.number.get();
        let known = COMMANDS.iter().find(|(known, _)| *known == number);
        let (_, command) = known.ok_or(Error::Unknown(number))?;
        let [low, high, ..] = message.headers;
        let version = u16::from_le_bytes([low, high]);
        Ok(Self { command: *command, version, length: message.length.get() })
    }
}

/// An answer: `true` for "OK".
#[must_use]
pub fn write_answer(is_ok: bool) -> [u8; LENGTH] {
    message(if is_ok { OK } else { ERROR }, [0; 6], 0)
}

/// Reads an answer: whether the other side has done what it was asked, and the number of bytes that follow.
///
/// # Errors
///
/// If there is no such status.
pub fn read_answer(bytes: [u8; LENGTH]) -> Result<(bool, u64), Error> {
    let (message, _) = Message::read_from_prefix(&bytes).map_err(|_| Error::Unknown(0))?;
    match message.number.get() {
        OK => Ok((true, message.length.get())),
        ERROR => Ok((false, message.length.get())),
        other => Err(Error::Unknown(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_the_bytes_that_cloud_hypervisor_sends() {
        let start = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Request::new(Command::Start, 0).write(), start);
        let memory = [7, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Request::new(Command::MemoryFd, 4).write(), memory);
        let state = [3, 0, 0, 0, 0, 0, 0, 0, 0x39, 5, 0, 0, 0, 0, 0, 0];
        assert_eq!(Request::read(state).unwrap(), Request::new(Command::State, 1337));
        let complete = [8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Request::read(complete).unwrap().command, Command::CompletePaused);
        assert_eq!(write_answer(true), start);
        assert_eq!(
            read_answer([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap(),
            (false, 0)
        );
    }

    #[test]
    fn what_the_protocol_does_not_have_is_refused() {
        for number in [0, 10, 0xffff] {
            assert!(matches!(Request::read(message(number, [0; 6], 0)), Err(Error::Unknown(_))));
        }
        assert!(matches!(read_answer([0; LENGTH]), Err(Error::Unknown(0))));
        let later = message(1, [1, 0, 0, 0, 0, 0], 0);
        assert_eq!(Request::read(later).unwrap().version, 1);
    }
}
