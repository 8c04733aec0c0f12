// SPDX-License-Identifier: MIT OR Apache-2.0

//! The process of Cloud Hypervisor, and the commands that it gets.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use luod_ch::Guest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Between two looks at something that takes milliseconds.
const PACE: Duration = Duration::from_millis(5);

/// How Cloud Hypervisor is started, and where its sockets are.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The program and its options.
    pub(crate) words: Vec<String>,
    pub(crate) remote: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Setup {
    fn api(&self) -> PathBuf {
        self.folder.join("api")
    }

    fn migration(&self) -> PathBuf {
        self.folder.join("migration")
    }

    /// Starts it with a new guest.
    pub(crate) fn boot(&self) -> Result<Vmm> {
        let options = self.words.get(1..).unwrap_or_default();
        Vmm::start(self, options)
    }

    /// Starts it, and gives it a guest. `spend` is called right before it may run the guest.
    pub(crate) fn restore<S>(&self, guest: &Guest, deadline: Instant, spend: S) -> Result<Vmm>
    where
        S: FnOnce() -> Result<()>,
    {
        let vmm = Vmm::start(self, &[])?;
        match self.give(guest, deadline, spend) {
            Ok(()) => Ok(vmm),
            Err(error) => {
                let _ = vmm.kill();
                Err(error)
            }
        }
    }

    /// Gives a guest to the one that runs.
    fn give<S>(&self, guest: &Guest, deadline: Instant, spend: S) -> Result<()>
    where
        S: FnOnce() -> Result<()>,
    {
        let socket = self.migration();
        remove(&socket)?;
        let url = format!("receiver_url=unix:{}", socket.display());
        let mut remote = self.command(&["receive-migration", &url])?;
        let connect = || loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("Cloud Hypervisor does not wait for the guest");
                }
                Err(_) => sleep(PACE),
            }
        };
        let sent = connect().and_then(|stream| {
            stream.set_read_timeout(Some(Duration::from_mins(1))).context("set a timeout")?;
            luod_ch::send(&stream, guest, || spend().map_err(|error| format!("{error:#}")))
                .context("send the guest")
        });
        if sent.is_err() {
            let _ = remote.kill();
        }
        let status = remote.wait().context("wait for ch-remote")?;
        sent?;
        if !status.success() {
            // Cloud Hypervisor itself has said that the guest runs.
            eprintln!("luod-ch: receive-migration ended with {status}");
        }
        Ok(())
    }

    /// Takes the guest from the one that runs; `keep` is called before Cloud Hypervisor gives it up.
    pub(crate) fn take<K>(&self, deadline: Instant, keep: K) -> Result<Guest>
    where
        K: FnOnce(&Guest) -> Result<()>,
    {
        let socket = self.migration();
        remove(&socket)?;
        let listener = UnixListener::bind(&socket).context("listen for the guest")?;
        let url = format!("destination_url=unix:{},local=on", socket.display());
        let mut remote = self.command(&["send-migration", &url])?;
        let received = accept(&listener, &mut remote, deadline).and_then(|stream| {
            let rest = deadline.saturating_duration_since(Instant::now()).max(PACE);
            stream.set_read_timeout(Some(rest)).context("set a timeout")?;
            luod_ch::receive(&stream, |guest| keep(guest).map_err(|error| format!("{error:#}")))
                .context("receive the guest")
        });
        if received.is_err() {
            // Without its peer it goes on with the guest.
            let _ = remote.kill();
        }
        let _ = remote.wait();
        let _ = fs::remove_file(&socket);
        received
    }

    /// A command that Cloud Hypervisor works on for as long as a guest is on its way.
    fn command(&self, words: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.remote);
        command.arg("--api-socket").arg(self.api()).args(words);
        command.spawn().with_context(|| format!("start {}", self.remote.display()))
    }
}

/// A Cloud Hypervisor that runs.
#[derive(Debug)]
pub(crate) struct Vmm {
    child: Child,
    ended: OwnedFd,
}

impl Vmm {
    fn start(setup: &Setup, options: &[String]) -> Result<Self> {
        let program = setup.words.first().context("no program")?;
        remove(&setup.api())?;
        let mut command = Command::new(program);
        command.arg("--api-socket").arg(format!("path={}", setup.api().display())).args(options);
        let child = command.spawn().with_context(|| format!("start {program}"))?;
        let pid = Pid::from_child(&child);
        let ended = pidfd_open(pid, PidfdFlags::empty()).context("watch Cloud Hypervisor")?;
        let mut vmm = Self { child, ended };
        // Commands before that would be refused.
        let end = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(setup.api()).is_err() {
            if let Some(status) = vmm.child.try_wait().context("wait for Cloud Hypervisor")? {
                bail!("Cloud Hypervisor does not start ({status}); its messages say why");
            }
            ensure!(Instant::now() < end, "Cloud Hypervisor takes no commands");
            sleep(PACE);
        }
        Ok(vmm)
    }

    /// The end of the process, for `poll(2)`.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    pub(crate) fn wait(mut self) -> Result<ExitStatus> {
        self.child.wait().context("wait for Cloud Hypervisor")
    }

    pub(crate) fn terminate(self) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("end Cloud Hypervisor")?;
        self.wait()
    }

    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().context("end Cloud Hypervisor")?;
        self.wait().map(drop)
    }
}

/// Waits for Cloud Hypervisor to connect, while the command that tells it to runs.
fn accept(listener: &UnixListener, remote: &mut Child, deadline: Instant) -> Result<UnixStream> {
    let short = Timespec::try_from(PACE).context("a time")?;
    loop {
        let mut polled = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut polled, Some(&short)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(listener.accept().context("accept")?.0),
            Err(errno) => return Err(errno).context("poll"),
        }
        if let Some(status) = remote.try_wait().context("wait for ch-remote")? {
            bail!("Cloud Hypervisor does not send the guest (send-migration ended with {status})");
        }
        ensure!(Instant::now() < deadline, "Cloud Hypervisor does not send the guest in time");
    }
}

/// Removes a socket that an earlier process has left.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
