// SPDX-License-Identifier: MIT OR Apache-2.0

//! Virtual CPUs: a thread for each, and how all of them stand still.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvm_ioctls::{VcpuExit, VcpuFd};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use crate::devices::{Devices, Wish};

/// How long a thread may take to answer a signal before it gets another one.
const PATIENCE: Duration = Duration::from_millis(1);

/// What the threads are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    StandStill,
    Run,
}

/// How the guest has ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It has reset itself, or shut down.
    Reset,
    /// KVM cannot run it any more.
    Failed(String),
}

/// What all threads share.
struct Shared {
    state: Mutex<Common>,
    changed: Condvar,
    devices: Mutex<Devices>,
    /// Is written to when the guest has ended.
    ended: OwnedFd,
}

struct Common {
    goal: Goal,
    /// Threads that stand still.
    still: usize,
    end: Option<End>,
}

/// A virtual CPU, which its thread has while it runs.
struct Vcpu {
    fd: Mutex<VcpuFd>,
    /// How often KVM came back from it.
    runs: AtomicU64,
}

/// The virtual CPUs of a guest. They stand still at first.
pub(crate) struct Vcpus {
    shared: Arc<Shared>,
    vcpus: Vec<(Arc<Vcpu>, JoinHandle<()>)>,
}

/// The lock, also if a thread has panicked: then the guest ends anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn nothing(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

impl Vcpus {
    pub(crate) fn new(fds: Vec<VcpuFd>, devices: Devices, ended: OwnedFd) -> Result<Self> {
        // The signal interrupts KVM_RUN, and does nothing else.
        register_signal_handler(SIGRTMIN(), nothing).context("handle a signal")?;
        let common = Common { goal: Goal::StandStill, still: 0, end: None };
        let shared = Arc::new(Shared {
            state: Mutex::new(common),
            changed: Condvar::new(),
            devices: Mutex::new(devices),
            ended,
        });
        let start = |(number, fd): (usize, VcpuFd)| {
            let vcpu = Arc::new(Vcpu { fd: Mutex::new(fd), runs: AtomicU64::new(0) });
            let (theirs, shared) = (vcpu.clone(), shared.clone());
            let thread = thread::Builder::new()
                .name(format!("vcpu {number}"))
                .spawn(move || theirs.live(&shared))
                .context("start a thread")?;
            Ok((vcpu, thread))
        };
        let vcpus = fds.into_iter().enumerate().map(start).collect::<Result<_>>()?;
        Ok(Self { shared, vcpus })
    }

    /// Lets all run.
    pub(crate) fn run(&self) {
        lock(&self.shared.state).goal = Goal::Run;
        self.shared.changed.notify_all();
    }

    /// Stops all, and waits until they stand still. Instructions that KVM has begun are complete then.
    pub(crate) fn pause(&self) -> Result<()> {
        let mut state = lock(&self.shared.state);
        state.goal = Goal::StandStill;
        while state.still < self.vcpus.len() {
            // One that came before KVM_RUN is lost; therefore it is sent again.
            self.kick()?;
            let waited = self.shared.changed.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Waits until KVM has come back from each virtual CPU: so each has run, or waits as it did before.
    pub(crate) fn wait_until_run(&self) -> Result<()> {
        let has_run = |(vcpu, _): &(Arc<Vcpu>, _)| vcpu.runs.load(Ordering::SeqCst) > 0;
        while !self.vcpus.iter().all(has_run) {
            thread::sleep(PATIENCE);
            if let Some(end) = self.end() {
                bail!("the guest has ended before it ran: {end:?}");
            }
            // One that computes, or sleeps, does not come back by itself.
            self.kick()?;
        }
        Ok(())
    }

    fn kick(&self) -> Result<()> {
        let kick = |(_, thread): &(_, JoinHandle<()>)| thread.kill(SIGRTMIN());
        self.vcpus.iter().try_for_each(kick).context("interrupt a virtual CPU")
    }

    /// Calls `with` for each virtual CPU and for the devices, while all stand still.
    pub(crate) fn save<T>(&self, with: impl Fn(&VcpuFd) -> Result<T>) -> Result<Vec<T>> {
        self.vcpus.iter().map(|(vcpu, _)| with(&lock(&vcpu.fd))).collect()
    }

    pub(crate) fn devices(&self) -> MutexGuard<'_, Devices> {
        lock(&self.shared.devices)
    }

    /// How the guest has ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        lock(&self.shared.state).end.clone()
    }
}

impl Vcpu {
    /// Runs this virtual CPU until the guest ends.
    fn live(&self, shared: &Shared) {
        loop {
            {
                let mut state = lock(&shared.state);
                if state.goal == Goal::StandStill {
                    state.still += 1;
                    shared.changed.notify_all();
                    while state.goal == Goal::StandStill {
                        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    }
                    state.still -= 1;
                }
            }
            if let Some(end) = self.run(shared) {
                lock(&shared.state).end.get_or_insert(end);
                // It is only full if the end was told before.
                let _ = rustix::io::write(&shared.ended, &1_u64.to_ne_bytes());
                let mut state = lock(&shared.state);
                state.still += 1;
                shared.changed.notify_all();
                return;
            }
        }
    }

    /// Runs it until it is to stand still.
    fn run(&self, shared: &Shared) -> Option<End> {
        let mut fd = lock(&self.fd);
        while lock(&shared.state).goal == Goal::Run {
            if let Some(end) = self.run_once(&mut fd, shared) {
                return Some(end);
            }
        }
        // An instruction for which KVM needed this program is completed by the next KVM_RUN.
        fd.set_kvm_immediate_exit(1);
        let end = self.run_once(&mut fd, shared);
        fd.set_kvm_immediate_exit(0);
        end
    }

    fn run_once(&self, fd: &mut VcpuFd, shared: &Shared) -> Option<End> {
        let exit = fd.run();
        self.runs.fetch_add(1, Ordering::SeqCst);
        match exit {
            Ok(VcpuExit::IoIn(port, data)) => lock(&shared.devices).read(port, data),
            Ok(VcpuExit::IoOut(port, data)) => {
                if lock(&shared.devices).write(port, data) == Wish::Reset {
                    return Some(End::Reset);
                }
            }
            // There is nothing behind other addresses.
            Ok(VcpuExit::MmioRead(_, data)) => data.fill(0xff),
            Ok(VcpuExit::MmioWrite(..)) => {}
            Ok(VcpuExit::SystemEvent(..)) => return Some(End::Reset),
            // A triple fault among them: with its place it can be told whose fault it was.
            Ok(other) => {
                let why = format!("{other:?}");
                let place = fd.get_regs().map_or(0, |registers| registers.rip);
                return Some(End::Failed(format!("{why} at {place:#x}")));
            }
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
            Err(error) => return Some(End::Failed(format!("KVM_RUN: {error}"))),
        }
        None
    }
}
