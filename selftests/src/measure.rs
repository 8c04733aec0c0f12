// SPDX-License-Identifier: MIT OR Apache-2.0

//! The cost of the commands, one load at a time.
//!
//! Times are those of the guest's clock. On a machine that counts instructions they are
//! instructions.

mod agent;
pub mod blackout;
mod threads;
mod vmm;

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use liblu::{IncomingSession, OutgoingSession, Token};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::abi;
use crate::scenario::Side;

/// The load that goes to the next kernel.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Sessions with one file each, for the cost of a command when there is little else.
    Pairs,
    /// Sessions without files.
    Sessions,
    /// Files of one page in one session.
    Files,
    /// The same commands by the raw ioctl and through liblu.
    Library,
    /// The same by the raw ioctl and by luod, which leads clients through an update.
    Agent,
    /// A guest of our VMM, whose memory has so many MiB.
    Guest,
    /// Memfds that so many threads preserve and retrieve side by side, and each smaller number.
    Threads,
}

/// The cost of one operation.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Measurement {
    /// Name of the operation.
    pub name: String,
    /// How often it was done.
    pub count: usize,
    /// The cost of all of it.
    pub cost: Cost,
}

/// What something costs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// Time, in nanoseconds.
    Ns(u64),
    /// Memory, in bytes.
    Bytes(u64),
}

/// Adds up the time of one operation.
struct Meter {
    name: &'static str,
    count: usize,
    ns: u64,
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

impl Meter {
    fn new(name: &'static str) -> Self {
        Self { name, count: 0, ns: 0 }
    }

    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begin = now();
        let result = work();
        self.ns += now() - begin;
        self.count += 1;
        result
    }

    /// All of `count` operations at once.
    fn all<T>(name: &'static str, count: usize, work: impl FnOnce() -> T) -> (T, Measurement) {
        let mut meter = Self::new(name);
        let result = meter.time(work);
        meter.count = count;
        (result, meter.done())
    }

    fn done(self) -> Measurement {
        Measurement { name: self.name.into(), count: self.count, cost: Cost::Ns(self.ns) }
    }
}

fn name(number: usize) -> String {
    format!("session-{number:06}")
}

/// A memfd of one page.
fn page() -> Result<OwnedFd> {
    let file = memfd_create("page", MemfdFlags::CLOEXEC).context("memfd_create")?;
    rustix::io::write(&file, &[7; 4096]).context("write a page")?;
    Ok(file)
}

fn token(number: usize) -> u64 {
    number as u64
}

/// The place where a load is measured.
pub struct Place<'a> {
    /// Files that stay open until the kexec.
    pub kept: &'a mut Vec<OwnedFd>,
    /// Has luod load the next kernel.
    pub load: &'a dyn Fn() -> Result<()>,
}

/// Measures one side of a load.
pub fn run(
    load: Load,
    side: Side,
    count: usize,
    place: &mut Place<'_>,
) -> Result<Vec<Measurement>> {
    let kept = &mut *place.kept;
    match (load, side) {
        (Load::Pairs, Side::After) => pairs_after(count),
        (Load::Pairs, _) => pairs_before(count, kept),
        (Load::Sessions, Side::After) => sessions_after(count),
        (Load::Sessions, _) => sessions_before(count, kept),
        (Load::Files, Side::After) => files_after(count),
        (Load::Files, _) => files_before(count, kept),
        (Load::Library, Side::After) => library_after(count),
        (Load::Library, _) => library_before(count, kept),
        (Load::Agent, Side::After) => agent::after(count),
        (Load::Agent, _) => agent::before(count, place),
        (Load::Guest, Side::After) => vmm::after(count),
        (Load::Guest, _) => vmm::before(count, place),
        (Load::Threads, Side::After) => threads::after(count),
        (Load::Threads, _) => threads::before(count, kept),
    }
}

