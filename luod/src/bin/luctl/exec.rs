// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs that survive updates without knowing of them.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use liblu::{Claim, Claimed, ErrorKind, Event, Handover, Participant, Provider, Ready, Standstill};
use luod::polled::polled;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::arguments::Exec;
use crate::failure::Failure;
use crate::files::{agent, soon};

/// A pause before luod is asked again after it has gone.
const PAUSE: Duration = Duration::from_secs(1);

/// A memfd of the program.
struct Memory {
    label: String,
    number: i32,
    memfd: OwnedFd,
}

pub(crate) async fn exec(folder: &Path, exec: Exec) -> Result<ExitCode, Failure> {
    let provider = Provider::agent(agent(folder));
    let claimed = match provider.claim(&exec.label, soon())? {
        Claim::Session(claimed) => Some(claimed),
        Claim::ColdStart => None,
    };
    let memory = memory(claimed.as_ref(), &exec)?;
    // Before anything is finished: what fails here leaves the previous kernel's session as it is.
    let handover = provider.open(&exec.label, soon())?;
    let mut child = spawn(&exec.command, &memory)?;
    // The program has its memory now, so the session of the previous kernel may end. Whatever fails from here on,
    // the program goes on.
    if let Some(claimed) = claimed
        && let Err(failed) = claimed.finish(soon())
    {
        eprintln!("luctl: {}", failed.error());
    }
    let session = State::Open(handover);
    let mut updates = Updates { provider: &provider, exec: &exec, memory, preserved: 0, session };
    if let Err(error) = updates.preserve() {
        eprintln!("luctl: {error}; it is tried again when an update begins");
    }
    let status = updates.follow(&mut child).await?;
    if let State::Open(_) = updates.session {
        // The program has ended by itself, and needs its memory no more.
        let _ = provider.discard(&exec.label, soon());
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(u8::try_from(code.unwrap_or(1)).unwrap_or(1).into())
}

/// The memory of the program, from the previous kernel or new.
fn memory(claimed: Option<&Claimed>, exec: &Exec) -> Result<Vec<Memory>, Failure> {
    let mut all = Vec::new();
    for (label, number) in &exec.fd {
        let is_there = match claimed {
            Some(claimed) => claimed.manifest()?.entry(label).is_some(),
            None => false,
        };
        let memfd = match claimed.filter(|_| is_there) {
            Some(claimed) => claimed.retrieve(label)?,
            None => create(label, exec)?,
        };
        all.push(Memory { label: label.clone(), number: *number, memfd });
    }
    Ok(all)
}

fn create(label: &str, exec: &Exec) -> Result<OwnedFd, Failure> {
    let size = exec.create.iter().find(|(name, _)| name == label).map(|(_, size)| *size);
    let size = size.ok_or_else(|| {
        Failure::new(format!(
            "there is no memory {label:?} from the previous kernel; give `--create {label}=SIZE` for a cold \
             start"
        ))
    })?;
    let failed = |errno: rustix::io::Errno| Failure::new(format!("no memory {label:?}: {errno}"));
    let memfd = memfd_create(label, MemfdFlags::CLOEXEC).map_err(failed)?;
    ftruncate(&memfd, size).map_err(failed)?;
    Ok(memfd)
}

fn spawn(command: &[String], memory: &[Memory]) -> Result<Child, Failure> {
    let [program, arguments @ ..] = command else {
        return Err(Failure::new("no program is given"));
    };
    let failed = |error: io::Error| Failure::new(format!("{program}: {error}"));
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    let mut mappings = Vec::new();
    for it in memory {
        let parent_fd = it.memfd.try_clone().map_err(failed)?;
        mappings.push(FdMapping { parent_fd, child_fd: it.number });
    }
    command.fd_mappings(mappings).map_err(|_| {
        Failure::new("two memfds have one number; give each `--fd NAME=N` another N")
    })?;
    Command::from(command).spawn().map_err(failed)
}

/// The session for the next kernel.
enum State {
    Open(Handover),
    Ready(Ready),
    /// It is between the two.
    Gone,
}

struct Updates<'a> {
    provider: &'a Provider,
    exec: &'a Exec,
    /// The memfds, kept until they are preserved.
    memory: Vec<Memory>,
    /// How many of them are.
    preserved: usize,
    session: State,
}

