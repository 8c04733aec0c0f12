// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands whose structure may be longer or shorter than the kernel's.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, ensure};
use liveupdate_uapi::{
    Command, CreateSession, Finish, GetInfo, GetName, PreserveFd, RetrieveFd, RetrieveSession,
};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::Scenario;
use super::stage::{
    Stage, check_memfd, create, device, fails, finish, memfd, retrieve, try_retrieve,
};
use crate::abi;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("an_unknown_command_is_enotty", unknown),
    Scenario::across(
        "a_malformed_command_is_refused_and_changes_nothing",
        malformed_before,
        malformed_after,
    ),
    Scenario::here("reserved_fields_must_be_zero", reserved),
    Scenario::here("a_reply_is_no_longer_than_the_command", reply),
    Scenario::here("a_create_that_cannot_reply_leaves_nothing", create_copy_out),
    Scenario::here("a_preserve_that_cannot_reply_takes_no_token", preserve_copy_out),
    Scenario::across("a_retrieve_that_cannot_reply_loses_nothing", lose_before, lose_after),
    Scenario::across("a_finish_that_cannot_reply_changes_nothing", finish_before, finish_after),
];

/// How many files this process has open.
fn open_files() -> Result<usize> {
    Ok(fs::read_dir("/proc/self/fd").context("read /proc/self/fd")?.count())
}

/// Sends a command whose answer cannot be written, and checks that no file was opened.
fn cannot_reply<C: Command>(what: &str, on: impl AsFd, argument: &C) -> Result<()> {
    let before = open_files()?;
    fails(what, abi::raw_read_only(&on, C::OPCODE, argument.as_bytes()), Errno::FAULT)?;
    let after = open_files()?;
    ensure!(after == before, "{what}: {after} open files, not {before}");
    Ok(())
}

/// The bytes of `argument` with another size word, and `tail` behind them.
fn with_size(argument: &[u8], size: usize, tail: &[u8]) -> Vec<u8> {
    let mut bytes = argument.to_vec();
    let word = u32::try_from(size).unwrap_or(u32::MAX).to_ne_bytes();
    if let Some(first) = bytes.get_mut(..word.len()) {
        first.copy_from_slice(&word);
    }
    bytes.extend_from_slice(tail);
    bytes
}

fn unknown(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("unknown")?;
    let device = device()?;
    let finish = Finish::new();
    // C answers EINVAL for numbers outside of its tables.
    let outside = stage.kernel.pick(Errno::INVAL, Errno::NOTTY);
    for nr in [0x02, 0x3f, 0x44, 0x81, 0xff] {
        let opcode = 0xBA00 | nr;
        fails("on the device", abi::raw(&device, opcode, finish.as_bytes()).map(|_| ()), outside)?;
        fails("on a session", abi::raw(&session, opcode, finish.as_bytes()).map(|_| ()), outside)?;
    }
    // Commands of the other kind of descriptor.
    for opcode in
        [PreserveFd::OPCODE, RetrieveFd::OPCODE, Finish::OPCODE, GetName::OPCODE, GetInfo::OPCODE]
    {
        let bytes = GetName::new();
        let result = abi::raw(&device, opcode, bytes.as_bytes()).map(drop);
        fails("of a session, on the device", result, outside)?;
    }
    for opcode in [CreateSession::OPCODE, RetrieveSession::OPCODE] {
        let bytes = CreateSession::new(abi::session_name(b"unknown-2")?);
        let result = abi::raw(&session, opcode, bytes.as_bytes()).map(drop);
        fails("of the device, on a session", result, outside)?;
    }
    let direction = 1 << 30 | Finish::OPCODE;
    let size = 8 << 16 | Finish::OPCODE;
    let kind = 0xBB00 | u32::from(Finish::NR);
    for opcode in [direction, size, kind] {
        let result = abi::raw(&session, opcode, finish.as_bytes()).map(|_| ());
        fails("other bits", result, Errno::NOTTY)?;
    }
    let name = abi::raw(&device, 1 << 31 | CreateSession::OPCODE, &[]).map(|_| ());
    fails("other bits on the device", name, Errno::NOTTY)?;
    fails("no command at all", abi::raw_nowhere(&session, 0xBA99), outside)?;
    // C reads the size word first.
    let nowhere = stage.kernel.pick(Errno::FAULT, Errno::NOTTY);
    for opcode in [direction, size] {
        fails("other bits of nothing", abi::raw_nowhere(&session, opcode), nowhere)?;
    }
    Ok(())
}

