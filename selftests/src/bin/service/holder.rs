// SPDX-License-Identifier: MIT OR Apache-2.0

//! A process that has the device open and should not.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use sd_notify::NotifyState;
use selftests::scenario::Side;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use crate::memory::Memory;
use crate::store::{self, Store};

/// The argument of a process that holds the device for a second.
pub(crate) const HOLD_A_SECOND: &str = "hold-a-second";

const SECOND: Duration = Duration::from_secs(1);

/// The proof that the device was held while the host was shutting down.
const PROOF: &str = "held";

fn open() -> Result<File> {
    let device = || OpenOptions::new().read(true).write(true).open("/dev/liveupdate");
    let file = device().context("open /dev/liveupdate")?;
    let second = device().err().and_then(|error| Errno::from_io_error(&error));
    ensure!(second == Some(Errno::BUSY), "a second open is {second:?}, not EBUSY");
    Ok(file)
}

/// Opens the device, says so, and goes a second later.
pub(crate) fn hold_a_second() -> Result<()> {
    let _device = open()?;
    let mut output = std::io::stdout();
    output.write_all(b"+").and_then(|()| output.flush()).context("say so")?;
    sleep(SECOND);
    Ok(())
}

/// Before the kexec: holds the device, and ends with it open a second after systemd wants the process to
/// end. After it: that has happened.
pub(crate) fn check(mut store: Store, side: Side, hop: usize) -> Result<()> {
    let ready = || sd_notify::notify(&[NotifyState::Ready]).context("say that it is ready");
    if side == Side::After {
        Memory::new(PROOF, hop - 1, 100).check(&store.take(PROOF)?)?;
        store::remove(PROOF)?;
        return ready();
    }
    let mut signals = Signals::new([SIGTERM]).context("wait for signals")?;
    // The end of the process closes it, as after a crash.
    std::mem::forget(open()?);
    ready()?;
    signals.forever().next();
    sleep(SECOND);
    store::give(PROOF, Memory::new(PROOF, hop, 100).write()?)
}
