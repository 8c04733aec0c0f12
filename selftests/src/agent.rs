// SPDX-License-Identifier: MIT OR Apache-2.0

//! luod without a service manager, and its events.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use liblu::{Agent, Event, Participant};
use rustix::event::{PollFd, PollFlags, poll};

/// The program.
const LUOD: &str = "/bin/luod";

/// The folder of its policy.
const POLICY: &str = "/etc/luod";

/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_mins(1);

/// A luod that runs. It goes on when this is dropped.
#[derive(Debug)]
pub struct Luod(Child);

impl Luod {
    /// Starts luod with this policy, and waits until it serves.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn start(policy: &str) -> Result<Self> {
        fs::create_dir_all(POLICY).with_context(|| format!("make {POLICY}"))?;
        fs::write(format!("{POLICY}/luod.toml"), policy).context("write the policy")?;
        // One that was killed has left it.
        let _ = fs::remove_file(Agent::SOCKET);
        let mut child = Command::new(LUOD).spawn().with_context(|| format!("start {LUOD}"))?;
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(Agent::SOCKET).is_err() {
            if let Some(status) = child.try_wait().context("wait for luod")? {
                bail!("luod ended with {status}");
            }
            ensure!(Instant::now() < end, "luod does not serve");
            sleep(Duration::from_millis(1));
        }
        Ok(Self(child))
    }

    /// The memory that it has, in bytes.
    ///
    /// # Errors
    ///
    /// If the kernel does not say.
    pub fn resident(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.0.id());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        let kib: u64 = kib.context("no VmRSS")?.trim().parse().context("VmRSS")?;
        Ok(kib * 1024)
    }

    /// Kills it.
    ///
    /// # Errors
    ///
    /// If it has ended by itself.
    pub fn kill(mut self) -> Result<()> {
        let ended = self.0.try_wait().context("look at luod")?;
        ensure!(ended.is_none(), "luod has ended by itself: {ended:?}");
        self.0.kill().context("kill luod")?;
        self.0.wait().map(drop).context("wait for luod")
    }
}

/// The next event of an update, waited for.
///
/// # Errors
///
/// If luod has gone.
pub fn next(participant: &mut Participant) -> Result<Event> {
    loop {
        if let Some(event) = participant.next().context("an event of luod")? {
            return Ok(event);
        }
        let mut polled = [PollFd::new(&*participant, PollFlags::IN)];
        poll(&mut polled, None).context("poll")?;
    }
}
