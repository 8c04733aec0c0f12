// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fd store of a unit: what systemd passes to it, and what the unit gives.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use liblu::{IncomingSession, LiveUpdate, SessionName, Token};
use rustix::fs::SealFlags;
use sd_notify::NotifyState;
use selftests::scenario::Side;

use crate::holder::HOLD_A_SECOND;
use crate::memory::Memory;

/// The files of the fd store, by their names there.
pub(crate) struct Store(BTreeMap<String, OwnedFd>);

impl Store {
    /// Takes over what systemd has passed. To be called once.
    pub(crate) fn of_systemd() -> Result<Self> {
        let passed = sd_notify::listen_fds_with_names().context("read what systemd passes")?;
        let own = |(number, name): (_, String)| {
            // SAFETY: systemd has opened the descriptor for this process, which owns it from its start.
            // This is called once, so no other owner of this number exists.
            #[expect(unsafe_code, reason = "a number from the environment becomes a descriptor")]
            let fd = unsafe { OwnedFd::from_raw_fd(number) };
            (name, fd)
        };
        Ok(Self(passed.map(own).collect()))
    }

    /// Takes a file out of it; systemd keeps it.
    pub(crate) fn take(&mut self, name: &str) -> Result<OwnedFd> {
        let there = || self.0.keys().cloned().collect::<Vec<_>>().join(", ");
        let missing = format!("the fd store has no `{name}`, but: {}", there());
        self.0.remove(name).context(missing)
    }

    /// Nothing is in it.
    pub(crate) fn expect_empty(&self) -> Result<()> {
        let names = self.0.keys().cloned().collect::<Vec<_>>().join(", ");
        ensure!(names.is_empty(), "the fd store of a fresh machine has: {names}");
        Ok(())
    }
}

/// Gives a file to systemd.
pub(crate) fn give(name: &str, file: impl AsFd) -> Result<()> {
    let state = [NotifyState::FdStore, NotifyState::FdName(name)];
    sd_notify::notify_with_fds(&state, &[file.as_fd()])
        .with_context(|| format!("give `{name}` to the fd store"))
}

/// Tells systemd to close what it has under this name.
pub(crate) fn remove(name: &str) -> Result<()> {
    let state = [NotifyState::FdStoreRemove, NotifyState::FdName(name)];
    sd_notify::notify(&state).with_context(|| format!("remove `{name}` from the fd store"))
}

/// The memfds that systemd preserves by itself, and their sizes. They are made in the first hop, and
/// are the same in all others.
const MEMFDS: [(&str, usize); 2] = [("small", 100), ("large", 3 << 20)];

/// A session of this unit's own, in its fd store.
const DIRECT: &str = "vmtest-direct";

/// The token of its only file.
const TOKEN: u32 = 42;

/// How long the other process holds the device at the least.
const HELD: Duration = Duration::from_millis(900);

/// Two memfds and a session are in the fd store after each kexec.
pub(crate) fn check(mut store: Store, side: Side, hop: usize) -> Result<()> {
    match side {
        Side::Before => {
            if hop == 1 {
                store.expect_empty()?;
                for (name, size) in MEMFDS {
                    let file = Memory::new(name, 1, size).write()?;
                    // One can still be written to, one cannot.
                    if name == "small" {
                        rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).context("seal")?;
                    }
                    give(name, &file)?;
                }
            }
            give_session(hop)
        }
        Side::After | Side::Here => {
            for (name, size) in MEMFDS {
                let file = store.take(name)?;
                Memory::new(name, 1, size).check(&file)?;
                let seals = rustix::fs::fcntl_get_seals(&file).context("read the seals")?;
                let is_sealed = seals.contains(SealFlags::WRITE);
                ensure!(is_sealed == (name == "small"), "`{name}` has the seals {seals:?}");
            }
            let session = IncomingSession::from_fd(store.take(DIRECT)?, &direct()?)?;
            let file = session.retrieve(Token::from(TOKEN)).context("RETRIEVE_FD")?;
            Memory::new(DIRECT, hop - 1, 4096).check(&file)?;
            session.finish().context("FINISH")?;
            remove(DIRECT)
        }
    }
}

fn direct() -> Result<SessionName> {
    SessionName::new(DIRECT).context("a name")
}

/// Makes a session while another process holds the device for a second.
fn give_session(hop: usize) -> Result<()> {
    let mut holder = Holder::start()?;
    let begin = Instant::now();
    let session = LiveUpdate::new().create(&direct()?).context("CREATE_SESSION")?;
    ensure!(begin.elapsed() >= HELD, "the device was free after {:?}", begin.elapsed());
    holder.end()?;
    let file = Memory::new(DIRECT, hop, 4096).write()?;
    session.preserve(Token::from(TOKEN), &file).context("PRESERVE_FD")?;
    give(DIRECT, &session)
}

/// A process that holds the device for a second.
struct Holder(Child);

impl Holder {
    /// Starts it, and waits until it has the device.
    fn start() -> Result<Self> {
        let program = std::env::current_exe().context("this program")?;
        let child = Command::new(program).arg(HOLD_A_SECOND).stdout(Stdio::piped()).spawn();
        let mut child = child.context("start a process that holds the device")?;
        let mut word = [0];
        let said = child.stdout.as_mut().context("no pipe")?.read_exact(&mut word);
        let holder = Self(child);
        said.context("the other process has not opened the device")?;
        Ok(holder)
    }

    fn end(&mut self) -> Result<()> {
        let status = self.0.wait().context("wait for the other process")?;
        ensure!(status.success(), "the other process: {status}");
        Ok(())
    }
}