fn preserve_all(session: &OwnedFd, files: &[OwnedFd]) -> rustix::io::Result<()> {
    let one = |(number, file)| abi::preserve_fd(session, file, token(number));
    files.iter().enumerate().try_for_each(one)
}

fn retrieve_all(
    session: &OwnedFd,
    files: &mut Vec<OwnedFd>,
    count: usize,
) -> rustix::io::Result<()> {
    let mut one = |number| abi::retrieve_fd(session, token(number)).map(|it| files.push(it));
    (0..count).try_for_each(&mut one)
}

fn pairs_before(count: usize, kept: &mut Vec<OwnedFd>) -> Result<Vec<Measurement>> {
    let device = abi::open().context("open the device")?;
    let mut meters = [Meter::new("CREATE_SESSION"), Meter::new("PRESERVE_FD"), Meter::new("close")];
    let [create, preserve, close] = &mut meters;
    let file = page()?;
    for _ in 0..count {
        let session = create.time(|| abi::create(&device, name(0))).context("CREATE_SESSION")?;
        preserve.time(|| abi::preserve_fd(&session, &file, 1)).context("PRESERVE_FD")?;
        close.time(|| drop(session));
    }
    for number in 0..count {
        let session = abi::create(&device, name(number)).context("CREATE_SESSION")?;
        abi::preserve_fd(&session, page()?, 1).context("PRESERVE_FD")?;
        kept.push(session);
    }
    Ok(meters.map(Meter::done).into())
}

fn pairs_after(count: usize) -> Result<Vec<Measurement>> {
    let names = ["RETRIEVE_SESSION", "RETRIEVE_FD", "GET_NAME", "FINISH"];
    let mut meters = names.map(Meter::new);
    let [session_meter, file_meter, get_name, finish] = &mut meters;
    let device = abi::open().context("open the device")?;
    for number in 0..count {
        let name = name(number);
        let session =
            session_meter.time(|| abi::retrieve(&device, &name)).context("RETRIEVE_SESSION")?;
        let file = file_meter.time(|| abi::retrieve_fd(&session, 1)).context("RETRIEVE_FD")?;
        get_name.time(|| abi::name_of(&session)).context("GET_NAME")?;
        finish.time(|| abi::finish(&session)).context("FINISH")?;
        drop((session, file));
    }
    Ok(meters.map(Meter::done).into())
}

fn sessions_before(count: usize, kept: &mut Vec<OwnedFd>) -> Result<Vec<Measurement>> {
    let device = abi::open().context("open the device")?;
    kept.reserve(count);
    let (created, cost) = Meter::all("create sessions", count, || {
        (0..count).try_for_each(|number| abi::create(&device, name(number)).map(|it| kept.push(it)))
    });
    created.context("CREATE_SESSION")?;
    Ok(vec![cost])
}

fn sessions_after(count: usize) -> Result<Vec<Measurement>> {
    let (device, opened) = Meter::all("first open, many sessions", count, abi::open);
    let device = device.context("open the device")?;
    let mut sessions = Vec::with_capacity(count);
    let (retrieved, retrieve) = Meter::all("retrieve sessions", count, || {
        let mut one = |number| abi::retrieve(&device, name(number)).map(|it| sessions.push(it));
        (0..count).try_for_each(&mut one)
    });
    retrieved.context("RETRIEVE_SESSION")?;
    let (finished, finish) = Meter::all("finish and close sessions", count, || {
        sessions.drain(..).try_for_each(|session| abi::finish(&session))
    });
    finished.context("FINISH")?;
    Ok(vec![opened, retrieve, finish])
}

fn files_before(count: usize, kept: &mut Vec<OwnedFd>) -> Result<Vec<Measurement>> {
    let device = abi::open().context("open the device")?;
    let session = abi::create(&device, "files").context("CREATE_SESSION")?;
    let files = (0..count).map(|_| page()).collect::<Result<Vec<_>>>()?;
    let (preserved, cost) = Meter::all("preserve files", count, || preserve_all(&session, &files));
    preserved.context("PRESERVE_FD")?;
    kept.push(session);
    Ok(vec![cost])
}

