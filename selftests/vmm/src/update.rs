// SPDX-License-Identifier: MIT OR Apache-2.0

//! The guest's part in updates of the host's kernel: `docs/clients.md` in code.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use liblu::{Claim, Claimed, ErrorKind, Event, Handover, Participant, Provider, Ready};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::config::Config;
use crate::memory::GuestMemory;
use crate::state::{State, VERSION};
use crate::step::Step;
use crate::vm::Vm;

/// The label of the memory, and of the state.
const MEMORY: &str = "memory";
const STATE: &str = "state";

/// Room for the state: what all guests have, and a virtual CPU. The parts that grow are the list of MSRs and
/// XSAVE, which is 11 KiB with the largest features of today.
const ROOM: u64 = 64 << 10;

/// An answer of the agent takes milliseconds; a longer time shows that something is wrong.
fn soon() -> Option<Instant> {
    Instant::now().checked_add(Duration::from_secs(30))
}

/// The first byte of the state: whether the guest has run since it was saved. Its memory is newer than its state
/// then, and a second start from that state would corrupt it.
const FRESH: u8 = 0;
const SPENT: u8 = 1;

/// A guest that came from the previous kernel.
pub(crate) struct Came {
    session: Claimed,
    /// The state, as a file.
    file: File,
}

/// Asks for the guest `name`. `None` is a cold start. After an error it is not known whether a guest came, so
/// none may be started; nothing is lost, and the next start asks again.
pub(crate) fn claim(provider: &Provider, name: &str) -> Result<Option<(Came, GuestMemory, State)>> {
    let session = match provider.claim(name, soon()).context("claim the guest")? {
        Claim::ColdStart => return Ok(None),
        Claim::Session(session) => session,
    };
    Step::Claimed.done();
    if let Err(error) = session.manifest()
        && error.kind() == ErrorKind::Incomplete
    {
        return lost(session, provider, name, "was not stopped before the kernel was left");
    }
    let version = session.state(STATE).context("the version of the state")?;
    ensure!(
        version == [VERSION],
        "the state has version {version:?}, and this program reads {VERSION}"
    );
    let file = File::from(session.retrieve(STATE).context("retrieve the state")?);
    let size = usize::try_from(file.metadata().context("the size of the state")?.len())?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0).context("read the state")?;
    let (is_spent, bytes) = bytes.split_first().context("the state is empty")?;
    let came = Came { session, file };
    if *is_spent != FRESH {
        return lost(
            came.session,
            provider,
            name,
            "has run in this kernel, and its VMM has ended since",
        );
    }
    let memory = liblu_vm_memory::retrieve(&came.session, MEMORY).context("retrieve the memory")?;
    Step::Retrieved.done();
    // What follows it is room.
    let (state, _) = postcard::take_from_bytes(bytes).context("understand the state")?;
    Ok(Some((came, memory, state)))
}

/// A guest whose memory is newer than its state cannot go on, as after any crash of its VMM.
fn lost<T>(session: Claimed, provider: &Provider, name: &str, why: &str) -> Result<Option<T>> {
    eprintln!("vmm: the guest is lost: it {why}; it is started anew");
    finish(session, provider, name).map(|()| None)
}

/// The kernel may forget the session.
fn finish(session: Claimed, provider: &Provider, name: &str) -> Result<()> {
    let finished = session.finish(soon()).map_err(liblu::Error::from).context("finish")?;
    if finished.custody.is_err() {
        // The agent may be starting again.
        provider.restored(name, soon()).context("tell the agent")?;
    }
    Step::Finished.done();
    Ok(())
}

impl Came {
    /// The guest runs from here on: its state is of the past.
    pub(crate) fn spend(&self) -> Result<()> {
        self.file.write_all_at(&[SPENT], 0).context("mark the state")
    }

    /// The guest runs: the kernel may forget the session.
    pub(crate) fn finish(self, provider: &Provider, name: &str) -> Result<()> {
        finish(self.session, provider, name)
    }
}

/// The session for the next update.
enum Session {
    /// The guest runs, and its memory is preserved.
    Open(Handover),
    /// The guest stands still, and its state is preserved too.
    Ready(Ready),
    /// Nothing is preserved, since something has failed.
    None,
}

/// The guest's part in updates.
pub(crate) struct Updates {
    provider: Provider,
    name: String,
    session: Session,
    /// Where the state goes: preserved memory, so that nothing is to be preserved while the guest stands still.
    state: File,
    participant: Option<Participant>,
}

impl Updates {
    /// Nothing is preserved yet: see [`Self::join`].
    pub(crate) fn new(provider: Provider, name: &str, vm: &Vm) -> Result<Self> {
        let state = File::from(memfd_create("state", MemfdFlags::CLOEXEC).context("memfd_create")?);
        ftruncate(&state, room(&vm.config)).context("set the size of the state")?;
        let session = Session::None;
        Ok(Self { provider, name: name.to_owned(), session, state, participant: None })
    }

