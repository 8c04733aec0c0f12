// SPDX-License-Identifier: MIT OR Apache-2.0

//! Input and output to the outside: a disk, packets, random numbers.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::net::UdpSocket;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};

use crate::Seen;

/// Bytes of a block.
const BLOCK: usize = 4096;

/// Blocks of the disk that are used, if it has as many.
const BLOCKS: u64 = 1024;

const PACE: Duration = Duration::from_millis(100);

/// How long a packet may take, and a disk to be found.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes blocks to the disk, one after the other, and reads each one again before it is overwritten.
pub(crate) fn start_disk(seen: &Seen, path: &str) -> Result<()> {
    // The kernel finds disks in the background.
    let end = Instant::now() + PATIENCE * 5;
    while !Path::new(path).exists() && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    let disk = OpenOptions::new().read(true).write(true).open(path);
    let mut disk = disk.with_context(|| format!("open {path}"))?;
    let size = disk.seek(SeekFrom::End(0)).context("the size of the disk")?;
    let blocks = (size / BLOCK as u64).min(BLOCKS);
    ensure!(blocks > 0, "the disk is empty");
    let seen = seen.clone();
    thread::spawn(move || {
        if let Err(error) = use_disk(&seen, &disk, blocks) {
            seen.complain(&format!("disk: {error:#}"));
        }
    });
    Ok(())
}

fn use_disk(seen: &Seen, disk: &File, blocks: u64) -> Result<()> {
    for number in 0_u64.. {
        let place = number % blocks * BLOCK as u64;
        if let Some(expected) = number.checked_sub(blocks) {
            check_block(seen, disk, place, expected)?;
        }
        let content = number.to_le_bytes().repeat(BLOCK / 8);
        disk.write_all_at(&content, place).context("write a block")?;
        disk.sync_data().context("write a block")?;
        // The next read asks the disk, not the cache.
        fadvise(disk, place, std::num::NonZero::new(BLOCK as u64), Advice::DontNeed)
            .context("fadvise")?;
        check_block(seen, disk, place, number)?;
        seen.update(|report| report.blocks += 1);
        thread::sleep(PACE);
    }
    Ok(())
}

fn check_block(seen: &Seen, disk: &File, place: u64, expected: u64) -> Result<()> {
    let mut there = vec![0; BLOCK];
    disk.read_exact_at(&mut there, place).context("read a block")?;
    if there != expected.to_le_bytes().repeat(BLOCK / 8) {
        let (first, _) = there.as_chunks::<8>();
        let first = first.first().map(|bytes| u64::from_le_bytes(*bytes));
        seen.complain(&format!("the block at {place:#x} has {first:x?}, not {expected:#x}"));
    }
    Ok(())
}

/// Sends packets to a server that sends them back.
pub(crate) fn start_network(seen: &Seen, address: &str) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("make a socket")?;
    socket.connect(address).with_context(|| format!("connect to {address}"))?;
    socket.set_read_timeout(Some(PATIENCE)).context("set a timeout")?;
    let seen = seen.clone();
    thread::spawn(move || {
        for number in 0_u64.. {
            match exchange(&socket, number) {
                Ok(true) => seen.update(|report| report.answers += 1),
                // Packets may get lost, also while the host is away.
                Ok(false) => seen.update(|report| report.lost += 1),
                Err(error) => seen.complain(&format!("network: {error:#}")),
            }
            thread::sleep(PACE);
        }
    });
    Ok(())
}

/// Sends a number; says whether it came back.
fn exchange(socket: &UdpSocket, number: u64) -> Result<bool> {
    match socket.send(&number.to_le_bytes()) {
        // An earlier packet found no server.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(false),
        other => other.context("send")?,
    };
    loop {
        let mut answer = [0; 8];
        match socket.recv(&mut answer) {
            // A late answer to an earlier one.
            Ok(8) if u64::from_le_bytes(answer) < number => {}
            Ok(8) if u64::from_le_bytes(answer) == number => return Ok(true),
            Ok(count) => anyhow::bail!("{count} bytes {answer:x?} instead of {number}"),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error).context("receive"),
        }
    }
}

/// Reads the random number generator, if there is one.
pub(crate) fn start_random(seen: &Seen) {
    let Ok(mut device) = File::open("/dev/hwrng") else { return };
    let seen = seen.clone();
    thread::spawn(move || {
        let mut bytes = [0; 8];
        // It cannot be read if no device stands behind it.
        while device.read_exact(&mut bytes).is_ok() {
            seen.update(|report| report.random += 1);
            thread::sleep(PACE * 10);
        }
    });
}
