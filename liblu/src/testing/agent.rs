// SPDX-License-Identifier: MIT OR Apache-2.0

//! An agent, inside of this process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::FakeKernel;
use crate::agent::protocol::{Abort, Commit, EventReply, Prepare};
use crate::{Agent, Result};

mod serve;

/// An agent with a socket, for a [`FakeKernel`]. It has one owner, the test, and its policy allows
/// everything. Each claim is that of another client, since a test is one process.
///
/// ```
/// use liblu::testing::{FakeAgent, FakeKernel};
///
/// let kernel = FakeKernel::new();
/// let agent = FakeAgent::new(&kernel)?;
/// let session = agent.agent().open("vm-17", None)?;
/// drop(session);
/// agent.kexec();
/// let session = agent.agent().claim("vm-17", None)?;
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Debug)]
pub struct FakeAgent {
    folder: PathBuf,
    shared: Arc<Shared>,
}

/// The answer of a participant to an update.
///
/// ```
/// use liblu::testing::Answer;
///
/// assert_ne!(Answer::Ready, Answer::Refused("no".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// It is ready.
    Ready,
    /// It cannot take part, for this reason.
    Refused(String),
}

#[derive(Debug)]
struct Shared {
    kernel: FakeKernel,
    /// Held while a call is answered. A thread has a copy of the session until its reply is sent; without this, a
    /// session that the next call discards could still be open.
    answering: Mutex<()>,
    state: Mutex<State>,
    /// An answer has come, or a participant.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_ended: bool,
    outgoing: HashMap<String, OwnedFd>,
    incoming: HashMap<String, OwnedFd>,
    /// Labels of sessions that a client has, which lives.
    claimed: HashSet<String>,
    participants: BTreeMap<u64, UnixStream>,
    next: u64,
    generation: u64,
    /// The time that the participants of the update that is being prepared have, in milliseconds.
    preparing: Option<u64>,
    answers: BTreeMap<u64, Answer>,
    /// The kernel is being left.
    is_committed: bool,
    /// Calls that fail: method and error.
    failing: Vec<(String, String)>,
}

static AGENTS: AtomicU32 = AtomicU32::new(0);

/// The tests of a program should not take longer.
const PATIENCE: Duration = Duration::from_secs(10);

impl FakeAgent {
    /// An agent that was just started. It takes all incoming sessions of the kernel into custody.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`](crate::ErrorKind::System) if there can be no socket.
    ///
    /// ```
    /// let agent = liblu::testing::FakeAgent::new(&liblu::testing::FakeKernel::new())?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn new(kernel: &FakeKernel) -> Result<Self> {
        let failed = |error: std::io::Error| {
            let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
            crate::Error::system("make the socket of a fake agent", errno)
        };
        let number = AGENTS.fetch_add(1, Ordering::Relaxed);
        let folder = format!("liblu-fake-agent-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let shared = Arc::new(Shared {
            kernel: kernel.clone(),
            answering: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let agent = Self { folder, shared };
        agent.take_custody();
        let listener = UnixListener::bind(agent.path()).map_err(failed)?;
        let shared = agent.shared.clone();
        std::thread::spawn(move || serve::serve(&listener, &shared));
        Ok(agent)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("io.liveupdate.Agent")
    }