    /// Does what is missing for the next update: preserves the memory, while the guest runs, and connects to the
    /// agent. It may have gone and come again; then it has kept the session.
    pub(crate) fn join(&mut self, vm: &Vm) -> Result<()> {
        if matches!(self.session, Session::None) {
            self.open(vm)?;
        }
        if self.participant.is_none() {
            let part = self.provider.participate(&[&self.name], soon()).context("take part")?;
            self.participant = Some(part);
        }
        Ok(())
    }

    /// Whether nothing is missing.
    pub(crate) fn is_joined(&self) -> bool {
        self.participant.is_some() && !matches!(self.session, Session::None)
    }

    fn open(&mut self, vm: &Vm) -> Result<()> {
        let handover = self.provider.open(&self.name, soon()).context("open a session")?;
        let preserve = || -> Result<()> {
            liblu_vm_memory::preserve(&handover, MEMORY, &vm.memory)
                .context("preserve the memory")?;
            handover.preserve(STATE, &self.state).context("preserve the state")?;
            handover.set_state(STATE, &[VERSION]).context("say the version of the state")
        };
        let preserved = preserve();
        if preserved.is_err() {
            drop(handover);
            let _ = self.provider.discard(&self.name, soon());
            return preserved;
        }
        self.session = Session::Open(handover);
        Step::Preserved.done();
        Ok(())
    }

    /// The connection to the agent, for `poll(2)`.
    pub(crate) fn participant(&self) -> Option<&Participant> {
        self.participant.as_ref()
    }

    /// Does what the agent wants.
    pub(crate) fn handle_events(&mut self, vm: &Vm) -> Result<()> {
        loop {
            let Some(participant) = &mut self.participant else { return Ok(()) };
            match participant.next() {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => self.handle(&event, vm)?,
                Err(error) => {
                    eprintln!("vmm: the agent has gone: {error}");
                    self.participant = None;
                    // An update that it prepared is off.
                    return self.resume(vm);
                }
            }
        }
    }

    fn handle(&mut self, event: &Event, vm: &Vm) -> Result<()> {
        match event {
            Event::Prepare { generation, .. } => {
                Step::Preparing.done();
                let made = self.make_ready(vm);
                let participant = self.participant.as_ref().context("no agent")?;
                match made {
                    Ok(()) => {
                        participant.ready(*generation, soon()).context("say that it is ready")?;
                        Step::Ready.done();
                        Ok(())
                    }
                    Err(error) => {
                        let reason = format!("{error:#}");
                        eprintln!("vmm: not ready: {reason}");
                        participant.refuse(*generation, &reason, soon()).context("refuse")?;
                        self.resume(vm)
                    }
                }
            }
            Event::Abort { reason, .. } => {
                eprintln!("vmm: the update is off: {reason}");
                self.resume(vm)
            }
            // The kernel is left at any moment.
            _ => Ok(()),
        }
    }

    /// Stops the guest, and writes its state into preserved memory.
    fn make_ready(&mut self, vm: &Vm) -> Result<()> {
        match std::mem::replace(&mut self.session, Session::None) {
            Session::None => {
                self.open(vm)?;
                self.make_ready(vm)
            }
            // The agent was started again, or asks twice.
            ready @ Session::Ready(_) => {
                self.session = ready;
                Ok(())
            }
            Session::Open(handover) => {
                let saved = self.stop(vm);
                match saved.and_then(|()| {
                    handover.ready().map_err(|failed| liblu::Error::from(failed).into())
                }) {
                    Ok(ready) => {
                        self.session = Session::Ready(ready);
                        Ok(())
                    }
                    Err(error) => {
                        let _ = self.provider.discard(&self.name, soon());
                        Err(error)
                    }
                }
            }
        }
    }

    fn stop(&self, vm: &Vm) -> Result<()> {
        vm.vcpus.pause()?;
        Step::Paused.done();
        let bytes = postcard::to_extend(&vm.save()?, vec![FRESH]).context("write the state")?;
        let room = room(&vm.config);
        ensure!(
            bytes.len() as u64 <= room,
            "the state has {} bytes, and room is {room}",
            bytes.len()
        );
        self.state.write_all_at(&bytes, 0).context("write the state")?;
        Step::Saved.done();
        Ok(())
    }

    /// Lets the guest run again, in this process.
    fn resume(&mut self, vm: &Vm) -> Result<()> {
        match std::mem::replace(&mut self.session, Session::None) {
            Session::Ready(ready) => {
                let handover = ready.abort().map_err(liblu::Error::from);
                self.session = Session::Open(handover.context("open the session again")?);
            }
            other => self.session = other,
        }
        vm.vcpus.run();
        Step::Resumed.done();
        Ok(())
    }

    /// Whether the guest is with the next kernel, so that this process may end.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.session, Session::Ready(_))
    }

    /// The guest has ended for good: gives its session up.
    pub(crate) fn discard(self) -> Result<()> {
        drop(self.session);
        self.provider.discard(&self.name, soon()).context("give up the session")
    }
}

fn room(config: &Config) -> u64 {
    ROOM * (1 + u64::from(config.vcpus))
}
