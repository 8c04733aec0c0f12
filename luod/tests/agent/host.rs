// SPDX-License-Identifier: MIT OR Apache-2.0

//! A host: a kernel, a service manager with an fd store, and a luod that may be killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use liblu::testing::FakeKernel;
use liblu::{Agent, IncomingSession, OutgoingSession, SessionName};
use luod::agent::{Config, Passed, drive, start};
use luod::policy::Sources;
use luod::registry::StoreName;
use luod::server::{Charges, Interface, Listener, serve};
use luod::system::boot::Boot;
use luod::system::notify::Notifier;
use luod::system::peer::Services;
use luod::update::Method;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

/// Allows this process so many file descriptors. False if it may not.
pub(crate) fn raise_limit(count: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).is_ok()
}

/// A deadline that no test reaches if it passes.
#[expect(clippy::unnecessary_wraps, reason = "deadlines are optional")]
pub(crate) fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(20))
}

/// A host. Its folder has the sockets and the policy.
pub(crate) struct Host {
    pub(crate) folder: TempDir,
    pub(crate) kernel: FakeKernel,
    pub(crate) boot: Arc<FakeBoot>,
    /// The number of the kernel.
    kernels: u32,
    store: Option<Store>,
    luod: Option<Luod>,
}

struct Luod {
    /// Whether the machine shuts down. Without it luod is killed.
    shutdowns: UnboundedSender<bool>,
    thread: JoinHandle<()>,
}

impl Host {
    /// A host with a service manager whose store takes this many fds.
    pub(crate) fn managed(room: u32) -> Self {
        let mut host = Self::without();
        host.store = Some(Store::new(host.folder.path().join("notify"), room));
        host.start();
        host
    }

    /// The same, with a policy.
    pub(crate) fn with_policy(policy: &str) -> Self {
        let mut host = Self::without();
        let folder = host.folder.path().join("etc/luod");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("luod.toml"), policy).unwrap();
        host.store = Some(Store::new(host.folder.path().join("notify"), 100));
        host.start();
        host
    }

    /// A host without a service manager.
    pub(crate) fn standalone() -> Self {
        let mut host = Self::without();
        host.start();
        host
    }

    fn without() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            kernel: FakeKernel::new(),
            boot: Arc::new(FakeBoot::default()),
            kernels: 1,
            store: None,
            luod: None,
        }
    }

    /// The client's side of the agent.
    pub(crate) fn agent(&self) -> Agent {
        Agent::at(self.agent_path())
    }

    pub(crate) fn agent_path(&self) -> PathBuf {
        self.folder.path().join(luod::varlink::agent::NAME)
    }

    pub(crate) fn manager_path(&self) -> PathBuf {
        self.folder.path().join(luod::varlink::manager::NAME)
    }

    /// The names in the fd store.
    pub(crate) fn stored(&self) -> Vec<String> {
        self.store.as_ref().unwrap().names()
    }

    /// The registry is lost, and the sessions are not.
    pub(crate) fn lose_registry(&self) {
        let mut fds = self.store.as_ref().unwrap().fds.lock().unwrap();
        fds.retain(|name, _| !name.starts_with("registry-"));
    }

    /// Starts luod with what the service manager has stored.
    pub(crate) fn start(&mut self) {
        let folder = self.folder.path().to_owned();
        let (device, boot) = (self.kernel.device(), Arc::clone(&self.boot));
        let fds = self.store.as_ref().map(Store::copies).unwrap_or_default();
        let manager = self.store.as_ref().map(|store| (store.path.clone(), store.room));
        let boot_id = self.kernels.to_string();
        let (shutdowns, mut announced) = unbounded_channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async move {
                let config = Config {
                    device,
                    boot,
                    boot_id,
                    sources: Sources::beneath(&folder),
                    services: Services::None,
                    unread: 16,
                };
                let manager = manager.map(|(path, room)| {
                    (Rc::new(Notifier::connect(path.as_os_str()).unwrap()), room)
                });
                let agent = start(config, Passed { fds, manager }).await.unwrap();
                let charges = Rc::new(Charges::default());
                for (interface, name) in [
                    (Interface::Agent, luod::varlink::agent::NAME),
                    (Interface::Manager, luod::varlink::manager::NAME),
                ] {
                    let path = folder.join(name);
                    let _ = std::fs::remove_file(&path);
                    let listener = Listener::bind(&path, 0o600).unwrap();
                    let charges = Rc::clone(&charges);
                    tokio::task::spawn_local(serve(
                        Rc::clone(&agent),
                        listener,
                        interface,
                        charges,
                    ));
                }
                tokio::task::spawn_local(drive(Rc::clone(&agent)));
                ready.send(()).unwrap();
                // The end is a kill: nothing is written after it.
                while let Some(is_under_way) = announced.recv().await {
                    agent.shutdown_seen(is_under_way);
                }
            });
        });
        is_ready.recv_timeout(Duration::from_secs(20)).unwrap();
        self.luod = Some(Luod { shutdowns, thread });
    }

    /// Kills luod, without a word to anybody.
    pub(crate) fn kill(&mut self) {
        let Luod { shutdowns, thread } = self.luod.take().unwrap();
        drop(shutdowns);
        thread.join().unwrap();
    }

    /// The machine shuts down, or does not after all. luod knows it some time later.
    pub(crate) fn shuts_down(&self, begins: bool) {
        self.luod.as_ref().unwrap().shutdowns.send(begins).unwrap();
    }

    /// Kills luod, and starts it again with what it has stored.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// The next kernel: the service manager carries its store.
    pub(crate) fn kexec(&mut self) {
        if self.luod.is_some() {
            self.kill();
        }
        let store = self.store.as_ref();
        let sessions = store.map(Store::take_sessions).unwrap_or_default();
        self.kernel.kexec();
        for (name, session) in sessions {
            // Some are not handed over, and two fds may have had one name.
            let device = self.kernel.device().with_backoff(liblu::Backoff::NONE);
            if let Ok(retrieved) = device.retrieve(&session) {
                store.unwrap().put(name, retrieved.into_fd());
            }
        }
        self.kernels += 1;
        self.boot.forget();
    }

    /// A kexec behind the service manager's back, which loses its store.
    pub(crate) fn kexec_at_once(&mut self) {
        // Descriptors that are open count: the kernel serializes before it kills anybody.
        self.kernel.kexec();
        if self.luod.is_some() {
            self.kill();
        }
        if let Some(store) = &self.store {
            store.clear();
        }
        self.kernels += 1;
        self.boot.forget();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.luod.is_some() {
            self.kill();
        }
    }
}