/// A command that is right without changes.
struct Sent {
    name: &'static str,
    opcode: u32,
    min_size: usize,
    argument: Vec<u8>,
}

impl Sent {
    fn new<C: Command>(name: &'static str, argument: &C) -> Self {
        let argument = argument.as_bytes().to_vec();
        Self { name, opcode: C::OPCODE, min_size: C::MIN_SIZE, argument }
    }

    /// Sends the command with another size word and `tail` behind it.
    fn send(&self, on: impl AsFd, size: usize, tail: &[u8]) -> rustix::io::Result<()> {
        abi::raw(on, self.opcode, &with_size(&self.argument, size, tail)).map(drop)
    }

    /// Checks that the command fails if its structure cannot be read, is too short, or asks for
    /// more than the kernel has.
    fn fails_if_malformed(&self, on: impl AsFd) -> Result<()> {
        let name = self.name;
        fails(name, abi::raw_nowhere(&on, self.opcode), Errno::FAULT)?;
        for size in [0, 1, 4, self.min_size - 1] {
            fails(name, self.send(&on, size, &[]), Errno::INVAL).context("too short")?;
        }
        let full = self.argument.len();
        for more in [1, 8, abi::ROOM - full] {
            let mut tail = vec![0; more];
            if let Some(last) = tail.last_mut() {
                *last = 1;
            }
            fails(name, self.send(&on, full + more, &tail), Errno::TOOBIG).context("more")?;
        }
        let endless = self.send(&on, usize::MAX, &[]);
        ensure!(matches!(endless, Err(Errno::FAULT | Errno::TOOBIG)), "{name}, 4 GiB: {endless:?}");
        Ok(())
    }
}

fn malformed_before(stage: &mut Stage<'_>) -> Result<()> {
    let (session, file, device) = (create("malformed")?, memfd("x")?, device()?);
    let other = abi::session_name(b"malformed-2")?;
    let create = Sent::new("CREATE_SESSION", &CreateSession::new(other));
    let retrieve = Sent::new("RETRIEVE_SESSION", &RetrieveSession::new(other));
    let preserve = Sent::new("PRESERVE_FD", &PreserveFd::new(file.as_raw_fd(), 1));
    let name = Sent::new("GET_NAME", &GetName::new());
    create.fails_if_malformed(&device)?;
    retrieve.fails_if_malformed(&device)?;
    preserve.fails_if_malformed(&session)?;
    name.fails_if_malformed(&session)?;
    if stage.kernel == super::Kernel::Rust {
        Sent::new("GET_INFO", &GetInfo::new()).fails_if_malformed(&session)?;
    }

    // The command has the wrong direction too: C checks the direction first.
    let file = Sent::new("RETRIEVE_FD", &RetrieveFd::new(1));
    let errno = stage.kernel.pick(Errno::INVAL, Errno::TOOBIG);
    fails("RETRIEVE_FD", file.send(&session, file.argument.len() + 1, &[1]), errno)?;
    fails("RETRIEVE_FD", file.send(&session, file.argument.len() + 1, &[0]), Errno::INVAL)?;

    // Nothing has changed, and zeros in later fields ask for nothing.
    let zeros = [0; 24];
    name.send(&session, name.argument.len() + zeros.len(), &zeros).context("GET_NAME")?;
    preserve
        .send(&session, preserve.argument.len() + zeros.len(), &zeros)
        .context("PRESERVE_FD")?;
    drop(abi::create(&device, "malformed-2").context("the name must be free")?);
    stage.keep(session);
    Ok(())
}