    /// The client's end of it.
    ///
    /// ```
    /// # let kernel = liblu::testing::FakeKernel::new();
    /// let agent = liblu::testing::FakeAgent::new(&kernel)?;
    /// let session = agent.agent().open("vm-17", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn agent(&self) -> Agent {
        Agent::at(self.path())
    }

    /// Goes to the next kernel: participants are disconnected, and incoming sessions are in custody.
    ///
    /// ```
    /// # let kernel = liblu::testing::FakeKernel::new();
    /// # let agent = liblu::testing::FakeAgent::new(&kernel)?;
    /// agent.kexec();
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn kexec(&self) {
        self.shared.kernel.kexec();
        {
            let mut state = self.shared.lock();
            state.outgoing.clear();
            state.incoming.clear();
            state.claimed.clear();
            state.hang_up();
            state.preparing = None;
            state.is_committed = false;
        }
        self.take_custody();
    }

    /// The agent is started again: participants are disconnected, and an update that was being prepared is off.
    ///
    /// ```
    /// # let kernel = liblu::testing::FakeKernel::new();
    /// # let agent = liblu::testing::FakeAgent::new(&kernel)?;
    /// agent.restart();
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn restart(&self) {
        let mut state = self.shared.lock();
        state.hang_up();
        state.preparing = None;
    }

    /// The next call of this method fails with this error of the interface, such as `NotOpen`.
    ///
    /// ```
    /// # let kernel = liblu::testing::FakeKernel::new();
    /// # let agent = liblu::testing::FakeAgent::new(&kernel)?;
    /// agent.fail("Open", "NotAllowed");
    /// assert!(agent.agent().open("vm-17", None).is_err());
    /// agent.agent().open("vm-17", None)?;
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn fail(&self, method: &str, error: &str) {
        self.shared.lock().failing.push((method.to_owned(), error.to_owned()));
    }

    /// The client that has claimed a session is gone: another can claim it. A client of a test is the test
    /// itself, so this cannot be seen.
    ///
    /// ```
    /// # use liblu::testing::{FakeAgent, FakeKernel};
    /// # let kernel = FakeKernel::new();
    /// # let agent = FakeAgent::new(&kernel)?;
    /// agent.client_died("vm-17");
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn client_died(&self, label: &str) {
        self.shared.lock().claimed.remove(label);
    }

    fn take_custody(&self) {
        let device = self.shared.kernel.device();
        for name in self.shared.kernel.sessions() {
            if let Ok(session) = device.retrieve(&name) {
                let label = name.to_string();
                let label = label.strip_prefix("fake/").unwrap_or(&label).to_owned();
                self.shared.lock().incoming.insert(label, session.into_fd());
            }
        }
    }

    /// Begins an update: all participants get the event. Returns the number of the update.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let kernel = liblu::testing::FakeKernel::new();
    /// # let agent = liblu::testing::FakeAgent::new(&kernel)?;
    /// let generation = agent.prepare(Duration::from_secs(5));
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn prepare(&self, deadline: Duration) -> u64 {
        let mut state = self.shared.lock();
        state.generation += 1;
        state.answers.clear();
        state.is_committed = false;
        let generation = state.generation;
        let deadline = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        state.preparing = Some(deadline);
        let prepare = || Some(Prepare { generation, deadline });
        state.broadcast(|| EventReply { prepare: prepare(), ..EventReply::default() });
        generation
    }

    /// Waits until so many participants have answered, and returns the answers. Ten seconds are the
    /// most.
    ///
    /// ```
    /// # let kernel = liblu::testing::FakeKernel::new();
    /// # let agent = liblu::testing::FakeAgent::new(&kernel)?;
    /// assert!(agent.answers(0).is_empty());
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn answers(&self, count: usize) -> Vec<Answer> {
        let state = self.shared.wait(|state| state.answers.len() >= count);
        state.answers.values().cloned().collect()
    }

    /// Waits until there are so many participants. Ten seconds are the most.
    ///
    /// ```
    /// # let kernel = liblu::testing::FakeKernel::new();
    /// # let agent = liblu::testing::FakeAgent::new(&kernel)?;
    /// let participant = agent.agent().participate(&["vm-17"], None)?;
    /// agent.await_participants(1);
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn await_participants(&self, count: usize) {
        drop(self.shared.wait(|state| state.participants.len() >= count));
    }

    /// Calls the update off.
    ///
    /// ```
    /// # let kernel = liblu::testing::FakeKernel::new();
    /// # let agent = liblu::testing::FakeAgent::new(&kernel)?;
    /// agent.abort("a VM is not ready");
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn abort(&self, reason: &str) {
        let mut state = self.shared.lock();
        state.preparing = None;
        state.is_committed = false;
        let generation = state.generation;
        let abort = || Some(Abort { generation, reason: reason.to_owned() });
        state.broadcast(|| EventReply { abort: abort(), ..EventReply::default() });
    }

    /// Says that the kernel is left now. [`FakeAgent::kexec`] goes. Until then, or until an abort, nobody can take part
    /// any more.
    ///
    /// ```
    /// # let kernel = liblu::testing::FakeKernel::new();
    /// # let agent = liblu::testing::FakeAgent::new(&kernel)?;
    /// agent.commit();
    /// # Ok::<(), liblu::Error>(())
    /// ```
    pub fn commit(&self) {
        let mut state = self.shared.lock();
        state.preparing = None;
        state.is_committed = true;
        let generation = state.generation;
        let commit = || Some(Commit { generation });
        state.broadcast(|| EventReply { commit: commit(), ..EventReply::default() });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something, and not for ever.
    fn wait(&self, is_there: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, PATIENCE, |state| !is_there(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    /// The update that is being prepared, and the time that participants have, in milliseconds.
    fn preparing(&self) -> Option<(u64, u64)> {
        Some((self.generation, self.preparing?))
    }

    /// Participants see that the agent has gone.
    fn hang_up(&mut self) {
        for socket in std::mem::take(&mut self.participants).into_values() {
            // Its thread has it too.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Sends an event to all participants. Those that have hung up are gone.
    fn broadcast(&mut self, event: impl Fn() -> EventReply) {
        self.participants.retain(|_, socket| {
            let soon = Some(Instant::now() + Duration::from_secs(1));
            serve::reply(socket, &serde_json::json!(event()), true, &[], soon).is_ok()
        });
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_ended = true;
        state.hang_up();
        drop(state);
        // The thread that waits for clients notices.
        let _ = UnixStream::connect(self.path());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