/// The fd store of a service manager, as systemd keeps it.
struct Store {
    path: PathBuf,
    room: u32,
    fds: Arc<Mutex<BTreeMap<String, OwnedFd>>>,
}

impl Store {
    fn new(path: PathBuf, room: u32) -> Self {
        let socket = UnixDatagram::bind(&path).unwrap();
        let fds: Arc<Mutex<BTreeMap<String, OwnedFd>>> = Arc::default();
        let ours = Arc::clone(&fds);
        std::thread::spawn(move || {
            loop {
                let (text, fd) = receive(&socket);
                let value = |key| text.lines().find_map(|line| line.strip_prefix(key));
                let name = value("FDNAME=").unwrap_or("stored").to_owned();
                let mut fds = ours.lock().unwrap();
                if value("FDSTORE=").is_some() {
                    assert_eq!(value("FDPOLL="), Some("0"), "a hang-up would remove it");
                    let same = fds.values().any(|it| is_same(it, fd.as_ref().unwrap()));
                    if fds.len() < room as usize && !same {
                        fds.insert(name, fd.unwrap());
                    }
                } else if value("FDSTOREREMOVE=").is_some() {
                    fds.remove(&name);
                }
            }
        });
        Self { path, room, fds }
    }

    fn names(&self) -> Vec<String> {
        self.fds.lock().unwrap().keys().cloned().collect()
    }

    /// Waits until all that was sent is in the store: a luod that is dead now may have sent it.
    fn settle(&self) {
        let (ours, theirs) = std::io::pipe().unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(&self.path).unwrap();
        liblu::passing::send(&socket, b"BARRIER=1", &[theirs.as_fd()], soon()).unwrap();
        drop(theirs);
        let ended = std::io::copy(&mut { ours }, &mut std::io::sink());
        assert_eq!(ended.unwrap(), 0);
    }