fn malformed_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("malformed")?.into_fd();
    let file = Sent::new("RETRIEVE_FD", &RetrieveFd::new(1));
    let finish = Sent::new("FINISH", &Finish::new());
    file.fails_if_malformed(&session)?;
    finish.fails_if_malformed(&session)?;
    check_memfd(abi::retrieve_fd(&session, 1).context("RETRIEVE_FD")?, "x")?;
    let zeros = [0; 24];
    finish.send(&session, finish.argument.len() + zeros.len(), &zeros).context("FINISH")
}

fn reserved(_: &mut Stage<'_>) -> Result<()> {
    let session = create("reserved")?;
    let mut get = GetName::new();
    get.reserved = 1;
    let result = abi::raw(&session, GetName::OPCODE, get.as_bytes()).map(|_| ());
    fails("GET_NAME", result, Errno::INVAL)
}

fn reply(_: &mut Stage<'_>) -> Result<()> {
    let session = create("reply")?;
    let bytes = with_size(GetName::new().as_bytes(), size_of::<GetName>(), &[0xee; 8]);
    let answer = abi::raw(&session, GetName::OPCODE, &bytes).context("GET_NAME")?;
    let (known, beyond) = answer.split_at(size_of::<GetName>());
    ensure!(known.get(8..13) == Some(b"reply"), "the name is not there: {known:?}");
    let beyond = beyond.get(..8).context("no room")?;
    ensure!(beyond == [0xee; 8], "something was written behind the command");
    cannot_reply("GET_NAME", &session, &GetName::new())
}

fn create_copy_out(_: &mut Stage<'_>) -> Result<()> {
    let device = device()?;
    cannot_reply("CREATE_SESSION", &device, &CreateSession::new(abi::session_name(b"copy-out")?))?;
    abi::create(device, "copy-out").context("the name must be free").map(drop)
}

fn preserve_copy_out(stage: &mut Stage<'_>) -> Result<()> {
    let (session, file) = (create("copy-out")?, memfd("x")?);
    cannot_reply("PRESERVE_FD", &session, &PreserveFd::new(file.as_raw_fd(), 1))?;
    let again = abi::preserve_fd(&session, &file, 1);
    // C answers EFAULT and has preserved the file.
    stage
        .kernel
        .pick(fails("PRESERVE_FD again", again, Errno::EXIST), again.context("PRESERVE_FD again"))
}

fn lose_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("lose", memfd("not lost")?)
}

fn lose_after(stage: &mut Stage<'_>) -> Result<()> {
    cannot_reply(
        "RETRIEVE_SESSION",
        device()?,
        &RetrieveSession::new(abi::session_name(b"lose")?),
    )?;
    let session = try_retrieve("lose");
    if stage.kernel == super::Kernel::C {
        // C finishes the session, although no process has received it, and the file is gone.
        return fails("RETRIEVE_SESSION again", session, Errno::NOENT);
    }
    let session = session.context("RETRIEVE_SESSION again")?;
    cannot_reply("RETRIEVE_FD", &session, &RetrieveFd::new(1))?;
    check_memfd(session.retrieve(1.into()).context("RETRIEVE_FD again")?, "not lost")?;
    drop(session);
    finish(retrieve("lose")?).map(drop)
}

fn finish_before(stage: &mut Stage<'_>) -> Result<()> {
    stage.hand_over("no-answer", memfd("still there")?)
}

fn finish_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("no-answer")?.into_fd();
    cannot_reply("FINISH", &session, &Finish::new())?;
    let file = abi::retrieve_fd(&session, 1);
    if stage.kernel == super::Kernel::C {
        // C has finished it.
        return fails("RETRIEVE_FD", file, Errno::NOENT);
    }
    check_memfd(file.context("RETRIEVE_FD")?, "still there")?;
    abi::finish(&session).context("FINISH again")
}
