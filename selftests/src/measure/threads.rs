// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memfds that threads preserve and retrieve side by side.

use std::os::fd::OwnedFd;
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::pwrite;

use super::{Measurement, Meter, name, token};
use crate::abi;

/// Memfds of a session, and the bytes of each, all written.
const FILES: usize = 4;
const BYTES: u64 = 192 << 20;

/// Sessions that each number of threads works on. The fastest counts: what disturbs makes it slower.
const ROUNDS: usize = 3;

/// The number of a session.
fn session(threads: usize, round: usize) -> usize {
    threads * ROUNDS + round
}

fn memfd() -> Result<OwnedFd> {
    let file = memfd_create("threads", MemfdFlags::CLOEXEC).context("memfd_create")?;
    let (mut at, portion) = (0, vec![1; 1 << 20]);
    while at < BYTES {
        let written = pwrite(&file, &portion, at).context("write a memfd")?;
        at += u64::try_from(written).context("the length of a write")?;
    }
    Ok(file)
}

/// Does something for each file, by so many threads.
fn by<T: Send>(
    threads: usize,
    work: impl Fn(usize) -> rustix::io::Result<T> + Sync,
) -> Result<Vec<T>> {
    let part = |first| (first..FILES).step_by(threads).map(&work).collect::<Result<Vec<_>, _>>();
    let all = thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|first| scope.spawn(move || part(first))).collect();
        parts.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut done = Vec::new();
    for part in all {
        done.extend(part.map_err(|_| anyhow!("a thread panicked"))??);
    }
    Ok(done)
}

/// The fastest of some rounds.
fn fastest(
    what: &'static str,
    threads: usize,
    mut round: impl FnMut(usize) -> Result<u64>,
) -> Result<Measurement> {
    let rounds = (0..ROUNDS).map(&mut round).collect::<Result<Vec<_>>>()?;
    let ns = rounds.into_iter().min().unwrap_or(0);
    Ok(Meter { name: what, count: threads, ns }.done())
}

pub(super) fn before(most: usize, kept: &mut Vec<OwnedFd>) -> Result<Vec<Measurement>> {
    let device = abi::open().context("open the device")?;
    let by_threads = |threads: usize| {
        fastest("preserve 4 memfds by n threads", threads, |round| {
            let files = (0..FILES).map(|_| memfd()).collect::<Result<Vec<_>>>()?;
            let session = abi::create(&device, name(session(threads, round)));
            let session = session.context("CREATE_SESSION")?;
            let one = |number| {
                let file = files.get(number).ok_or(rustix::io::Errno::NOENT)?;
                abi::preserve_fd(&session, file, token(number))
            };
            let mut meter = Meter::new("");
            meter.time(|| by(threads, one)).context("PRESERVE_FD")?;
            kept.push(session);
            Ok(meter.ns)
        })
    };
    (1..=most).map(by_threads).collect()
}

pub(super) fn after(most: usize) -> Result<Vec<Measurement>> {
    let device = abi::open().context("open the device")?;
    let by_threads = |threads: usize| {
        fastest("retrieve 4 memfds by n threads", threads, |round| {
            let session = abi::retrieve(&device, name(session(threads, round)));
            let session = session.context("RETRIEVE_SESSION")?;
            let one = |number| abi::retrieve_fd(&session, token(number));
            let mut meter = Meter::new("");
            meter.time(|| by(threads, one)).context("RETRIEVE_FD")?;
            abi::finish(&session).context("FINISH")?;
            Ok(meter.ns)
        })
    };
    (1..=most).map(by_threads).collect()
}