    fn copies(&self) -> Vec<(String, OwnedFd)> {
        self.settle();
        let fds = self.fds.lock().unwrap();
        fds.iter().map(|(name, fd)| (name.clone(), fd.try_clone().unwrap())).collect()
    }

    fn put(&self, name: String, fd: OwnedFd) {
        self.fds.lock().unwrap().insert(name, fd);
    }

    /// The sessions, by their names there, which leave it. Others stay.
    fn take_sessions(&self) -> Vec<(String, SessionName)> {
        self.settle();
        let mut fds = self.fds.lock().unwrap();
        let mut sessions = Vec::new();
        for name in fds.keys().cloned().collect::<Vec<_>>() {
            if let Ok(StoreName::Session(_)) = name.parse() {
                let session = fds.get(&name).and_then(session_name);
                sessions.extend(session.map(|session| (name, session)));
            }
        }
        // They are closed after the kexec: the kernel keeps what is open.
        let taken: Vec<_> = sessions.iter().filter_map(|(name, _)| fds.remove(name)).collect();
        std::mem::forget(taken);
        sessions
    }

    fn clear(&self) {
        self.fds.lock().unwrap().clear();
    }
}

/// The name of a session, by the word of the kernel.
fn session_name(fd: &OwnedFd) -> Option<SessionName> {
    let copy = || fd.try_clone().ok();
    match OutgoingSession::try_from(copy()?) {
        Ok(session) => session.name().ok(),
        Err(error) => {
            drop(error.into_parts());
            let session = IncomingSession::try_from(copy()?).ok()?.held_elsewhere();
            session.name().ok()
        }
    }
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let id = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|it| (it.st_dev, it.st_ino)).unwrap();
    id(one) == id(other)
}

fn receive(socket: &UnixDatagram) -> (String, Option<OwnedFd>) {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut part = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let length = recvmsg(socket.as_fd(), &mut part, &mut control, flags).unwrap().bytes;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (String::from_utf8(bytes[..length].to_vec()).unwrap(), fd)
}

/// A machine that loads kernels and is left, as a test wants.
#[derive(Debug, Default)]
pub(crate) struct FakeBoot {
    state: Mutex<BootState>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct BootState {
    is_loaded: bool,
    left: Option<Method>,
    /// The words with which leaving fails.
    fails: Option<String>,
}

impl FakeBoot {
    /// Leaving the kernel fails with these words.
    pub(crate) fn fail(&self, why: &str) {
        self.state.lock().unwrap().fails = Some(why.into());
    }

    /// A kernel is loaded by somebody else.
    pub(crate) fn set_loaded(&self) {
        self.state.lock().unwrap().is_loaded = true;
    }

    /// Waits until the kernel is left.
    pub(crate) fn await_left(&self) -> Method {
        let state = self.state.lock().unwrap();
        let (state, _) = self
            .left
            .wait_timeout_while(state, Duration::from_secs(20), |it| it.left.is_none())
            .unwrap();
        state.left.unwrap()
    }

    /// Nothing is loaded, and nothing was left.
    pub(crate) fn forget(&self) {
        *self.state.lock().unwrap() = BootState::default();
    }
}

impl Boot for FakeBoot {
    fn load(&self, _: &File, _: Option<&File>, _: &str) -> liblu::Result<()> {
        self.state.lock().unwrap().is_loaded = true;
        Ok(())
    }

    fn unload(&self) -> liblu::Result<()> {
        self.state.lock().unwrap().is_loaded = false;
        Ok(())
    }

    fn is_loaded(&self) -> liblu::Result<bool> {
        Ok(self.state.lock().unwrap().is_loaded)
    }

    fn cmdline(&self) -> liblu::Result<String> {
        Ok("console=ttyS0 liveupdate=on".into())
    }

    fn carries(&self, _: u32) -> Result<(), String> {
        Ok(())
    }

    fn leave(&self, method: Method, permit: &AtomicBool) -> Result<(), String> {
        assert!(permit.load(Ordering::SeqCst));
        let mut state = self.state.lock().unwrap();
        if let Some(why) = state.fails.take() {
            return Err(why);
        }
        state.left = Some(method);
        self.left.notify_all();
        // The real machine does not come back from `now`.
        Ok(())
    }
}
