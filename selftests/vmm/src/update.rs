// SPDX-License-Identifier: MIT OR Apache-2.0

//! The guest's part in updates of the host's kernel: `docs/clients.md` in code.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use liblu::{Claim, Claimed, Client, ErrorKind, Handover, Resumed, Workload};
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

/// Asks for the guest. `None` is a cold start. After an error it is not known whether a guest came, so none may be
/// started; nothing is lost, and the next start asks again.
pub(crate) fn claim(client: &mut Client) -> Result<Option<(Came, GuestMemory, State)>> {
    let session = match client.claim().context("claim the guest")? {
        Claim::ColdStart => return Ok(None),
        Claim::Session(session) => session,
    };
    Step::Claimed.done();
    if let Err(error) = session.manifest()
        && error.kind() == ErrorKind::Incomplete
    {
        return lost(session, client, "was not stopped before the kernel was left");
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
    if *is_spent != FRESH {
        return lost(session, client, "has run in this kernel, and its VMM has ended since");
    }
    let memory = liblu_vm_memory::retrieve(&session, MEMORY).context("retrieve the memory")?;
    Step::Retrieved.done();
    // What follows it is room.
    let (state, _) = postcard::take_from_bytes(bytes).context("understand the state")?;
    Ok(Some((Came { session, file }, memory, state)))
}

/// A guest whose memory is newer than its state cannot go on, as after any crash of its VMM.
fn lost<T>(session: Claimed, client: &mut Client, why: &str) -> Result<Option<T>> {
    eprintln!("vmm: the guest is lost: it {why}; it is started anew");
    client.finish(session).context("finish")?;
    Ok(None)
}

impl Came {
    /// The guest runs from here on: its state is of the past.
    pub(crate) fn spend(&self) -> Result<()> {
        self.file.write_all_at(&[SPENT], 0).context("mark the state")
    }

    /// The guest runs: the kernel may forget the session.
    pub(crate) fn finish(self, client: &mut Client) -> Result<()> {
        client.finish(self.session).context("finish")?;
        Step::Finished.done();
        Ok(())
    }
}

/// A guest with what it needs for updates.
pub(crate) struct Guest {
    pub(crate) vm: Vm,
    /// Where the state goes: preserved memory, so that nothing is to be preserved while the guest stands still.
    state: File,
}

impl Guest {
    pub(crate) fn new(vm: Vm) -> Result<Self> {
        let state = File::from(memfd_create("state", MemfdFlags::CLOEXEC).context("memfd_create")?);
        ftruncate(&state, room(&vm.config)).context("set the size of the state")?;
        Ok(Self { vm, state })
    }
}

impl Workload for Guest {
    type Error = anyhow::Error;

    /// Preserves the memory, while the guest runs.
    fn preserve(&mut self, session: &Handover) -> Result<()> {
        liblu_vm_memory::preserve(session, MEMORY, &self.vm.memory)
            .context("preserve the memory")?;
        session.preserve(STATE, &self.state).context("preserve the state")?;
        session.set_state(STATE, &[VERSION]).context("say the version of the state")?;
        Step::Preserved.done();
        Ok(())
    }

    /// Stops the guest, and writes its state into preserved memory.
    fn stop(&mut self, _: &Handover, _: Instant) -> Result<()> {
        Step::Preparing.done();
        self.vm.vcpus.pause()?;
        ensure!(self.vm.vcpus.end().is_none(), "the guest has ended");
        Step::Paused.done();
        let bytes =
            postcard::to_extend(&self.vm.save()?, vec![FRESH]).context("write the state")?;
        let (size, room) = (bytes.len() as u64, room(&self.vm.config));
        ensure!(size <= room, "the state has {size} bytes, and room is {room}");
        self.state.write_all_at(&bytes, 0).context("write the state")?;
        Step::Saved.done();
        Ok(())
    }

    fn ready(&mut self) {
        Step::Ready.done();
    }

    /// Lets the guest run again, in this process.
    fn resume(&mut self) -> Result<Resumed> {
        self.vm.vcpus.run();
        Step::Resumed.done();
        Ok(Resumed::WithSession)
    }

    fn ended(&self) -> Option<BorrowedFd<'_>> {
        Some(self.vm.ended.as_fd())
    }

    fn report(&mut self, message: &str) {
        eprintln!("vmm: {message}");
    }
}

fn room(config: &Config) -> u64 {
    ROOM * (1 + u64::from(config.vcpus))
}