fn files_after(count: usize) -> Result<Vec<Measurement>> {
    let (device, opened) = Meter::all("first open, many files", count, abi::open);
    let session = abi::retrieve(device.context("open the device")?, "files");
    let session = session.context("RETRIEVE_SESSION")?;
    let mut files = Vec::with_capacity(count);
    let (retrieved, retrieve) =
        Meter::all("retrieve files", count, || retrieve_all(&session, &mut files, count));
    retrieved.context("RETRIEVE_FD")?;
    let (finished, finish) = Meter::all("finish files", count, || abi::finish(&session));
    finished.context("FINISH")?;
    Ok(vec![opened, retrieve, finish])
}

/// The end of the name of a measurement of the raw ioctl, if the same is measured through liblu.
pub const BY_IOCTL: &str = " by ioctl";
/// The end of the name of the same measurement through liblu.
pub const BY_LIBLU: &str = " by liblu";
/// The end of the name of the same measurement by luod.
pub const BY_LUOD: &str = " by luod";

pub use agent::{CALL_OFF, LAST_READY};
pub use vmm::{RESTORE, RETRIEVE, STOP};

fn library_before(count: usize, kept: &mut Vec<OwnedFd>) -> Result<Vec<Measurement>> {
    let files = (0..count).map(|_| page()).collect::<Result<Vec<_>>>()?;
    let device = abi::open().context("open the device")?;
    // The first time, the kernel's caches are filled for all.
    let session = abi::create(&device, "library").context("CREATE_SESSION")?;
    preserve_all(&session, &files).context("PRESERVE_FD")?;
    drop(session);
    let session = abi::create(&device, "library").context("CREATE_SESSION")?;
    let (preserved, raw) =
        Meter::all("PRESERVE_FD by ioctl", count, || preserve_all(&session, &files));
    preserved.context("PRESERVE_FD")?;
    drop(session);
    let session = abi::create(device, "library").context("CREATE_SESSION")?;
    let session = OutgoingSession::try_from(session).context("a session of liblu")?;
    let (preserved, through) = Meter::all("PRESERVE_FD by liblu", count, || {
        let mut all = (0..).zip(&files);
        all.try_for_each(|(number, file)| session.preserve(Token::from(number), file))
    });
    preserved.context("preserve")?;
    kept.push(session.into());
    Ok(vec![raw, through])
}

fn library_after(count: usize) -> Result<Vec<Measurement>> {
    let session = abi::retrieve(abi::open().context("open the device")?, "library");
    let session = session.context("RETRIEVE_SESSION")?;
    let mut numbers = 0..u32::try_from(count).context("too many files")?;
    let mut files = Vec::with_capacity(count);
    // The first time, the file's handler does much more.
    retrieve_all(&session, &mut files, count).context("RETRIEVE_FD")?;
    files.clear();
    let (retrieved, raw) =
        Meter::all("RETRIEVE_FD by ioctl", count, || retrieve_all(&session, &mut files, count));
    retrieved.context("RETRIEVE_FD")?;
    files.clear();
    let session = IncomingSession::try_from(session).context("a session of liblu")?;
    let (retrieved, through) = Meter::all("RETRIEVE_FD by liblu", count, || {
        let mut one = |number| session.retrieve(Token::from(number)).map(|it| files.push(it));
        numbers.try_for_each(&mut one)
    });
    retrieved.context("retrieve")?;
    session.finish().context("finish")?;
    Ok(vec![raw, through])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_adds_up() {
        let mut meter = Meter::new("nothing");
        assert_eq!(meter.time(|| 7), 7);
        meter.time(|| ());
        let done = meter.done();
        assert_eq!((done.name.as_str(), done.count), ("nothing", 2));
    }
}
