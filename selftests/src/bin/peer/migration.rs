// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cloud Hypervisor's local migration, both sides.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use liblu::passing;
use rustix::fs::fstat;
use selftests::witness::Report;
use serde::{Deserialize, Serialize};

use crate::guest::Stopped;

const START: u16 = 1;
const CONFIG: u16 = 2;
const STATE: u16 = 3;
const COMPLETE: u16 = 5;
const MEMORY_FD: u16 = 7;

/// What stands for the configuration of a machine.
#[derive(Deserialize, Serialize)]
struct Config {
    console: String,
    guest_ram_mappings: Vec<Mapping>,
}

#[derive(Deserialize, Serialize)]
struct Mapping {
    slot: u32,
    file_offset: u64,
}

fn request(mut stream: &UnixStream, command: u16, length: u64) -> Result<()> {
    let bytes = [&command.to_le_bytes()[..], &[0; 6], &length.to_le_bytes()].concat();
    stream.write_all(&bytes).context("send a request")
}

fn expect_ok(mut stream: &UnixStream) -> Result<()> {
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).context("read an answer")?;
    ensure!(answer[..2] == [1, 0], "the other side refuses: {answer:x?}");
    Ok(())
}

pub(crate) fn send(mut stream: &UnixStream, guest: &Stopped) -> Result<()> {
    request(stream, START, 0)?;
    expect_ok(stream)?;
    for (slot, memory, _) in &guest.slots {
        request(stream, MEMORY_FD, 4)?;
        let memory = guest.memory.get(*memory).context("a slot without memory")?;
        passing::send(stream, &slot.to_le_bytes(), &[memory.as_fd()], None)
            .context("send memory")?;
        expect_ok(stream)?;
    }
    let mappings =
        guest.slots.iter().map(|(slot, _, offset)| Mapping { slot: *slot, file_offset: *offset });
    let config = Config { console: guest.console.clone(), guest_ram_mappings: mappings.collect() };
    let payloads =
        [(CONFIG, serde_json::to_vec(&config)?), (STATE, serde_json::to_vec(&guest.report)?)];
    for (command, payload) in payloads {
        request(stream, command, payload.len() as u64)?;
        stream.write_all(&payload).context("send")?;
        expect_ok(stream)?;
    }
    request(stream, COMPLETE, 0)?;
    expect_ok(stream)
}

/// Says that a request is done.
pub(crate) fn acknowledge(mut stream: &UnixStream) -> Result<()> {
    let bytes = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    stream.write_all(&bytes).context("send an answer")
}

/// Receives a guest. The end is not acknowledged yet.
pub(crate) fn receive(mut stream: &UnixStream) -> Result<Stopped> {
    let mut came: Vec<(u32, Arc<File>)> = Vec::new();
    let (mut config, mut report) = (None, None);
    loop {
        let mut bytes = [0; 16];
        stream.read_exact(&mut bytes).context("read a request")?;
        let [low, high, _, _, _, _, _, _, length @ ..] = bytes;
        let length = usize::try_from(u64::from_le_bytes(length))?;
        let mut payload = || {
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).map(|()| payload).context("read")
        };
        match u16::from_le_bytes([low, high]) {
            START => {}
            MEMORY_FD => {
                let message = passing::receive(stream, 4, 1, None)?.context("no memory")?;
                let slot = u32::from_le_bytes(message.bytes[..].try_into()?);
                let [memory] =
                    <[_; 1]>::try_from(message.fds).map_err(|_| anyhow::anyhow!("no memory"))?;
                came.push((slot, Arc::new(memory.into())));
            }
            CONFIG => config = Some(serde_json::from_slice::<Config>(&payload()?)?),
            STATE => report = Some(serde_json::from_slice::<Report>(&payload()?)?),
            COMPLETE => break,
            other => bail!("what is {other}?"),
        }
        acknowledge(stream)?;
    }
    let config = config.context("no configuration")?;
    let mut memory: Vec<Arc<File>> = Vec::new();
    let mut slots = Vec::new();
    for Mapping { slot, file_offset } in config.guest_ram_mappings {
        let (_, file) =
            came.iter().find(|(known, _)| *known == slot).context("memory is missing")?;
        // Slots that had one memfd have one again.
        let inode = |file: &File| fstat(file).map(|stat| stat.st_ino);
        let wanted = inode(file)?;
        let known = memory.iter().position(|it| inode(it).is_ok_and(|it| it == wanted));
        let place = known.unwrap_or_else(|| {
            memory.push(file.clone());
            memory.len() - 1
        });
        slots.push((slot, place, file_offset));
    }
    ensure!(memory.len() == 2, "two memfds have become {}", memory.len());
    let report = report.context("no state")?;
    Ok(Stopped { memory, slots, console: config.console, report })
}
