// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands whose structure may be longer or shorter than the kernel's.

use anyhow::{Context, Result, ensure};
use liveupdate_uapi::{
    Command, CreateSession, Finish, GetName, PreserveFd, RetrieveFd, RetrieveSession,
};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::Scenario;
use super::stage::{Stage, check_memfd, create, device, fails, memfd, retrieve};
use crate::abi;

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("an_unknown_command_is_enotty", unknown),
    Scenario::here("a_size_word_that_cannot_be_read_is_efault", nowhere),
    Scenario::here("a_command_that_is_too_short_is_einval", short),
    Scenario::here("a_longer_command_must_end_in_zeros", long),
    Scenario::here("reserved_fields_must_be_zero", reserved),
    Scenario::here("a_reply_is_no_longer_than_the_command", reply),
    Scenario::here("a_create_that_cannot_reply_leaves_nothing", create_copy_out),
    Scenario::here("a_preserve_that_cannot_reply_takes_no_token", preserve_copy_out),
    Scenario::across("a_retrieve_that_cannot_reply_loses_nothing", lose_before, lose_after),
];

/// The bytes of `argument` with another size word, and `tail` behind them.
fn with_size<C: Command>(argument: &C, size: usize, tail: &[u8]) -> Vec<u8> {
    let mut bytes = argument.as_bytes().to_vec();
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
    for nr in [0x02, 0x3f, 0x44, 0x80, 0xff] {
        let opcode = 0xBA00 | nr;
        fails("on the device", abi::raw(&device, opcode, finish.as_bytes()).map(|_| ()), outside)?;
        fails("on a session", abi::raw(&session, opcode, finish.as_bytes()).map(|_| ()), outside)?;
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
    fails("no command at all", abi::raw_nowhere(&session, 0xBA99), outside)
}

fn nowhere(_: &mut Stage<'_>) -> Result<()> {
    let session = create("nowhere")?;
    let device = device()?;
    for opcode in [CreateSession::OPCODE, RetrieveSession::OPCODE] {
        fails("on the device", abi::raw_nowhere(&device, opcode), Errno::FAULT)?;
    }
    for opcode in [PreserveFd::OPCODE, GetName::OPCODE] {
        fails("on a session", abi::raw_nowhere(&session, opcode), Errno::FAULT)?;
    }
    Ok(())
}

fn short(_: &mut Stage<'_>) -> Result<()> {
    let session = create("short")?;
    let device = device()?;
    let mut name = [0; 64];
    name[0] = b'x';
    let named = CreateSession::new(name);
    for size in [0, 1, 4, 8, CreateSession::MIN_SIZE - 1] {
        let result = abi::raw(&device, CreateSession::OPCODE, &with_size(&named, size, &[]));
        fails("CREATE_SESSION", result.map(|_| ()), Errno::INVAL)?;
    }
    let preserve = PreserveFd::new(0, 1);
    for size in [0, 4, PreserveFd::MIN_SIZE - 1] {
        let result = abi::raw(&session, PreserveFd::OPCODE, &with_size(&preserve, size, &[]));
        fails("PRESERVE_FD", result.map(|_| ()), Errno::INVAL)?;
    }
    Ok(())
}

fn long(_: &mut Stage<'_>) -> Result<()> {
    let session = create("long")?;
    let get = GetName::new();
    let full = get.as_bytes().len();
    for (size, tail) in [(full + 1, 1), (full + 8, 8), (4096, 4096 - full)] {
        let zeros = with_size(&get, size, &vec![0; tail]);
        abi::raw(&session, GetName::OPCODE, &zeros).context("zeros behind the end")?;
        let mut other = zeros;
        if let Some(last) = other.last_mut() {
            *last = 1;
        }
        let result = abi::raw(&session, GetName::OPCODE, &other).map(|_| ());
        fails("something behind the end", result, Errno::TOOBIG)?;
    }
    let endless = with_size(&get, usize::MAX, &[]);
    let result = abi::raw(&session, GetName::OPCODE, &endless).map(|_| ());
    ensure!(matches!(result, Err(Errno::FAULT | Errno::TOOBIG)), "4 GiB: {result:?}");
    Ok(())
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
    let tail = [0; 8];
    let bytes = with_size(&GetName::new(), size_of::<GetName>(), &tail);
    let answer = abi::raw(&session, GetName::OPCODE, &bytes).context("GET_NAME")?;
    let (known, beyond) = answer.split_at(size_of::<GetName>());
    ensure!(known.get(8..13) == Some(b"reply"), "the name is not there: {known:?}");
    ensure!(beyond.iter().all(|byte| *byte == 0), "something was written behind the command");
    Ok(())
}

fn create_copy_out(_: &mut Stage<'_>) -> Result<()> {
    let mut name = [0; 64];
    name[..8].copy_from_slice(b"copy-out");
    let argument = CreateSession::new(name);
    let result = abi::raw_read_only(device()?, CreateSession::OPCODE, argument.as_bytes());
    fails("CREATE_SESSION", result, Errno::FAULT)?;
    create("copy-out").context("the name must be free").map(drop)
}

fn preserve_copy_out(stage: &mut Stage<'_>) -> Result<()> {
    use std::os::fd::AsRawFd;

    let (session, file) = (create("copy-out")?, memfd("x")?);
    let argument = PreserveFd::new(file.as_raw_fd(), 1);
    let result = abi::raw_read_only(&session, PreserveFd::OPCODE, argument.as_bytes());
    fails("PRESERVE_FD", result, Errno::FAULT)?;
    let again = abi::preserve_fd(&session, &file, 1);
    // C says EFAULT and has preserved the file.
    stage
        .kernel
        .pick(fails("PRESERVE_FD again", again, Errno::EXIST), again.context("PRESERVE_FD again"))
}

fn lose_before(stage: &mut Stage<'_>) -> Result<()> {
    let (session, file) = (create("lose")?, memfd("not lost")?);
    abi::preserve_fd(&session, &file, 1).context("PRESERVE_FD")?;
    stage.keep(session);
    Ok(())
}

fn lose_after(stage: &mut Stage<'_>) -> Result<()> {
    let mut name = [0; 64];
    name[..4].copy_from_slice(b"lose");
    let argument = RetrieveSession::new(name);
    let result = abi::raw_read_only(device()?, RetrieveSession::OPCODE, argument.as_bytes());
    fails("RETRIEVE_SESSION", result, Errno::FAULT)?;
    let session = abi::retrieve(device()?, "lose");
    if stage.kernel == super::Kernel::C {
        // C finishes the session that nobody got, and the file is gone.
        return fails("RETRIEVE_SESSION again", session, Errno::NOENT);
    }
    let session = session.context("RETRIEVE_SESSION again")?;
    let argument = RetrieveFd::new(1);
    let result = abi::raw_read_only(&session, RetrieveFd::OPCODE, argument.as_bytes());
    fails("RETRIEVE_FD", result, Errno::FAULT)?;
    check_memfd(abi::retrieve_fd(&session, 1).context("RETRIEVE_FD again")?, "not lost")?;
    drop(session);
    let session = retrieve("lose")?;
    abi::finish(&session).context("FINISH")
}