impl Updates<'_> {
    /// Takes part in updates until the program ends.
    async fn follow(&mut self, child: &mut Child) -> Result<std::process::ExitStatus, Failure> {
        let pid = child.id().unwrap_or_default();
        let failed = |error: io::Error| Failure::new(error.to_string());
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let mut updates = None;
        let mut standstill = Standstill::default();
        loop {
            if updates.is_none() {
                let joined = self.provider.participate(&[&self.exec.label], soon());
                if standstill.is_over(&joined) {
                    self.go_on(pid).await;
                }
                updates = joined.ok().and_then(followed);
            }
            let event = async {
                let Some((participant, readable)) = &mut updates else {
                    sleep(PAUSE).await;
                    return Ok(None);
                };
                next(participant, readable).await
            };
            tokio::select! {
                status = child.wait() => return status.map_err(failed),
                _ = terminate.recv() => pass_on(pid, Signal::TERM),
                _ = interrupt.recv() => pass_on(pid, Signal::INT),
                _ = hangup.recv() => pass_on(pid, Signal::HUP),
                event = event => match event {
                    Ok(Some(event)) => {
                        standstill.heard(&event);
                        if let Some((participant, _)) = &updates {
                            self.handle(participant, event, pid).await;
                        }
                    }
                    Ok(None) => {}
                    // luod has gone, as for an upgrade. It keeps the session.
                    Err(_) => {
                        updates = None;
                        if matches!(self.session, State::Ready(_)) {
                            standstill.hung_up();
                        }
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    async fn handle(&mut self, participant: &Participant, event: Event, pid: u32) {
        match event {
            Event::Prepare { generation, deadline, .. } => {
                let left = deadline.saturating_duration_since(std::time::Instant::now());
                let hook = self.exec.on_prepare.as_deref();
                let answer = match timeout(left, run(hook, pid)).await {
                    Ok(Ok(())) => self.ready(),
                    Ok(Err(why)) => Err(why),
                    Err(_) => Err("--on-prepare takes too long".to_owned()),
                };
                let told = match answer {
                    Ok(()) => participant.ready(generation, soon()),
                    Err(why) => {
                        eprintln!("luctl: cannot take part in the update: {why}");
                        participant.refuse(generation, &why, soon())
                    }
                };
                if let Err(error) = told {
                    eprintln!("luctl: {error}");
                    // luod does not have the session, so it would not cross.
                    if error.kind() == ErrorKind::NoFile {
                        let _ = participant.refuse(generation, &error.to_string(), soon());
                        self.go_on(pid).await;
                        self.open_anew();
                    }
                }
            }
            Event::Abort { .. } => self.go_on(pid).await,
            _ => {}
        }
    }

    /// The update is off.
    async fn go_on(&mut self, pid: u32) {
        self.open_again();
        if let Err(why) = run(self.exec.on_abort.as_deref(), pid).await {
            eprintln!("luctl: {why}");
        }
    }

    /// Preserves what is not preserved yet.
    fn preserve(&mut self) -> Result<(), liblu::Error> {
        if let State::Open(handover) = &self.session {
            for it in self.memory.iter().skip(self.preserved) {
                handover.preserve(&it.label, &it.memfd)?;
                self.preserved += 1;
            }
        }
        Ok(())
    }

    fn ready(&mut self) -> Result<(), String> {
        self.preserve().map_err(|error| error.to_string())?;
        match std::mem::replace(&mut self.session, State::Gone) {
            State::Open(handover) => match handover.ready() {
                Ok(ready) => {
                    self.session = State::Ready(ready);
                    Ok(())
                }
                Err(failed) => {
                    let (handover, error) = failed.into_parts();
                    self.session = State::Open(handover);
                    Err(error.to_string())
                }
            },
            ready => {
                self.session = ready;
                Ok(())
            }
        }
    }

    /// Begins a new session, and preserves everything again.
    fn open_anew(&mut self) {
        self.session = State::Gone;
        self.preserved = 0;
        let opened = self.provider.open(&self.exec.label, soon());
        let preserved = opened.and_then(|handover| {
            self.session = State::Open(handover);
            self.preserve()
        });
        if let Err(error) = preserved {
            eprintln!("luctl: {error}");
        }
    }

    fn open_again(&mut self) {
        if let State::Ready(ready) = std::mem::replace(&mut self.session, State::Gone) {
            match ready.abort() {
                Ok(handover) => self.session = State::Open(handover),
                Err(failed) => {
                    let (ready, error) = failed.into_parts();
                    eprintln!("luctl: {error}");
                    self.session = State::Ready(ready);
                }
            }
        }
    }
}

/// A participant, and its descriptor in the event loop.
fn followed(participant: Participant) -> Option<(Participant, AsyncFd<OwnedFd>)> {
    let copy = participant.as_fd().try_clone_to_owned().ok()?;
    let readable = polled(copy, Interest::READABLE).ok()?;
    Some((participant, readable))
}

/// The next event; `None` if there is none yet.
async fn next(
    participant: &mut Participant,
    readable: &AsyncFd<OwnedFd>,
) -> Result<Option<Event>, io::Error> {
    if let Some(event) = participant.next().map_err(io::Error::other)? {
        return Ok(Some(event));
    }
    readable.readable().await?.clear_ready();
    participant.next().map_err(io::Error::other)
}

/// Runs a hook of the administrator.
async fn run(hook: Option<&str>, pid: u32) -> Result<(), String> {
    let Some(hook) = hook else { return Ok(()) };
    let mut command = Command::new("/bin/sh");
    command.args(["-c", hook]).env("LUCTL_PID", pid.to_string()).kill_on_drop(true);
    let status = command.status().await.map_err(|error| format!("/bin/sh: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{hook:?} has failed ({status})")) }
}

fn pass_on(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended.
        let _ = kill_process(pid, signal);
    }
}
